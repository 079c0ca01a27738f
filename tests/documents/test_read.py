import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import InputFormat, read
from autore_cli.errors import InputError
from autore_cli.records import Document


def from_stdin(data: bytes, input_format: InputFormat = "auto") -> list[Document | InputError]:
    return list(read(["-"], input_format, io.BytesIO(data)))


def from_file(folder: Path, name: str, data: bytes, input_format: InputFormat = "auto") -> list[Document | InputError]:
    path = folder / name
    path.write_bytes(data)
    return list(read([str(path)], input_format))


def ids(items: list[Document | InputError]) -> list[str]:
    """The ids of the documents; of errors their place."""
    return [item.id if isinstance(item, Document) else f"! {item.where}" for item in items]


def only_error(items: list[Document | InputError]) -> InputError:
    (item,) = items
    assert isinstance(item, InputError)
    assert "\n" not in str(item)
    return item


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = str(tmp_path / "a.note.TXT")
    assert from_file(tmp_path, "a.note.TXT", b"\xef\xbb\xbfOne.\r\n\r\nTw\xc3\xb6.\x00\r") == [
        Document("a.note", "One.\n\nTwö.\x00\n", path)
    ]


def test_json_lines(tmp_path: Path) -> None:
    data = (
        b'\xef\xbb\xbf{"id": "a", "text": "One."}\r\n\n{"text": "Two.\\r\\n", "more": 1}\n{"id": 7, "text": "Three."}'
    )
    path = str(tmp_path / "docs.jsonl")
    assert from_file(tmp_path, "docs.jsonl", data) == [
        Document("a", "One.", f"{path}:1"),
        Document("docs.jsonl:3", "Two.\r\n", f"{path}:3"),
        Document("7", "Three.", f"{path}:4"),
    ]


def test_docred(tmp_path: Path) -> None:
    records: list[Any] = [{"title": "A", "sents": [["Ann", "'s", "boat", "."]]}, {"title": "B"}, 5]
    items = from_file(tmp_path, "d.json", json.dumps(records).encode())
    path = str(tmp_path / "d.json")
    assert items[0] == Document("A", "Ann's boat.", f"{path}: record 1")
    assert ids(items[1:]) == [f"! {path}: record 2", f"! {path}: record 3"]


def test_standard_input_tells_its_format_itself() -> None:
    assert from_stdin(b'\n{"text": "One."}\n') == [Document("stdin:2", "One.", "stdin:2")]
    assert from_stdin(b"\nOne.\nTwo.\n") == [Document("stdin", "\nOne.\nTwo.\n", "stdin")]
    assert from_stdin(b"[1]\n") == [Document("stdin", "[1]\n", "stdin")]


def test_a_given_format_overrides(tmp_path: Path) -> None:
    assert from_stdin(b'{"text": "One."}', "txt") == [Document("stdin", '{"text": "One."}', "stdin")]
    docred = b'[{"title": "A", "sents": [["One", "."]]}]'
    assert from_stdin(docred, "docred") == [Document("A", "One.", "stdin: record 1")]
    assert ids(from_file(tmp_path, "notes.md", b"One.", "txt")) == ["notes"]
    assert ids(from_file(tmp_path, "data.log", b'{"text": "One."}', "jsonl")) == ["data.log:1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "x"', "not valid JSON"),
        (b'{"text": "\\ud800"}', "not valid JSON"),
        (b'{"text": "\xff"}', "not UTF-8 (byte 11)"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\x00", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no 'text'"),
        (b'{"text": null}', "'text' is not text"),
        (b'{"text": ["x"]}', "'text' is not text"),
        (b'{"text": ""}', "the text is empty"),
        (b'{"text": " \\n\\t"}', "the text is empty"),
        (b'{"id": "", "text": "x"}', "the id is empty"),
        (b'{"id": ["a"], "text": "x"}', "'id' is neither text"),
        (b'{"id": true, "text": "x"}', "'id' is neither text"),
        (b'{"id": "first", "text": "x"}', "the id 'first' is taken"),
    ],
)
def test_a_bad_line_does_not_stop_the_others(line: bytes, message: str) -> None:
    items = from_stdin(b'{"id": "first", "text": "One."}\n' + line + b'\n{"id": "last", "text": "Three."}\n')
    assert ids([items[0], items[2]]) == ["first", "last"]
    error = only_error([items[1]])
    assert message in str(error)
    assert error.where == "stdin:2"


def test_ids_are_distinct_over_all_sources(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("One.")
    paths = [str(tmp_path / folder / "a.txt") for folder in ("x", "y")]
    assert ids(list(read(paths))) == ["a", f"! {paths[1]}"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"\xef\xbb\xbf", "empty"),
        ("a.txt", b" \n", "the text is empty"),
        ("a.txt", b"One \xff", "not UTF-8 (byte 5)"),
        ("a.txt", "One".encode("utf-16"), "UTF-16"),
        ("a.jsonl", b"", "empty"),
        ("a.jsonl", b"\n \n", "only blank lines"),
        ("a.json", b"", "empty"),
        ("a.json", b"[]", "an empty list"),
        ("a.json", b"{}", "not a list"),
        ("a.json", b"[", "not valid JSON"),
        ("a.pdf", b"One.", "unknown ending '.pdf'"),
        ("a", b"One.", "unknown ending ''"),
    ],
)
def test_a_source_that_cannot_be_used(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    error = only_error(from_file(tmp_path, name, data))
    assert message in error.message
    assert error.where == str(tmp_path / name)


def test_a_source_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("One.")
    sources = [str(tmp_path / "none.txt"), str(tmp_path), "a\0b.txt", str(tmp_path / "good.txt")]
    *errors, good = read(sources)
    assert isinstance(good, Document)
    assert [only_error([error]).message for error in errors] == [
        "can't be read: No such file or directory",
        "can't be read: Is a directory",
        "not a path: it holds a NUL",
    ]


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One.")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "Permission denied" in only_error(list(read([str(path)]))).message


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    try:
        with open(name, "wb") as file:
            file.write(b"One.")
    except OSError:
        pytest.skip("this file system knows no such names")
    assert ids(list(read([os.fsdecode(name)]))) == ["caf\ufffd"]


def test_lines_come_as_they_are_written() -> None:
    """A pipe that stays open: each document is there before the next one is written."""
    readable, writable = os.pipe()
    with open(readable, "rb") as stream, open(writable, "wb", buffering=0) as pipe:
        items = read(["-"], stdin=stream)
        for name in ("a", "b", "c"):
            pipe.write(json.dumps({"id": name, "text": "One."}).encode() + b"\n")
            got: list[Document | InputError] = []
            reader = threading.Thread(target=lambda got=got: got.append(next(items)), daemon=True)
            reader.start()
            reader.join(timeout=10)
            assert ids(got) == [name]
        pipe.close()
        assert list(items) == []


@given(
    st.lists(st.binary() | st.sampled_from([b"\n", b'{"text": "a"}\n', b'{"text": "', b"\xef\xbb\xbf", b"[", b"\x00"]))
)
def test_any_bytes_are_read_or_named(parts: list[bytes]) -> None:
    data = b"".join(parts)
    for input_format in ("auto", "txt", "jsonl", "docred"):
        items = from_stdin(data, input_format)
        assert items
        documents = [item for item in items if isinstance(item, Document)]
        assert len({document.id for document in documents}) == len(documents)
        for document in documents:
            assert document.text.strip()
            document.text.encode()
        for item in items:
            if isinstance(item, InputError):
                assert "\n" not in str(item)
                assert item.where
