"""What becomes of documents: a result for each of them, whatever happens."""

import logging
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autore_cli.errors import AutoreError, DocumentError, LackOfMemoryError
from autore_cli.pipeline import Pipeline
from autore_cli.records import Document, Triple

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a document.

    Attributes:
        document: the document.
        triples: what was found in it; empty if it failed.
        windows: how many windows it was read in; together they hold all of it.
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

    def stop(self) -> None:
        """Ends the iteration when what is in work is finished. May be called by a signal's handler."""
        ...


class LocalExtractor:
    """Extracts in this process, batch by batch."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._stopped = False

    def extract(self, batches: Iterable[Sequence[Document]]) -> Iterator[list[Result]]:
        """See `Extractor.extract`."""
        for batch in batches:
            yield extract_batch(self.pipeline, batch)
            if self._stopped:
                return

    def stop(self) -> None:
        """See `Extractor.stop`."""
        self._stopped = True


def extract_batch(pipeline: Pipeline, documents: Sequence[Document]) -> list[Result]:
    """The results of one batch. If it fails as a whole, its documents are tried one by one, so that only those fail
    that fail by themselves.

    Raises:
        AutoreError: nothing can be extracted at all, from whatever document: a wrong setting, a damaged bundle.
    """
    try:
        return [
            Result(document, triples, windows)
            for document, (triples, windows) in zip(documents, pipeline.extract(documents), strict=True)
        ]
    except Exception as error:
        if isinstance(error, AutoreError) and not isinstance(error, LackOfMemoryError):
            raise
        if len(documents) == 1:
            _logger.debug("why it failed:", exc_info=error)
            return [Result(documents[0], error=failure(documents[0], error))]
        _logger.debug("a batch of %d documents failed, which are tried one by one: %r", len(documents), error)
    return [result for document in documents for result in extract_batch(pipeline, [document])]


def failure(document: Document, error: Exception) -> DocumentError:
    """The error of a document that failed, with its id and its place in the input."""
    if isinstance(error, MemoryError | LackOfMemoryError):
        reason, hint = "there is not enough memory for it", "try a smaller model, or another --device"
    else:
        first_line = next(iter(str(error).splitlines()), "")
        reason, hint = f"{type(error).__name__}: {first_line}", "--verbose shows the traceback; please report it"
    return DocumentError(f"document {reprlib.repr(document.id)} failed: {reason}", where=document.place, hint=hint)
