"""`autore extract`: documents in, triples out."""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Annotated, BinaryIO, Literal

import typer

from autore_cli.batching import Batches
from autore_cli.cli import choices, console, options, output
from autore_cli.documents import InputFormat, read
from autore_cli.errors import ConfigurationError, InputError
from autore_cli.model import bundle as bundles
from autore_cli.records import Document, Triple
from autore_cli.runs.setup import Setup

OnError = Literal["skip", "stop"]

MAX_DOCUMENTS = 16
MAX_CHARACTERS = 65_536
"""A batch's budget. Larger ones make better use of a GPU, smaller ones bring the first triples sooner."""

SOME_FAILED = 1

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    documents: int = 0
    triples: int = 0
    failed: int = 0

    def add(self, found: Sequence[Sequence[Triple]]) -> None:
        """Counts documents by the triples of each."""
        self.documents += len(found)
        self.triples += sum(map(len, found))

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{_count(self.documents, 'document')}, {_count(self.triples, 'triple')}{failed}"


def extract(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATHS",
            help="Documents: .txt, .jsonl (a line is {'id': ..., 'text': ...}), DocRED's .json, or - for stdin.",
            show_default=False,
        ),
    ],
    model: options.Model = bundles.DEFAULT,
    schema: options.Schema = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = "auto",
    input_format: Annotated[
        InputFormat,
        typer.Option("--input-format", help="What the input is, whatever it is called.", rich_help_panel=options.INPUT),
    ] = "auto",
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Stop after N documents.", rich_help_panel=options.INPUT),
    ] = None,
    on_error: Annotated[
        OnError,
        typer.Option("--on-error", help="What a document that can't be read does.", rich_help_panel=options.INPUT),
    ] = "skip",
    destination: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where the triples go.", rich_help_panel=options.OUTPUT),
    ] = output.STDOUT,
    force: options.Force = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Leave out triples with a lower score. Without it, the model's own limit decides.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Extract triples from documents, while the documents come in.

    A triple is a line of JSON. Its spans say where head and tail stand in the
    document's text: [start, end), in code points. A document that can't be read
    is reported and left out; the exit code is 1 then, or 3 if none could be read.
    """
    console.configure(quiet=quiet, verbose=verbose)
    start = monotonic()
    setup = Setup(model, str(schema) if schema else None, choices.batch_size(batch_size), min_score)
    bundle = setup.bundle()
    bundle.require_adapters()
    relations = setup.relations(bundle)
    _check(destination, paths, force=force)
    choices.warn_of_untrained(relations, bundle)
    tally = Tally()
    documents = islice(_readable(read(paths, input_format, _stdin(paths)), tally, on_error), limit)
    stream = Batches(
        documents, max_items=MAX_DOCUMENTS, max_size=MAX_CHARACTERS, size=lambda document: len(document.text)
    )
    try:
        with console.status("reading", quiet=quiet) as status, stream as batches:
            if not batches.is_empty():
                status.update(f"loading {bundle.name}")
                pipeline = setup.pipeline(device)
                with output.json_lines(destination, force=force) as lines:
                    for batch in batches:
                        status.update(str(tally))
                        found = pipeline.extract(batch)
                        with status.cleared():
                            lines.write(triple for triples in found for triple in triples)
                        tally.add(found)
    finally:
        if (tally.documents or tally.failed) and not isinstance(sys.exception(), BrokenPipeError):
            _logger.info("%s, %.1f s", tally, monotonic() - start)
    if tally.failed:
        raise typer.Exit(SOME_FAILED if tally.documents else InputError.exit_code)


def _check(destination: Path, paths: Sequence[str], *, force: bool) -> None:
    """Finds out whether the output can be written, and is not the input as well."""
    if destination.is_file() and any(Path(path).is_file() and destination.samefile(path) for path in paths):
        raise ConfigurationError("is the input as well", where=str(destination))
    output.check(destination, force=force)


def _stdin(paths: Sequence[str]) -> BinaryIO | None:
    """Standard input in a buffer of its own: the interpreter can't end while a thread waits in that of `sys.stdin`."""
    if "-" not in paths:
        return None
    try:
        return open(0, "rb", closefd=False)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where="stdin") from error


def _readable(items: Iterable[Document | InputError], tally: Tally, on_error: OnError) -> Iterator[Document]:
    """The documents alone. The others are reported, or end it all."""
    for item in items:
        if isinstance(item, Document):
            yield item
        elif on_error == "stop":
            raise item
        else:
            tally.failed += 1
            console.report(item)


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
