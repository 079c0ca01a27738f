"""Files to score: their bytes, their hash, and the JSON in them."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import orjson

from autore_cli.errors import InputError


@dataclass(frozen=True)
class Source:
    """A file's name, for messages, and its bytes without a byte order mark."""

    name: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """The hash of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def is_array(self) -> bool:
        """Whether the file is one JSON list, as DocRED's files are, and not JSON lines."""
        return self.data.lstrip()[:1] == b"["

    def lines(self) -> Iterator[tuple[str, dict[str, object]]]:
        """The JSON object of each line that is not blank, with its place as `file:line`.

        Raises:
            InputError: a line is not a JSON object.
        """
        for number, line in enumerate(self.data.splitlines(), start=1):
            if line.strip():
                where = f"{self.name}:{number}"
                yield where, as_object(_parse(line, where), where)


def read(path: Path) -> Source:
    """Reads a file, or standard input for `-`.

    Raises:
        InputError: it can't be read, or is empty.
    """
    name = "standard input" if path == Path("-") else str(path)
    try:
        data = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=name) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InputError("is empty", where=name)
    return Source(name, data)


def as_object(value: object, where: str) -> dict[str, object]:
    """`value`, which must be a JSON object. Raises InputError."""
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=where)
    return value


def _parse(line: bytes, where: str) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error}", where=where) from error
