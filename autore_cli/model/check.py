"""What works here: devices and their 4-bit kernels, whole bundles, the hub's cache. For `autore doctor`."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, try_to_load_from_cache

from autore_cli.errors import AutoreError, first_line
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle
from autore_cli.model.machine import Finding, tilde

_LARGEST_ERROR = 0.2
"""Of 4-bit weights; nf4 is off by 0.1."""

_GIBIBYTE = 2**30


def devices() -> Iterator[Finding]:
    """The devices that torch sees, the CPU first, and whether 4-bit layers compute there."""
    threads = torch.get_num_threads()
    yield _device("cpu", f"{torch.backends.cpu.get_cpu_capability()}, {threads} thread{'s' * (threads > 1)}")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    for number in range(torch.accelerator.device_count() if accelerator else 0):
        name = f"{accelerator}:{number}"
        yield _device(name, _cuda(number) if name.startswith("cuda") else "an accelerator")


def _cuda(number: int) -> str:
    memory = torch.cuda.get_device_properties(number).total_memory / _GIBIBYTE
    return f"{torch.cuda.get_device_name(number)}, {memory:.1f} GiB, CUDA {torch.version.cuda}"


def _device(name: str, description: str) -> Finding:
    try:
        error = four_bit_error(name)
    except (RuntimeError, AssertionError, ImportError, OSError, NotImplementedError) as problem:
        return Finding(name, f"{description}; 4-bit layers don't work: {first_line(problem)}", wrong=True)
    works = error <= _LARGEST_ERROR
    verdict = "4-bit layers work" if works else f"4-bit layers compute wrongly, off by {error:.0%}"
    return Finding(name, f"{description}; {verdict}", wrong=not works)


def four_bit_error(device: str) -> float:
    """How far the output of a 4-bit layer on a device is off that of its float32 weights, as a share of its size.

    Raises:
        RuntimeError, NotImplementedError: the device or its kernels don't work; others when libraries are missing.
    """
    layers: Any = importlib.import_module("bitsandbytes.nn")
    weight = torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    layer = layers.Linear4bit(128, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.weight = layers.Params4bit(weight, requires_grad=False, quant_type="nf4")
    with torch.inference_mode():
        got = layer.eval().to(device)(rows.to(device)).cpu()
    expected = rows @ weight.T
    return float((got - expected).norm() / expected.norm())


def packaged() -> Iterator[Finding]:
    """The packaged bundles: whether all their files are there, and are those that were bundled."""
    for name in bundles.known():
        try:
            yield Finding(name, _contents(bundles.find(name)))
        except AutoreError as error:
            yield Finding(name, str(error), wrong=True)


def _contents(bundle: Bundle) -> str:
    """What a bundle holds. Raises BundleError for a file that is missing or damaged."""
    for file in bundle.sha256:
        bundle.path(file)
    whole = f"whole, {len(bundle.sha256)} files as their sha256 say" if bundle.sha256 else "no weights of its own"
    if isinstance(bundle.base_source(), Path):
        return whole
    return f"{whole}; its base {bundle.base_source()} is {'' if base_is_here(bundle) else 'not '}on this machine"


def base_is_here(bundle: Bundle) -> bool:
    """Whether a bundle's base would not have to be fetched. Raises BundleError for one that names no base."""
    base = bundle.base_source()
    if isinstance(base, Path):
        return True
    config = try_to_load_from_cache(base, "config.json", revision=bundle.base_owner().revision)
    return isinstance(config, str) and any(Path(config).parent.glob("*.safetensors"))


def hub() -> Iterator[Finding]:
    """Where bases of the hub are kept, and whether more may be fetched. Asks no network."""
    yield Finding("cache", tilde(Path(constants.HF_HUB_CACHE)))
    yield Finding("network", "not to be used (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "may be used")
