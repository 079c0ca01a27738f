"""Where a bundle's base lies on this machine, and what can be wrong with its files."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, StrictDataclassError  # type: ignore[attr-defined]
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from autore_cli.errors import BundleError
from autore_cli.model.bundle import Bundle

_FILES = ["*.json", "*.jinja", "*.py", "tokenizer.model", "model*.safetensors"]
_TIMEOUT = 10.0
"""Seconds until a hub that doesn't answer counts as out of reach."""


def base_folder(bundle: Bundle) -> Path:
    """The folder with the base's files. A base of the hub is fetched, unless it was before.

    Raises:
        BundleError: it is missing, or has to be fetched and can't be.
    """
    source = bundle.base_source()
    if isinstance(source, Path):
        return source
    revision = bundle.base_owner().revision
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        return _fetched(source, revision, bundle)


def _fetched(repository: str, revision: str | None, bundle: Bundle) -> Path:
    try:
        # Asked first, as the download itself would try for a minute to reach a hub that isn't there.
        HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_FILES))
    except (HTTPError, OSError) as error:
        raise BundleError(
            f"its base {repository} isn't on this machine, and can't be fetched: {_first_line(error)}",
            where=str(bundle.file),
            hint=f"where there is a network: hf download {repository}"
            + (f" --revision {revision}" if revision else ""),
        ) from error


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turns what goes wrong while files of the folder are read into a BundleError, and keeps transformers silent."""
    for file in folder.glob("*.safetensors"):
        _check_safetensors(file)
    try:
        with _quiet():
            yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, StrictDataclassError) as error:
        raise BundleError(f"can't be loaded: {_first_line(error)}", where=str(folder)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers from writing reports and progress bars to stderr."""
    verbosity, progress = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _check_safetensors(file: Path) -> None:
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise BundleError(f"is damaged: {_first_line(error)}", where=str(file)) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
