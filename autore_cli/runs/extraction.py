"""What becomes of documents: a result for each of them, whatever happens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autore_cli.errors import AutoreError
from autore_cli.pipeline import Pipeline
from autore_cli.records import Document, Triple


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a document.

    Attributes:
        document: the document.
        triples: what was found in it; empty if it failed.
        windows: how many windows it was read in.
        error: why it failed; None if it didn't.
    """

    document: Document
    triples: Sequence[Triple] = field(default=())
    windows: int = 0
    error: AutoreError | None = None


class Extractor(Protocol):
    """Something that extracts: a pipeline in this process, or several in others."""

    def extract(self, batches: Iterable[Sequence[Document]]) -> Iterator[list[Result]]:
        """The results of each batch, in the order of the batches and of the documents in them."""
        ...


class LocalExtractor:
    """Extracts in this process, batch by batch."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def extract(self, batches: Iterable[Sequence[Document]]) -> Iterator[list[Result]]:
        """See `Extractor.extract`."""
        for batch in batches:
            yield extract_batch(self.pipeline, batch)


def extract_batch(pipeline: Pipeline, documents: Sequence[Document]) -> list[Result]:
    """The results of one batch."""
    found = pipeline.extract(documents)
    return [Result(document, triples) for document, triples in zip(documents, found, strict=True)]
