"""Where a bundle's base lies on this machine, and what can be wrong with its files."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, StrictDataclassError  # type: ignore[attr-defined]
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from autore_cli.errors import BundleError, first_line
from autore_cli.model.bundle import Bundle

_FILES = ["*.json", "*.jinja", "*.py", "tokenizer.model"]
_WEIGHTS = "model*.safetensors"
_TIMEOUT = 10.0
"""Seconds until a hub that doesn't answer counts as out of reach."""

_logger = logging.getLogger(__name__)


def base_folder(bundle: Bundle, *, weights: bool = True) -> Path:
    """The folder with the base's files. A base of the hub is fetched, unless it was before.

    Args:
        bundle: names the base.
        weights: False does without them, which saves a base of the hub from being fetched whole for its tokenizer.

    Raises:
        BundleError: it is missing, or has to be fetched and can't be.
    """
    source = bundle.base_source()
    if isinstance(source, Path):
        return source
    revision = bundle.base_owner().revision
    wanted = [*_FILES, *([_WEIGHTS] if weights else [])]
    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        return _fetched(source, revision, bundle, wanted)
    # The cache names a folder that was fetched in part, too.
    return folder if not weights or any(folder.glob(_WEIGHTS)) else _fetched(source, revision, bundle, wanted)


def _fetched(repository: str, revision: str | None, bundle: Bundle, wanted: list[str]) -> Path:
    try:
        # Asked first, as the download itself would try for a minute to reach a hub that isn't there.
        HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except (HTTPError, OSError) as error:
        raise BundleError(
            f"its base {repository} isn't on this machine, and can't be fetched: {first_line(error)}",
            where=str(bundle.file),
            hint=f"where there is a network: hf download {repository}"
            + (f" --revision {revision}" if revision else ""),
        ) from error


@cache
def warn_of_remote_code(source: Path | str) -> None:
    """Warns, once, that Python files are run that come with a base: its folder, or its hub id."""
    _logger.warning("running the Python files that come with %s", source)


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
        if "trust_remote_code" in str(error):
            raise BundleError(
                "comes with custom code, Python files that are not run unasked",
                where=str(folder),
                hint="read them, and if you trust them, give --trust-remote-code",
            ) from error
        raise BundleError(f"can't be loaded: {first_line(error)}", where=str(folder)) from error


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
        raise BundleError(f"is damaged: {first_line(error)}", where=str(file)) from error
