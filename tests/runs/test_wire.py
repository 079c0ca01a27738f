import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from autore_cli import errors
from autore_cli.errors import AutoreError
from autore_cli.files import as_lines
from autore_cli.records import Document, Triple
from autore_cli.runs import wire
from autore_cli.runs.extraction import Result

DOCUMENT = Document("\u00e9 \u2028", 'Ada\x00 \U0001f99c\n"wrote"', "docs.jsonl:1")
TRIPLE = Triple(DOCUMENT.id, "Ada", "author", "P50", "\U0001f99c", ((0, 3),), ((5, 6), (7, 8)), 0.1 + 0.2)


def sent(value: object) -> Any:
    """A message, there and back."""
    line = as_lines([{"content": value}])
    assert line.count(b"\n") == 1
    return orjson.loads(line)["content"]


def test_documents_and_results_arrive_as_they_left() -> None:
    results = [Result(DOCUMENT, [TRIPLE], 3), Result(DOCUMENT, [])]
    assert wire.documents_from_json(sent(wire.documents_to_json([DOCUMENT]))) == [DOCUMENT]
    assert wire.results_from_json(sent(wire.results_to_json(results)), [DOCUMENT] * 2) == results


def test_a_place_that_is_not_unicode_stays_readable() -> None:
    place = str(Path(b"caf\xe9.txt".decode(errors="surrogateescape")))
    (document,) = wire.documents_from_json(sent(wire.documents_to_json([Document("a", "b", place)])))
    assert document.place == "caf\\udce9.txt"


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AutoreError)]
)
def test_errors_meant_for_a_user_arrive_as_they_left(kind: type[AutoreError]) -> None:
    error = wire.error_from_json(sent(wire.error_to_json(kind("is damaged", where="a/b", hint="fetch it again"))))
    assert type(error) is kind
    assert (error.message, error.where, error.hint) == ("is damaged", "a/b", "fetch it again")
    (result,) = wire.results_from_json(
        sent(wire.results_to_json([Result(DOCUMENT, error=kind("no"))])),
        [DOCUMENT],
    )
    assert type(result.error) is kind


def test_unexpected_errors_arrive_with_their_traceback() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError) as caught:
        fail()
    error = wire.error_from_json(sent(wire.error_to_json(caught.value)))
    assert isinstance(error, wire.WorkerError)
    assert str(error) == "KeyError: 'x'"
    assert "in fail" in error.__notes__[0]
    assert isinstance(wire.error_from_json(sent(wire.error_to_json(MemoryError()))), MemoryError)


def test_log_records_keep_their_logger_level_and_traceback() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        record = logging.LogRecord(
            "autore_cli.x", logging.WARNING, "", 0, "100%% of %s", ("it",), (ValueError, error, None)
        )
    arrived = wire.log_from_json(sent(wire.log_to_json(record)))
    assert (arrived.name, arrived.levelno, arrived.getMessage()) == ("autore_cli.x", logging.WARNING, "100% of it")
    assert "ValueError: why" in str(arrived.exc_text)
