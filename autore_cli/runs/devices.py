"""What the user asks to compute on: a number of devices, or their names."""

import ctypes
import re

from autore_cli.errors import ConfigurationError

AUTO = "auto"
MAX_DEVICES = 64

_WHERE = "--devices"
_NAME = re.compile(r"cpu|mps|(cuda|xpu)(:\d{1,3})?")


def parse_devices(text: str) -> list[str]:
    """The devices that an option names, without loading a model library.

    Args:
        text: a list such as `cuda:0,cuda:1` or `cpu,cpu` (one worker each, on the same cores), or a number: that many
            GPUs, or on a machine without GPUs as many times `cpu`; or `auto`: all GPUs, or what the model library
            chooses (`auto`) where there is none. GPUs are counted by CUDA's driver, as CUDA_VISIBLE_DEVICES restricts
            them; others have to be named.

    Raises:
        ConfigurationError: it is none of these, or asks for more GPUs than there are.
    """
    if text == AUTO:
        return _gpus(_count_gpus()) or [AUTO]
    if text.isdecimal() and 1 <= int(text) <= MAX_DEVICES:
        return _counted(int(text))
    names = [name.strip() for name in text.split(",")]
    if not all(map(_NAME.fullmatch, names)) or len(names) > MAX_DEVICES:
        raise ConfigurationError(
            f"'{text}' is neither a number from 1 to {MAX_DEVICES} nor a list of devices",
            where=_WHERE,
            hint="such as --devices 2, --devices cuda:0,cuda:1 or --devices cpu,cpu",
        )
    return names


def is_gpu(name: str) -> bool:
    """Whether a device is a GPU: `auto` is one where CUDA's driver offers any."""
    return name != "cpu" and (name != AUTO or _count_gpus() > 0)


def _counted(count: int) -> list[str]:
    there = _count_gpus()
    if 0 < there < count:
        raise ConfigurationError(
            f"asks for {count} GPUs, and there {'is' if there == 1 else 'are'} {there}",
            where=_WHERE,
            hint=f"--devices {there}, or name a GPU twice for two workers on it: --devices cuda:0,cuda:0",
        )
    return _gpus(count) if there else ["cpu"] * count


def _gpus(count: int) -> list[str]:
    return [f"cuda:{number}" for number in range(count)]


def _count_gpus() -> int:
    """How many GPUs CUDA's driver offers. torch would count the same, after seconds of loading."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
