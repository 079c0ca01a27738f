"""The fields of a JSON object, checked one by one: each function returns a value of its type or raises InputError."""

from collections.abc import Mapping

from autore_cli.errors import InputError
from autore_cli.records import Span

Row = Mapping[str, object]


def text(row: Row, key: str, where: str) -> str:
    """A string with more than white space in it."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _error(row, key, "a text", where)
    return value


def index(row: Row, key: str, length: int | None, where: str) -> int:
    """A whole number from 0, under `length` where that is known."""
    value = row.get(key)
    if type(value) is not int or value < 0 or (length is not None and value >= length):
        kind = "a whole number from 0" if length is None else f"an entity's number, 0 to {length - 1}"
        raise _error(row, key, kind, where)
    return value


def score(row: Row, where: str) -> float | None:
    """The optional `score`. Any finite number: other systems write log-odds."""
    value = row.get("score")
    if value is None:
        return None
    if type(value) not in (int, float):
        raise _error(row, "score", "a number", where)
    return float(value)  # type: ignore[arg-type]


def spans(row: Row, key: str, where: str) -> tuple[Span, ...]:
    """Optional spans, `[[start, end], ...]` in code points."""
    value = row.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _error(row, key, "a list of [start, end]", where)
    found: list[Span] = []
    for pair in value:
        match pair:
            case [int(start), int(end)] if 0 <= start < end:
                found.append((start, end))
            case _:
                raise _error(row, key, "a list of [start, end]", where)
    return tuple(found)


def evidence(row: Row, where: str) -> tuple[int, ...] | None:
    """The optional `evidence`: numbers of sentences."""
    value = row.get("evidence")
    if value is None:
        return None
    if not isinstance(value, list) or any(type(number) is not int for number in value):
        raise _error(row, "evidence", "a list of sentence numbers", where)
    return tuple(value)


def _error(row: Row, key: str, kind: str, where: str) -> InputError:
    if key not in row:
        return InputError(f"{key!r} is missing", where=where)
    return InputError(f"{key!r} is not {kind}: {row[key]!r}", where=where)
