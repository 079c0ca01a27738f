"""Where data goes: stdout or a file, a line of JSON a record, out as soon as it is written."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autore_cli.errors import OutputError, writing
from autore_cli.files import as_lines

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Writes records as lines of JSON. `name` is for messages."""

    stream: BinaryIO
    name: str

    def write(self, records: Iterable[object]) -> None:
        """Writes the records at once, so that whoever reads the output has them now.

        Raises:
            OutputError: the disk is full or the like.
            BrokenPipeError: whoever read the output has closed it.
        """
        with writing(self.name):
            self.stream.write(as_lines(records))
            self.stream.flush()


def is_kept(path: Path) -> bool:
    """Whether what is written there is kept, as in a file, and not in a pipe or a device. There need be nothing yet."""
    return path != STDOUT and (path.is_file() or not path.exists())


def check(path: Path, *, force: bool, hint: str | None = None) -> None:
    """Finds out, without a trace, whether `json_lines` could open `path`.

    Args:
        path: what it is about.
        force: whether what is there is to be replaced.
        hint: what else can be done about a file that is there.

    Raises:
        OutputError: it can't be written, or is there already and not to be replaced (`force`).
    """
    with writing(str(path)):
        if path == STDOUT:
            return
        if path.is_dir():
            raise OutputError("is a folder", where=str(path))
        if path.is_file() and not force:
            raise OutputError("exists already", where=str(path), hint=hint or "--force replaces it")
        target = path if path.exists() else path.resolve().parent
        if not target.exists():
            raise OutputError("its folder does not exist", where=str(path), hint=f"mkdir -p {path.parent}")
        if not os.access(target, os.W_OK):
            raise OutputError("no permission to write it", where=str(path))


@contextmanager
def json_lines(path: Path, *, force: bool) -> Iterator[JsonLines]:
    """Opens a file for writing, or stdout for the path `-`.

    Raises:
        OutputError: it can't be written, or is there already and not to be replaced (`force`).
    """
    name = "stdout" if path == STDOUT else str(path)
    with writing(name):
        stream = _open(path, force=force)
    try:
        yield JsonLines(stream, name)
    finally:
        with writing(name):
            stream.close()


def write(data: bytes) -> None:
    """Writes to stdout at once.

    Raises:
        OutputError: the disk is full or the like.
        BrokenPipeError: whoever read the output has closed it.
    """
    with writing("stdout"), _open(STDOUT, force=False) as stream:
        stream.write(data)


def _open(path: Path, *, force: bool) -> BinaryIO:
    if path == STDOUT:
        if sys.stdout is None:
            raise OutputError("is closed", where="stdout")
        return open(sys.stdout.fileno(), "wb", closefd=False)  # buffered, whatever PYTHONUNBUFFERED says
    is_special = path.exists() and not path.is_file()  # a pipe or a device, which keeps nothing to be replaced
    return path.open("wb" if force or is_special else "xb")
