"""How messages look: for people, and for programs."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import autore, messages

TEXT = "Mara Lindqvist was born in Fjellhavn."


def records(stderr: bytes) -> list[dict[str, Any]]:
    """The messages, each of which must be an object on a line of its own with all its keys."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for record in found:
        assert list(record) == ["time", "level", "message", "where", "hint"]
        assert datetime.fromisoformat(record["time"]).tzinfo is not None
        assert record["level"] in ("debug", "info", "warning", "error")
    return found


def test_messages_as_json(bundle: Path, tmp_path: Path) -> None:
    lines = [{"text": TEXT}, {"text": 5}]
    (tmp_path / "two\n\x1b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = autore("extract", "--model", bundle, "--log-format", "json", "two\n\x1b.jsonl", "nowhere.txt", cwd=tmp_path)
    assert done.returncode == 1
    broken, missing, closing = records(done.stderr)
    assert broken | {"time": ""} == {
        "time": "",
        "level": "error",
        "message": "'text' is not text",
        "where": "two\n\x1b.jsonl:2",
        "hint": None,
    }
    assert (missing["where"], missing["hint"]) == ("nowhere.txt", "check the path")
    assert closing["level"] == "info"
    assert closing["message"].startswith("1 document, ")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--log-format", "json", "extract", "a.txt"], "No such option: --log-format", "see 'autore --help'"),
        (["extract", "--log-format=json"], "Missing argument 'PATHS'", "see 'autore extract --help'"),
        (
            ["extract", "--log-format", "json", "--nonsense"],
            "No such option: --nonsense",
            "see 'autore extract --help'",
        ),
        (
            ["extract", "--limit", "0", "a.txt", "--log-format", "json"],
            "Invalid value for '--limit': Input should be greater than or equal to 1",
            "see 'autore extract --help'",
        ),
        (["extrakt", "--log-format=json"], "No such command 'extrakt'. Did you mean 'extract'?", "see 'autore --help'"),
    ],
)
def test_wrong_usage_as_json(arguments: list[str], message: str, hint: str) -> None:
    done = autore(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    (error,) = records(done.stderr)
    assert (error["level"], error["message"], error["hint"]) == ("error", message, hint)


def test_an_unexpected_end_as_json(tmp_path: Path) -> None:
    done = autore("extract", "--model", "nowhere", "--verbose", "--log-format", "json", tmp_path / "a.txt")
    assert done.returncode == 4
    traceback, error = records(done.stderr)
    assert traceback["level"] == "debug"
    assert traceback["message"].startswith("Traceback (most recent call last):\n")
    assert error["message"] == "no bundle 'nowhere'"
    assert "redocred-small" in error["hint"]


def test_a_name_that_is_not_unicode_as_json() -> None:
    done = autore("extract", "--log-format", "json", "--input-format", "txt", "caf\udce9.txt")
    assert done.returncode == 3
    assert records(done.stderr)[0]["where"] == "caf\udce9.txt"


def test_verbose_tells_how_long_each_stage_took(bundle: Path) -> None:
    stdin = json.dumps({"text": TEXT}).encode()
    done = autore("extract", "--model", bundle, "--verbose", "-", stdin=stdin)
    assert done.returncode == 0
    timings = re.compile(
        r"autore: debug: documents: 1, windows: 1, relation \d+\.\d\d s, head \d+\.\d\d s, fact \d+\.\d\d s"
    )
    assert sum(timings.fullmatch(line) is not None for line in messages(done)) == 1
    assert not any("debug" in line for line in messages(autore("extract", "--model", bundle, "-", stdin=stdin)))


def test_a_message_stays_on_its_line_and_does_nothing_to_the_terminal() -> None:
    done = autore("extract", "two\n\x1b[31m.txt")
    assert messages(done)[:2] == [
        "autore: error: two\\n\\x1b[31m.txt: can't be read: No such file or directory",
        "autore: hint: check the path",
    ]
