"""Whatever the bytes, readers give documents or say what is wrong, and hold no more than they promise."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import InputFormat, read
from autore_cli.errors import InputError
from autore_cli.records import Document
from tests.fuzz.inputs import Line, broken_lines, examples, inputs, records, well_formed_lines

MEBIBYTE = 2**20


def from_stdin(
    data: bytes, input_format: InputFormat = "auto", max_chars: int = 100_000
) -> list[Document | InputError]:
    return list(read(["-"], input_format, io.BytesIO(data), max_chars))


@examples(600)
@given(inputs, st.sampled_from(get_args(InputFormat)), st.sampled_from([1, 100, 100_000]))
def test_any_bytes_are_read_or_named(data: bytes, input_format: InputFormat, max_chars: int) -> None:
    items = from_stdin(data, input_format, max_chars)
    assert items
    documents = [item for item in items if isinstance(item, Document)]
    assert len({document.id for document in documents}) == len(documents)
    for document in documents:
        assert document.id
        assert document.text.strip()
        assert len(document.text) <= max_chars
        document.text.encode()
    for item in items:
        if isinstance(item, InputError):
            assert str(item).isprintable()
            assert len(str(item)) < 500
            assert item.where


@examples(300)
@given(st.lists(well_formed_lines | broken_lines, min_size=1, max_size=8))
def test_every_well_formed_line_is_a_document(lines: list[Line]) -> None:
    items = from_stdin(b"\n".join(line.data for line in lines), "jsonl")
    assert [item.text if isinstance(item, Document) else None for item in items] == [line.text for line in lines]
    assert [item.place if isinstance(item, Document) else item.where for item in items] == [
        f"stdin:{number}" for number in range(1, len(lines) + 1)
    ]


@examples(100)
@given(st.lists(records, min_size=1, max_size=5))
def test_every_record_is_a_document_or_empty(records: list[dict[str, object]]) -> None:
    items = from_stdin(json.dumps(records).encode(), "docred")
    assert len(items) == len(records)
    for item in items:
        if isinstance(item, InputError):
            assert item.message in ("the text is empty", "the id is empty") or "is taken by" in item.message


def peak(path: Path, input_format: InputFormat, max_chars: int) -> tuple[list[Document | InputError], float]:
    """What is read of a file, and how many MiB that takes at most."""
    tracemalloc.start()
    try:
        items = list(read([str(path)], input_format, max_chars=max_chars))
        return items, tracemalloc.get_traced_memory()[1] / MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("input_format", ["txt", "jsonl"])
def test_a_huge_line_is_never_held_whole(tmp_path: Path, input_format: InputFormat) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(b'{"text": "')
        file.truncate(200 * MEBIBYTE)
        file.seek(0, io.SEEK_END)
        file.write(b'\n{"text": "After."}\n')
    items, mebibytes = peak(path, input_format, 1000)
    assert mebibytes < 8
    error, *rest = items
    assert isinstance(error, InputError)
    assert error.message == "the text is longer than 1,000 characters"
    assert error.hint
    assert "--max-chars" in error.hint
    assert [item.text for item in rest if isinstance(item, Document)] == (["After."] if input_format == "jsonl" else [])


def test_millions_of_blank_lines_are_not_held() -> None:
    class Blank(io.RawIOBase):
        """Line feeds without end, as a pipe gives them."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            buffer[:] = b"\n" * len(buffer)
            return len(buffer)

    blank_lines = io.BufferedReader(Blank())  # type: ignore[type-var]
    (error,) = read(["-"], stdin=blank_lines, max_chars=10_000)
    assert isinstance(error, InputError)
    assert error.message == "the text is longer than 10,000 characters"


def test_ten_million_characters_without_a_space() -> None:
    text = "x" * 10_000_000
    line = json.dumps({"text": text}).encode()
    for data in (text.encode(), line):
        (document,) = from_stdin(data, max_chars=len(text))
        assert isinstance(document, Document)
        assert document.text == text
        (error,) = from_stdin(data, max_chars=len(text) - 1)
        assert isinstance(error, InputError)


@pytest.mark.parametrize("text", ["🦜", "\u00e9", "\x01", "字"])
def test_the_longest_text_is_read_however_it_is_written(text: str) -> None:
    text *= 200_000
    forms = [
        (text.encode(), "txt"),
        *((json.dumps({"text": text}, ensure_ascii=escaped).encode(), "jsonl") for escaped in (True, False)),
    ]
    for data, input_format in forms:
        (document,) = from_stdin(data, input_format, max_chars=len(text))  # type: ignore[arg-type]
        assert isinstance(document, Document)
        assert document.text == text


def test_a_line_too_long_on_standard_input_leaves_the_others_alone() -> None:
    huge = b'{"text": "' + b"x" * 2 * MEBIBYTE + b'"}\n'
    items = from_stdin(huge + b'{"text": "After."}\n', max_chars=10)
    assert [item.text if isinstance(item, Document) else item.message for item in items] == [
        "the text is longer than 10 characters",
        "After.",
    ]


def test_a_thousand_identical_documents_are_a_thousand_documents() -> None:
    assert (
        len({item.id for item in from_stdin(b'{"text": "The same."}\n' * 1000) if isinstance(item, Document)}) == 1000
    )


def test_a_sentence_of_quotes_takes_no_square_of_time() -> None:
    """Were each to look at all that follow, this would take hours."""
    record = {"title": "q", "sents": [["'"] * 2_000_001]}
    (document,) = from_stdin(json.dumps([record]).encode(), "docred", max_chars=10_000_000)
    assert isinstance(document, Document)


def test_an_id_has_bounds() -> None:
    long = json.dumps({"id": "x" * 1025, "text": "One."}).encode()
    (error,) = from_stdin(long)
    assert isinstance(error, InputError)
    assert error.message == "the id is longer than 1,024 characters"


@pytest.mark.parametrize("token", ["x", ""])
def test_a_record_of_too_many_tokens_is_not_rendered(token: str) -> None:
    long, short = ({"title": str(n), "sents": [["Ann", "sings", "."], [token] * n]} for n in (1_000_000, 10))
    error, document = from_stdin(json.dumps([long, short]).encode(), "docred", max_chars=1000)
    assert isinstance(error, InputError)
    assert (error.message, error.where) == ("the text is longer than 1,000 characters", "stdin: record 1")
    assert isinstance(document, Document)
