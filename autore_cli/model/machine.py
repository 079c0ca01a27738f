"""What a report on this machine begins with, as far as it takes no model library to find out."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autore_cli.versions import version

_LIBRARIES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors", "tokenizers", "huggingface_hub",
    "numpy", "orjson", "typer", "rich",
)  # fmt: skip
_SETTINGS = ("AUTORE_MODEL", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")
"""The environment variables that change what happens. Others, tokens among them, are nobody's business."""

_GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report, or several: what was looked at, what was found, and whether something is wrong with it."""

    name: str
    value: str
    wrong: bool = False


def system() -> Iterator[Finding]:
    """The operating system, Python, the processor, the memory, and settings from the environment."""
    yield Finding("platform", platform.platform())
    yield Finding("python", f"{platform.python_version()}, {tilde(Path(sys.executable))}")
    yield Finding("processor", f"{_processor()}, {cores()} of {os.cpu_count()} cores")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIBIBYTE
    yield Finding("memory", f"{memory:.1f} GiB")
    for name in _SETTINGS:
        if name in os.environ:
            yield Finding(name, os.environ[name].replace(str(Path.home()), "~"))


def libraries() -> Iterator[Finding]:
    """The versions of what autore runs on."""
    for name in _LIBRARIES:
        number = version(name)
        yield Finding(name, number or "not installed", wrong=number is None)


def tilde(path: Path) -> str:
    """The path with `~` for the user's own folder, whose name is nobody's business."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _processor() -> str:
    """Its model: Linux alone tells it by a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
