"""JSON as it is written: records as lines, and files that are there in full or not at all."""

from collections.abc import Iterable
from pathlib import Path

import orjson

from autore_cli.errors import writing


def as_lines(records: Iterable[object]) -> bytes:
    """Records as lines of JSON."""
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def as_text(content: object) -> bytes:
    """JSON for people to read, too."""
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write_json(path: Path, content: object) -> None:
    """Writes a file of `as_text`; what is there is replaced when the new one is complete.

    Raises:
        OutputError: it can't be written.
    """
    data = as_text(content)
    with writing(str(path)):
        if path.exists() and not path.is_file():  # a pipe or a device
            path.write_bytes(data)
            return
        draft = path.with_name(f".{path.name}")
        try:
            draft.write_bytes(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
