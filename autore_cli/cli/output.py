"""Where data goes: stdout or a file, a line of JSON a record, out as soon as it is written."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from autore_cli.errors import OutputError

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
        with named(self.name):
            self.stream.write(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records))
            self.stream.flush()


def check(path: Path, *, force: bool) -> None:
    """Finds out, without a trace, whether `json_lines` could open `path`.

    Raises:
        OutputError: it can't be written, or is there already and not to be replaced (`force`).
    """
    with named(str(path)):
        if path == STDOUT:
            return
        if path.is_dir():
            raise OutputError("is a folder", where=str(path))
        if path.is_file() and not force:
            raise _exists(path)
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
    with named(name):
        stream = _open(path, force=force)
    try:
        yield JsonLines(stream, name)
    finally:
        with named(name):
            stream.close()


def write(data: bytes) -> None:
    """Writes to stdout at once.

    Raises:
        OutputError: the disk is full or the like.
        BrokenPipeError: whoever read the output has closed it.
    """
    with named("stdout"), _open(STDOUT, force=False) as stream:
        stream.write(data)


def _open(path: Path, *, force: bool) -> BinaryIO:
    if path == STDOUT:
        if sys.stdout is None:
            raise OutputError("is closed", where="stdout")
        return open(sys.stdout.fileno(), "wb", closefd=False)  # buffered, whatever PYTHONUNBUFFERED says
    is_special = path.exists() and not path.is_file()  # a pipe or a device, which keeps nothing to be replaced
    return path.open("wb" if force or is_special else "xb")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns the system's errors into an OutputError that says which output it is; a broken pipe stays one."""
    try:
        yield
    except FileExistsError:
        raise _exists(Path(name)) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=name) from error


def _exists(path: Path) -> OutputError:
    return OutputError("exists already", where=str(path), hint="--force replaces it")
