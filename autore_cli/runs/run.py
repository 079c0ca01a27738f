"""From batches of documents to an output, with every document accounted for."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from autore_cli.records import Document
from autore_cli.runs.extraction import Extractor, LocalExtractor, Result
from autore_cli.runs.journal import Finished
from autore_cli.runs.reports import Tally
from autore_cli.runs.setup import Setup


class Sink(Protocol):
    """Where results go. `finished` is what is there already."""

    finished: Finished

    def take(self, document: Document) -> bool:
        """Whether the document's triples are there already."""
        ...

    def write(self, results: Sequence[Result]) -> None:
        """Writes a batch's triples at once."""
        ...


def unfinished(batches: Iterable[Sequence[Document]], sink: Sink, tally: Tally) -> Iterator[list[Document]]:
    """The batches without the documents that an earlier run has finished."""
    for batch in batches:
        left = [document for document in batch if not sink.take(document)]
        tally.earlier += len(batch) - len(left)
        if left:
            yield left


@contextmanager
def extractor(setup: Setup, devices: Sequence[str]) -> Iterator[Extractor]:
    """What extracts on the devices: this process if there is one device, else a worker process on each.

    Raises:
        BundleError, ConfigurationError: as `Setup.pipeline`.
    """
    if len(devices) == 1:
        yield LocalExtractor(setup.pipeline(devices[0]))
        return
    from autore_cli.runs.workers import Workers

    with Workers(setup, devices) as workers:
        yield workers
