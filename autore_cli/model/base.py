"""The base model: loaded once, in 4 bit (nf4 with double quantisation, QLoRA, arXiv 2305.14314)."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from autore_cli.errors import BundleError, ConfigurationError, first_line
from autore_cli.model import copylm  # noqa: F401, registers its architecture
from autore_cli.model.bundle import Bundle
from autore_cli.model.linear import Linear
from autore_cli.model.sources import base_folder, reading, warn_of_remote_code


def load_base(
    bundle: Bundle,
    device: str = "auto",
    dtype: torch.dtype | None = None,
    *,
    quantize: bool = True,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Loads a bundle's base, in evaluation mode and with no weight trainable.

    Args:
        bundle: names the base.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ...
        dtype: that of the activations, and of the weights that aren't in 4 bit. None is bfloat16 on a GPU, and float32
            on a CPU: up to 2.5 times slower there, but what comes out doesn't depend on the CPU, and less than
            1e-6 (a probability) on what stands in the same batch, where bfloat16 brings 1e-3.
        quantize: puts linear layers in 4 bit that aren't yet. A base that was saved in 4 bit stays so in any case.
        trust_remote_code: runs the Python files that come with the base.

    Raises:
        BundleError: the base is missing, damaged or of no known architecture.
        ConfigurationError: there is no such device.
    """
    bitsandbytes = _import_bitsandbytes()
    where = find_device(device)
    dtype = dtype or (torch.float32 if where.type == "cpu" else torch.bfloat16)
    folder = base_folder(bundle)
    if trust_remote_code:
        warn_of_remote_code(bundle.base_source())
    with reading(folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            device_map={"": where},
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # but reported
            output_loading_info=True,
            **({"quantization_config": _nf4(dtype)} if quantize and not _is_quantized(folder) else {}),
        )
    model: PreTrainedModel
    model, report = loaded
    unfit = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if unfit:
        raise BundleError(f"weights are missing or of another size: {', '.join(unfit[:3])}", where=str(folder))
    _set_dtype(model, dtype, bitsandbytes)
    model.requires_grad_(False)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def unpack(model: PreTrainedModel) -> None:
    """Makes plain linear layers, in the model's dtype, of those in 4 bit: of the numbers that the bits stand for.

    They are faster, for up to eight times the memory. One goes after the other, so that none but it is there twice.
    """
    bitsandbytes = _import_bitsandbytes()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            packed: Any = layer.weight
            packed.quant_state.dtype = model.dtype
            plain = Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            plain.weight = nn.Parameter(bitsandbytes.functional.dequantize_4bit(packed.data, packed.quant_state), False)
            plain.bias = layer.bias
            model.set_submodule(name, plain)


def find_device(name: str) -> torch.device:
    """The device of a name; `auto` is a GPU if there is one.

    Raises:
        ConfigurationError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise ConfigurationError(f"no device '{name}'", hint=first_line(error)) from error
    return device


def _import_bitsandbytes() -> ModuleType:
    """Imports it without the compiler, which takes 1.5 s to load, for functions that aren't called here."""
    compile_ = torch.compile
    torch.compile = lambda function=None, **_: function or (lambda decorated: decorated)  # type: ignore[assignment]
    try:
        return importlib.import_module("bitsandbytes")
    finally:
        torch.compile = compile_


def _is_quantized(folder: Path) -> bool:
    return "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _set_dtype(model: nn.Module, dtype: torch.dtype, bitsandbytes: ModuleType) -> None:
    """Sets what a base that was saved in 4 bit brings along from where it was saved."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    for layer in model.modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            layer.compute_dtype = dtype
            # Repacked for AVX512-BF16 they are quicker with less than about 40 tokens at once, slower with more, and
            # training them is silently without effect.
            layer.support_avx512bf16_for_cpu = False
