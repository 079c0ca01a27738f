"""The journal by itself: what it vouches for, wherever the writing of it or of the output broke off."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from autore_cli.errors import AutoreError, ConfigurationError, DocumentError, OutputError
from autore_cli.records import Document, Triple
from autore_cli.runs.extraction import Result
from autore_cli.runs.identity import Configuration
from autore_cli.runs.journal import JournaledOutput, journal_of, key

CONFIGURATION: Configuration = {"bundle": "0123456789abcdef", "min_score": None}


def result(name: str, triples: int) -> Result:
    return Result(Document(name, f"text of {name}"), [Triple(name, "a", "b", "P1", "c")] * triples, windows=2)


BATCHES = [
    [result("one", 2), result("two", 0)],
    [result("three", 0)],
    [result("four", 1), result("four", 1), result("émile", 3)],
]
DOCUMENTS = [result.document for batch in BATCHES for result in batch]


def opened(path: Path, *, resume: bool = True, force: bool = False, **changes: str | float | None) -> JournaledOutput:
    return JournaledOutput(path, CONFIGURATION | changes, resume=resume, force=force)


def run(path: Path, batches: Sequence[Sequence[Result]] = BATCHES, **options: bool) -> None:
    """What a run does: leaves out what is finished, and writes the rest."""
    with opened(path, **options) as output:
        for batch in batches:
            left = [result for result in batch if not output.take(result.document)]
            if left:
                output.write(left)


def test_wherever_writing_breaks_off_the_next_run_mends_it(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole, resume=False)
    output, journal = whole.read_bytes(), journal_of(whole).read_bytes()
    ends = [0, *(json.loads(line)[-1]["end"] for line in journal.splitlines()[1:])]
    lines = [0, *itertools.accumulate(map(len, journal.splitlines(keepends=True)))]
    for journaled in sorted({*range(0, len(journal), 9), *lines, *(end - 1 for end in lines[1:])}):
        batches = max(0, sum(end <= journaled for end in lines) - 2)  # what whole lines of the journal vouch for
        latest = ends[min(batches + (lines[1] <= journaled), len(ends) - 1)]  # a batch may be written further
        for written in {ends[batches], (ends[batches] + latest) // 2, latest}:
            broken.write_bytes(output[:written])
            journal_of(broken).write_bytes(journal[:journaled])
            run(broken)
            assert (broken.read_bytes(), journal_of(broken).read_bytes()) == (output, journal)


def test_what_the_output_lost_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "out"
    run(path, resume=False)
    output = path.read_bytes()
    path.write_bytes(output[:-1])
    run(path)
    assert path.read_bytes() == output
    path.unlink()
    run(path)
    assert path.read_bytes() == output


def test_equal_documents_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "out"
    run(path, resume=False)
    with opened(path) as output:
        assert (output.finished.documents, output.finished.windows, output.finished.triples) == (6, 12, 7)
        taken = [output.take(document) for document in [*DOCUMENTS, *DOCUMENTS]]
    assert taken == [True] * 6 + [False] * 6
    assert key(Document("ab", "c")) != key(Document("a", "bc"))


def test_failed_documents_are_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "out"
    bad = Result(Document("bad", "text"), error=DocumentError("no memory"))
    run(path, [[BATCHES[0][0], bad], [bad]], resume=False)
    with opened(path) as output:
        assert output.take(BATCHES[0][0].document)
        assert not output.take(bad.document)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (b"", OutputError, "out.journal is missing"),
        (b'{"journal":2,"configuration":{}}\n', OutputError, "not a journal of format 1"),
        (b"[]\n", OutputError, "not a journal of format 1"),
        (b'{"journal":1,"configuration":{"bundle":"fedcba9876543210","min_score":0.5}}\n', ConfigurationError,
         "bundle was fedcba987654 and is 0123456789ab, min_score was 0.5 and is not given"),
        (b'{"journal":1,"configuration":{"bundle":"0123456789abcdef","min_score":null}}\n{"key":1}\n', OutputError,
         "is damaged"),
    ],
)  # fmt: skip
def test_a_journal_that_cannot_be_gone_on_with(
    tmp_path: Path, damage: bytes, error: type[AutoreError], message: str
) -> None:
    path = tmp_path / "out"
    run(path, resume=False)
    before = path.read_bytes()
    journal_of(path).write_bytes(damage)
    with pytest.raises(error, match=message):
        run(path)
    assert path.read_bytes() == before
    run(path, resume=False, force=True)
    assert path.read_bytes() == before


def test_what_is_there_is_kept_until_results_come(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with opened(path, resume=False):
        assert path.exists()
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"precious\n")
    with opened(path, resume=False, force=True):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert path.read_bytes() == b"precious\n"
    with pytest.raises(OutputError, match="exists already"):
        run(path, resume=False)
    run(path, [[result("new", 0)]], resume=False, force=True)
    assert path.read_bytes() == b""


def test_a_damaged_line_cuts_nothing_off(tmp_path: Path) -> None:
    path = tmp_path / "out"
    run(path, resume=False)
    output, lines = path.read_bytes(), journal_of(path).read_bytes().splitlines(keepends=True)
    journal_of(path).write_bytes(b"".join([*lines[:2], b"\0" * 40 + b"\n", *lines[3:]]))
    with pytest.raises(OutputError, match="is damaged"):
        run(path)
    assert path.read_bytes() == output


def test_nothing_is_left_behind_by_a_run_that_could_not_begin(tmp_path: Path) -> None:
    path = tmp_path / "out"
    journal_of(path).mkdir()
    with pytest.raises(OutputError):
        run(path, resume=False)
    assert not path.exists()
    journal_of(path).rmdir()

    path.write_text("a line of somebody's\n")
    with pytest.raises(OutputError, match="is missing"):
        run(path)
    assert not journal_of(path).exists()
    assert path.read_text() == "a line of somebody's\n"
