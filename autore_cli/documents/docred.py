"""DocRED and Re-DocRED files: documents with their sentences, entities and facts.

The format is that of Yao et al. 2019 (https://github.com/thunlp/DocRED): a JSON list of `{"title", "sents",
"vertexSet", "labels"}`, where `sents` holds tokens, `vertexSet` the mentions of each entity (`sent_id`, `pos` as a
token range, `type`) and `labels` the facts (`h`, `r`, `t`, `evidence`). Files to predict on have no `labels`.
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import orjson

from autore_cli.documents.limits import Limits
from autore_cli.documents.rendering import render
from autore_cli.errors import InputError
from autore_cli.records import AnnotatedDocument, Document, Entity, Fact, Span

_Rows = list[list[Span]]
_T = TypeVar("_T")
_FORM = "a DocRED file is one JSON list; files with a document a line end in .jsonl"


class _BrokenRecordError(Exception):
    """What is wrong with a record, before it is known which one that is."""


def read_docred(path: Path, *, natural: bool = True) -> Iterator[AnnotatedDocument]:
    """Reads the annotated documents of a file in DocRED's format.

    Args:
        path: a JSON file. It is read whole.
        natural: write the text as people write it; False joins the tokens by single spaces.

    Yields:
        The documents in the file's order; `place` is that of `load_records`.

    Raises:
        InputError: the file can't be read, is not such a list, or has a broken record.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(path)) from error
    for place, record in load_records(data, str(path)):
        yield annotate(record, place, natural=natural)


def load_records(data: bytes, name: str) -> list[tuple[str, object]]:
    """The records of a DocRED file's bytes, unchecked, each with its place: `FILE: record N`, counted from 1.

    Records, and not lines, are counted, as such files mostly are a single line.

    Raises:
        InputError: the bytes are not a JSON list.
    """
    try:
        records = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error}", where=name, hint=_FORM) from error
    if not isinstance(records, list):
        raise InputError("not a list of documents", where=name, hint=_FORM)
    return [(f"{name}: record {number}", record) for number, record in enumerate(records, start=1)]


def annotate(record: object, place: str, *, natural: bool = True) -> AnnotatedDocument:
    """Checks one DocRED record and turns it into a document with sentences, entities and facts.

    Raises:
        InputError: a key is missing, a value is of the wrong kind, or an index is out of range.
    """
    try:
        return _annotate(record, place, natural)
    except _BrokenRecordError as error:
        raise _input_error(record, place, error) from None


def plain(record: object, place: str, limits: Limits) -> Document:
    """The document of one DocRED record, whose annotations are not looked at.

    Raises:
        InputError: as `annotate`, or it is too long.
    """
    try:
        if not limits.allow(_tokens(record)):
            raise limits.too_long(place)
        return _document(record, place, natural=True)[0]
    except _BrokenRecordError as error:
        raise _input_error(record, place, error) from None


def _input_error(record: object, place: str, error: _BrokenRecordError) -> InputError:
    title = record.get("title") if isinstance(record, dict) else None
    name = f" {reprlib.repr(title)}" if isinstance(title, str) else ""
    return InputError(f"broken DocRED document{name}: {error}", where=place)


def _annotate(record: object, place: str, natural: bool) -> AnnotatedDocument:
    document, rows = _document(record, place, natural)
    entities = tuple(
        _entity(mentions, f"entity {i}", rows) for i, mentions in enumerate(_get(record, "vertexSet", list, "record"))
    )
    labels = _get(record, "labels", list, "record") if isinstance(record, dict) and record.get("labels") else []
    facts: dict[tuple[int, str, int], Fact] = {}
    for i, label in enumerate(labels):
        fact = _fact(label, f"label {i}", len(entities), len(rows))
        facts.setdefault((fact.head, fact.relation_id, fact.tail), fact)
    return AnnotatedDocument(document, tuple(_cover(row) for row in rows), entities, tuple(facts.values()))


def _document(record: object, place: str, natural: bool) -> tuple[Document, _Rows]:
    title = _get(record, "title", str, "record")
    text, rows = render(_tokens(record), natural=natural)
    return Document(title, text, place), rows


def _tokens(record: object) -> list[list[str]]:
    """The tokens of each sentence."""
    sents = _get(record, "sents", list, "record")
    for i, tokens in enumerate(sents):
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise _BrokenRecordError(f"sentence {i} is not a list of tokens")
    return sents


def _entity(mentions: object, name: str, rows: _Rows) -> Entity:
    if not isinstance(mentions, list) or not mentions:
        raise _BrokenRecordError(f"{name} is not a list of mentions")
    spans = sorted({_mention(mention, f"{name}, mention {i}", rows) for i, mention in enumerate(mentions)})
    return Entity(tuple(spans), _get(mentions[0], "type", str, name) if "type" in mentions[0] else "")


def _mention(mention: object, name: str, rows: _Rows) -> Span:
    row = rows[_index(_get(mention, "sent_id", int, name), len(rows), f"{name}: sent_id")]
    match _get(mention, "pos", list, name):
        case [int(start), int(end)] if 0 <= start < end <= len(row):
            first, last = _cover(row[start:end])
        case pos:
            raise _BrokenRecordError(
                f"{name}: pos {reprlib.repr(pos)} is not a token range of its sentence ({len(row)} tokens)"
            )
    if first == last:
        raise _BrokenRecordError(f"{name}: its tokens are white space")
    return first, last


def _fact(label: object, name: str, entities: int, sentences: int) -> Fact:
    head = _index(_get(label, "h", int, name), entities, f"{name}: h")
    tail = _index(_get(label, "t", int, name), entities, f"{name}: t")
    evidence = _get(label, "evidence", list, name) if isinstance(label, dict) and "evidence" in label else []
    checked = (_index(sentence, sentences, f"{name}: evidence") for sentence in evidence)
    return Fact(head, _get(label, "r", str, name), tail, tuple(sorted(set(checked))))


def _get(mapping: object, key: str, kind: type[_T], name: str) -> _T:
    if not isinstance(mapping, dict):
        raise _BrokenRecordError(f"{name} is not an object")
    if key not in mapping:
        raise _BrokenRecordError(f"{name} has no {key!r}")
    value = mapping[key]
    if not isinstance(value, kind):
        raise _BrokenRecordError(f"{name}: {key!r} is not of type {kind.__name__}")
    return value


def _index(value: object, length: int, name: str) -> int:
    if not isinstance(value, int) or not 0 <= value < length:
        raise _BrokenRecordError(f"{name} is {reprlib.repr(value)}, out of range(0, {length})")
    return value


def _cover(spans: list[Span]) -> Span:
    """From the first to the last span that is not empty; an empty span when there is none."""
    full = [span for span in spans if span[0] < span[1]]
    if full:
        return full[0][0], full[-1][1]
    return spans[0] if spans else (0, 0)
