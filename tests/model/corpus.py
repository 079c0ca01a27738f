"""A few annotated documents of our own, and their training files."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.model.bundle import Bundle
from autore_cli.records import AnnotatedDocument, Document, Entity, Fact
from autore_cli.schema import Schema, default
from autore_cli.stages import paradigm

_TEXTS = [
    "Mara Lindqvist wrote The Quiet Harbour in Fjellhavn, a town of Vestmark.",
    "Tomas Reval wrote The Grey Hills in Orlen, a town of Ostmark.",
    "Ida Sorn wrote The Cold Sea in Lundvik, a town of Sudmark.",
    "Per Aasen wrote The Long Winter in Brevik, a town of Nordmark.",
]
SETTINGS = ExampleSettings(negative_relations=2, negative_heads=1, wrong_candidates=1)


def documents() -> list[AnnotatedDocument]:
    """Documents with an author, a book, a town and a country each."""
    return [_document(f"doc {number}", text) for number, text in enumerate(_TEXTS)]


def schema() -> Schema:
    """The two relations of the documents and two others, out of the default schema."""
    return replace(
        default(), relations=tuple(relation for relation in default() if relation.id in ("P17", "P50", "P19", "P40"))
    )


def examples(bundle: Bundle) -> list[Example]:
    """The examples of all documents, in the bundle's prompts."""
    maker = ExampleMaker(paradigm(bundle.paradigm), bundle.prompts("", ""), schema(), SETTINGS)
    return [example for document in documents() for example in maker.make(document, random.Random(0))]


def write(folder: Path, examples: Sequence[Example]) -> Path:
    """Writes the training file of each stage."""
    folder.mkdir(parents=True)
    for stage in sorted({example.stage for example in examples}):
        lines = [orjson.dumps(example.record()) for example in examples if example.stage == stage]
        (folder / f"{stage}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def _document(name: str, text: str) -> AnnotatedDocument:
    author, _, rest = text.partition(" wrote ")
    book, _, rest = rest.partition(" in ")
    town, _, country = rest.removesuffix(".").partition(", a town of ")
    entities = [
        Entity(((text.index(each), text.index(each) + len(each)),), type_)
        for each, type_ in ((author, "PER"), (book, "MISC"), (town, "LOC"), (country, "LOC"))
    ]
    facts = (Fact(1, "P50", 0), Fact(2, "P17", 3))
    return AnnotatedDocument(Document(name, text), ((0, len(text)),), tuple(entities), facts)
