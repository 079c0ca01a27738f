"""run.json: what an adapter was made of and how, beside the adapter."""

import platform
import resource
from collections.abc import Iterable
from pathlib import Path

import torch

from autore_cli.model.bundle import digest
from autore_cli.versions import version

FILE = "run.json"
_PACKAGES = ("autore", "torch", "transformers", "peft", "bitsandbytes", "accelerate")


def digests(files: Iterable[Path]) -> dict[str, str]:
    """The sha256 of files, in hex, by their names."""
    return {path.name: digest(path) for path in files}


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """The versions of what has a say in the weights; autore's own is missing where it runs without being installed."""
    found = {package: version(package) for package in packages}
    return {package: number for package, number in found.items() if number}


def peak_memory() -> int:
    """The most memory that this process took, in bytes: the GPU's where there is one, else the computer's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(device: torch.device) -> str:
    """What it runs on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
