"""Whatever the documents, the whole pipeline answers each of them, and only with what stands in its text."""

import io

import orjson
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import read
from autore_cli.pipeline import Extraction, Pipeline
from autore_cli.records import Document
from tests.fuzz.inputs import Line, broken_lines, examples, inputs, well_formed_lines
from tests.model import tiny

OPENING = Line(b'{"text": "Tells what the format is."}', "Tells what the format is.")


def answers(pipeline: Pipeline, data: bytes) -> list[tuple[Document, Extraction]]:
    """The documents that are read of some bytes, each with what was found in it."""
    documents = [item for item in read(["-"], stdin=io.BytesIO(data)) if isinstance(item, Document)]
    return list(zip(documents, pipeline.extract(documents), strict=True))


def check(document: Document, found: Extraction) -> None:
    """Every triple can be written, and is of this document's own words."""
    assert found.windows
    for triple in found.triples:
        assert orjson.loads(orjson.dumps(triple))["doc"] == document.id == triple.doc
        assert 0 < triple.score <= 1
        assert triple.relation_id in ("P17", "P50")
        for name, spans in ((triple.head, triple.head_spans), (triple.tail, triple.tail_spans)):
            assert name
            assert spans
            assert {document.text[start:end] for start, end in spans} == {name}


def test_the_model_finds_something(pipeline: Pipeline) -> None:
    """Else all that follows would say little."""
    found = answers(pipeline, b"".join(orjson.dumps({"text": text}) + b"\n" for text in tiny.TEXTS))
    assert any(extraction.triples for _, extraction in found)


@examples(10)
@given(st.lists(well_formed_lines | broken_lines, min_size=1, max_size=4))
def test_every_well_formed_document_is_answered(pipeline: Pipeline, lines: list[Line]) -> None:
    found = answers(pipeline, b"\n".join(line.data for line in [OPENING, *lines]))
    assert [document.text for document, _ in found] == [
        line.text for line in [OPENING, *lines] if line.text is not None
    ]
    for document, extraction in found:
        check(document, extraction)


@examples(10)
@given(inputs)
def test_any_bytes_go_through(pipeline: Pipeline, data: bytes) -> None:
    for document, extraction in answers(pipeline, data):
        check(document, extraction)
