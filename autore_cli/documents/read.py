"""What the user hands in (files or standard input; plain text, JSON lines or DocRED) as documents.

A document that can't be used is not raised but yielded, as an InputError, so that the others go on. However long a
line is, no more of it is held than the longest document could fill.
"""

import os
import reprlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import orjson

from autore_cli.documents.docred import load_records, plain
from autore_cli.documents.limits import MAX_CHARS, Limits
from autore_cli.errors import InputError
from autore_cli.records import Document

InputFormat = Literal["auto", "txt", "jsonl", "docred"]

_MAX_ID = 1024
_SKIPPED_AT_ONCE = 2**16

_STDIN = "stdin"
_FORMATS: dict[str, InputFormat] = {".txt": "txt", ".jsonl": "jsonl", ".json": "docred"}
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def read(
    sources: Iterable[str],
    input_format: InputFormat = "auto",
    stdin: BinaryIO | None = None,
    max_chars: int = MAX_CHARS,
) -> Iterator[Document | InputError]:
    """Reads documents one by one, and of JSON lines never more than the line that is due.

    Args:
        sources: paths, or `-` for standard input.
        input_format: `txt`: a file is one document, its id the file's name without folder and ending, its line ends
            read as line feeds. `jsonl`: a line is one document, `{"id": ..., "text": ...}`; without an id it gets
            `NAME:LINE`. `docred`: a JSON list, the ids are the titles. `auto`: by the file's ending; standard input is
            `jsonl` when its first line that is not blank is a JSON object, else `txt` with the id `stdin`.
        stdin: standard input's bytes, by default the process's own.
        max_chars: the longest text that a document may have, in code points. It bounds what is held in memory: of a
            text 4 bytes a character, of a JSON line 12 and 1 MiB for its other fields, of a DocRED file 256 MiB.

    Yields:
        The documents in order, and in the place of each document or whole source that can't be used an InputError:
        unreadable, empty, too long, not UTF-8, malformed, or with an id that was there before.
    """
    seen: set[str] = set()
    limits = Limits(max_chars)
    for source in sources:
        for item in _source(source, input_format, stdin or sys.stdin.buffer, limits):
            yield _accept(item, seen, limits) if isinstance(item, Document) else item


def _accept(document: Document, seen: set[str], limits: Limits) -> Document | InputError:
    if not document.id:
        return InputError("the id is empty", where=document.place)
    if len(document.id) > _MAX_ID:
        return InputError(f"the id is longer than {_MAX_ID:,} characters", where=document.place)
    if document.id in seen:
        return InputError(f"the id {reprlib.repr(document.id)} is taken by an earlier document", where=document.place)
    if not document.text or document.text.isspace():
        return InputError("the text is empty", where=document.place)
    if len(document.text) > limits.chars:
        return limits.too_long(document.place)
    seen.add(document.id)
    return document


def _source(source: str, input_format: InputFormat, stdin: BinaryIO, limits: Limits) -> Iterator[Document | InputError]:
    """Yields a source's documents; what keeps it from being read (further) is its last item."""
    place = _STDIN if source == "-" else source
    try:
        with _open(source, stdin) as stream:
            if input_format == "auto" and source != "-":
                input_format = _by_ending(source)
            lines = _lines(stream, place, limits.docred if input_format == "docred" else limits.line)
            if input_format == "auto":
                input_format, lines = _sniff(lines, limits)
            yield from _READERS[input_format](lines, place, limits)
    except InputError as error:
        yield error
    except OSError as error:
        yield InputError(f"can't be read: {error.strerror or error}", where=place, hint=_hint(error))


def _open(source: str, stdin: BinaryIO) -> AbstractContextManager[BinaryIO]:
    if source == "-":
        return nullcontext(stdin)
    if "\0" in source:
        raise InputError("not a path: it holds a NUL", where=repr(source))
    return Path(source).open("rb")


def _hint(error: OSError) -> str | None:
    match error:
        case FileNotFoundError():
            return "check the path"
        case IsADirectoryError():
            return "name the files in it, as DIRECTORY/*.txt"
        case PermissionError():
            return "check its permissions"
    return None


def _lines(stream: BinaryIO, place: str, limit: int) -> Iterator[bytes]:
    """The lines as of `_cut_lines`, without a byte order mark. Raises InputError for none at all, and for UTF-16."""
    lines = _cut_lines(stream, limit)
    first = next(lines, b"")
    if first.startswith(_UTF16_BOMS):
        raise InputError("not UTF-8 but UTF-16", where=place, hint="convert it: iconv -f UTF-16 -t UTF-8")
    first = first.removeprefix(_BOM)
    if not first:
        raise InputError("empty", where=place)
    return chain([first], lines)


def _cut_lines(stream: BinaryIO, limit: int) -> Iterator[bytes]:
    """The lines; of one with more bytes than `limit` one byte more, and the rest is skipped."""
    while line := stream.readline(limit + 1):
        yield line
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_SKIPPED_AT_ONCE)


def _whole(lines: Iterable[bytes], limit: int, error: InputError) -> bytes:
    """All lines as one. Raises the error when they have more bytes than `limit`."""
    whole = bytearray()
    for line in lines:
        whole += line
        if len(whole) > limit:
            raise error
    return bytes(whole)


def _by_ending(path: str) -> InputFormat:
    ending = Path(path).suffix.lower()
    if ending not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise InputError(
            f"unknown ending {ending!r}", where=path, hint=f"known are {known}; others need --input-format"
        )
    return _FORMATS[ending]


def _sniff(lines: Iterator[bytes], limits: Limits) -> tuple[InputFormat, Iterator[bytes]]:
    """The format by the first line that isn't blank, and all lines again."""
    head = []
    size = 0
    for line in lines:
        head.append(line)
        size += len(line)
        if line.strip() or size > limits.text:
            break
    return "jsonl" if _is_json_object(head[-1], limits) else "txt", chain(head, lines)


def _is_json_object(line: bytes, limits: Limits) -> bool:
    if len(line) > limits.line:
        return line.lstrip().startswith(b"{")
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _read_txt(lines: Iterator[bytes], place: str, limits: Limits) -> Iterator[Document | InputError]:
    try:
        text = _whole(lines, limits.text, limits.too_long(place)).decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(error, place) from error
    yield Document(_printable(Path(place).stem), text.replace("\r\n", "\n").replace("\r", "\n"), place)


def _read_jsonl(lines: Iterator[bytes], place: str, limits: Limits) -> Iterator[Document | InputError]:
    name = _printable(os.path.basename(place))
    blank = True
    for number, line in enumerate(lines, start=1):
        if len(line) > limits.line:
            blank = False
            yield limits.too_long(f"{place}:{number}")
        elif line.strip():
            blank = False
            yield _json_document(line, f"{name}:{number}", f"{place}:{number}")
    if blank:
        raise InputError("no documents, only blank lines", where=place)


def _json_document(line: bytes, default_id: str, place: str) -> Document | InputError:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError as cause:
            return _not_utf8(cause, place)
        return InputError(f"not valid JSON: {error.msg} (character {error.pos + 1})", where=place)
    if not isinstance(fields, dict):
        return InputError("not a JSON object", where=place, hint='a line is {"id": ..., "text": ...}')
    identifier = fields.get("id")
    if identifier is None:
        identifier = default_id
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        return InputError("'id' is neither text nor a whole number", where=place)
    if "text" not in fields:
        return InputError("no 'text'", where=place, hint='a line is {"id": ..., "text": ...}')
    if not isinstance(fields["text"], str):
        return InputError("'text' is not text", where=place)
    return Document(str(identifier), fields["text"], place)


def _read_docred(lines: Iterator[bytes], place: str, limits: Limits) -> Iterator[Document | InputError]:
    error = InputError(f"larger than {limits.docred:,} bytes", where=place, hint="split it, or make it JSON lines")
    records = load_records(_whole(lines, limits.docred, error), place)
    if not records:
        raise InputError("no documents, an empty list", where=place)
    for own_place, record in records:
        try:
            yield plain(record, own_place, limits)
        except InputError as error:
            yield error


_READERS = {"txt": _read_txt, "jsonl": _read_jsonl, "docred": _read_docred}


def _not_utf8(error: UnicodeDecodeError, place: str) -> InputError:
    return InputError(f"not UTF-8 (byte {error.start + 1})", where=place, hint="convert it: iconv -f ENCODING -t UTF-8")


def _printable(name: str) -> str:
    """A file's name with what isn't UTF-8 in it replaced, for it becomes part of the output."""
    return os.fsencode(name).decode(errors="replace")
