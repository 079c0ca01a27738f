"""`autore extract`: documents in, triples out."""

import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from autore_cli.batching import Batches
from autore_cli.cli import choices, console, options, output
from autore_cli.documents import MAX_CHARS, InputFormat, read
from autore_cli.errors import ConfigurationError, InputError, OutputError, sayable
from autore_cli.files import write_json
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle
from autore_cli.records import Document
from autore_cli.runs import identity, reports
from autore_cli.runs.devices import is_gpu
from autore_cli.runs.extraction import Extractor, Result
from autore_cli.runs.identity import Configuration
from autore_cli.runs.journal import Finished, JournaledOutput, journal_of
from autore_cli.runs.reports import Stopwatch, Tally
from autore_cli.runs.run import Sink, extractor, unfinished
from autore_cli.runs.setup import Setup

OnError = Literal["skip", "stop"]

DOCUMENTS = 16
DOCUMENTS_ON_GPU = 64
CHARACTERS = 4_096
"""A batch's budget: documents, or more if more passages are at work at once (`--batch-size`), and characters for each
of them. Larger ones make better use of a GPU, smaller ones bring the first triples sooner."""

SILENCE = 0.2
"""Seconds without input after which a batch ends."""

_logger = logging.getLogger(__name__)


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
    paradigm: options.Paradigm = None,
    device: options.Device = "auto",
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="N|LIST",
            help="Several devices, with a process on each: how many, or which, as cuda:0,cuda:1 or cpu,cpu.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    input_format: Annotated[
        InputFormat,
        typer.Option("--input-format", help="What the input is, whatever it is called.", rich_help_panel=options.INPUT),
    ] = "auto",
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Stop after N documents.", rich_help_panel=options.INPUT),
    ] = None,
    max_chars: Annotated[
        int,
        typer.Option(
            "--max-chars",
            metavar="N",
            min=1,
            help="The longest document, in characters; one that is longer fails.",
            rich_help_panel=options.INPUT,
        ),
    ] = MAX_CHARS,
    on_error: Annotated[
        OnError,
        typer.Option(
            "--on-error",
            help="When a document can't be read or fails: leave it out, or end the run.",
            rich_help_panel=options.INPUT,
        ),
    ] = "skip",
    destination: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where the triples go.", rich_help_panel=options.OUTPUT),
    ] = output.STDOUT,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Go on with an output that is there already: leave out what is finished.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    force: options.Force = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write, as JSON, what became of every document, how long it took, and with what.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
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
    log_format: options.LogFormat = "text",
) -> None:
    """Extract triples from documents, while the documents come in.

    A triple is a line of JSON. Its spans say where head and tail stand in the
    document's text: [start, end), in code points. A document that can't be read
    is reported and left out; the exit code is 1 then, or 3 if none could be read.
    A run that was interrupted goes on with the same command and --resume.
    """
    console.configure(quiet=quiet, verbose=verbose, log_format=log_format)
    tally, watch = Tally(), Stopwatch()
    names = choices.devices(device, devices)
    setup = Setup(
        model,
        str(schema) if schema else None,
        choices.batch_size(batch_size),
        min_score,
        paradigm,
        weights=dtype,
        trust_remote_code=trust_remote_code,
    )
    bundle = setup.bundle()
    bundle.require_adapters()
    relations = setup.relations(bundle)
    _check(destination, report, paths, resume=resume, force=force)
    choices.warn_of_untrained(relations, bundle)
    setup = replace(setup, state=setup.files(bundle))
    configuration: Configuration = {}
    if output.is_kept(destination) or report:  # else nobody asks, and it takes seconds for a large base
        configuration = identity.configuration(
            bundle, relations, paradigm=bundle.paradigm, min_score=min_score, dtype=dtype
        )
    run = {
        "inputs": [sayable(path) for path in paths],
        "input_format": input_format,
        "limit": limit,
        "max_chars": max_chars,
        "on_error": on_error,
        "model": sayable(model),
        "devices": names,
        "batch_size": setup.batch_size,
        "output": sayable(str(destination)),
        "resume": resume,
    }
    documents = islice(_readable(read(paths, input_format, _stdin(paths), max_chars), tally, on_error), limit)
    budget = max(DOCUMENTS_ON_GPU if any(map(is_gpu, names)) else DOCUMENTS, setup.batch_size or 0)
    batches = Batches(
        documents,
        max_items=budget,
        max_size=budget * CHARACTERS,
        size=lambda document: len(document.text),
        silence=None if _are_files(paths) else SILENCE,
    )
    with (
        _accounts(tally, watch, bundle, setup, destination, report, {"configuration": configuration, "run": run}),
        console.status("reading", quiet=quiet) as status,
        _sink(destination, configuration, status, resume=resume, force=force) as sink,
        batches,
    ):
        tally.go_on(sink.finished)
        todo = _todo(batches, sink, tally, watch)
        if todo is None:
            return
        status.update(f"loading {bundle.name}")
        with _loaded(setup, names, batches.stop, watch) as extracts:
            for results in watch.over(extracts.extract(todo), "extracting"):
                with watch.part("writing"):
                    sink.write(results)
                tally.add(results)
                status.update(str(tally))
                _report_failed(results, on_error)


def _check(destination: Path, report: Path | None, paths: Sequence[str], *, resume: bool, force: bool) -> None:
    """Finds out whether the outputs can be written, and are neither the input nor each other."""
    if resume and force:
        raise ConfigurationError("--resume goes on with what --force replaces: give one of them")
    if resume and not output.is_kept(destination):
        raise ConfigurationError("only a file can be gone on with", where="--resume", hint="name one with --output")
    if report == output.STDOUT:
        raise ConfigurationError("'-' is no file, and stdout is for triples", where="--report")
    for path in (destination, report):
        if path and path.is_file() and any(Path(each).is_file() and path.samefile(each) for each in paths):
            raise ConfigurationError("is the input as well", where=str(path))
    if report and report.resolve() in (destination.resolve(), journal_of(destination).resolve()):
        raise ConfigurationError("is the output as well", where=str(report))
    hint = "--resume goes on with it, --force replaces it" if journal_of(destination).exists() else None
    output.check(destination, force=force or resume, hint=hint)
    if report:
        output.check(report, force=force or (resume and reports.is_report(report)))


class _Stream:
    """A sink for stdout, pipes and devices: for all that can't be gone on with."""

    finished = Finished()

    def __init__(self, lines: output.JsonLines, status: console.Status) -> None:
        self._lines = lines
        self._status = status

    def take(self, _document: Document) -> bool:
        """See `Sink.take`."""
        return False

    def write(self, results: Sequence[Result]) -> None:
        """See `Sink.write`."""
        with self._status.cleared():
            self._lines.write(triple for result in results for triple in result.triples)


@contextmanager
def _sink(
    destination: Path, configuration: Configuration, status: console.Status, *, resume: bool, force: bool
) -> Iterator[Sink]:
    """Where the triples go: a file with a journal beside it, or a stream."""
    if output.is_kept(destination):
        with JournaledOutput(destination, configuration, resume=resume, force=force) as journaled:
            yield journaled
    else:
        with output.json_lines(destination, force=force) as lines:
            yield _Stream(lines, status)


def _todo(
    batches: Batches[Document], sink: Sink, tally: Tally, watch: Stopwatch
) -> Iterator[Sequence[Document]] | None:
    """What is to be extracted; None if nothing is, which shows before a model is loaded."""
    if batches.is_empty(SILENCE):
        return None
    todo = unfinished(watch.over(batches, "reading"), sink, tally)
    if not sink.finished.documents:
        return todo
    first = next(todo, None)
    if first is None:
        _logger.info("nothing is left to do: what could be read is finished")
        return None
    return chain([first], todo)


@contextmanager
def _loaded(setup: Setup, devices: Sequence[str], stop: Callable[[], None], watch: Stopwatch) -> Iterator[Extractor]:
    """An extractor. Once it is loaded, a signal ends the run by `stop`, and not in the middle of a batch."""
    with ExitStack() as stack:
        with watch.part("loading"):
            extracts = stack.enter_context(extractor(setup, devices))

        def stop_all() -> None:
            stop()
            extracts.stop()

        stack.enter_context(console.interruptible(stop_all))
        yield extracts


@contextmanager
def _accounts(
    tally: Tally,
    watch: Stopwatch,
    bundle: Bundle,
    setup: Setup,
    destination: Path,
    report: Path | None,
    details: Mapping[str, object],
) -> Iterator[None]:
    """Says in the end, however that comes, what became of the documents, and how to go on.

    Raises:
        typer.Exit: some failed.
    """
    try:
        yield
    finally:
        error = sys.exception()
        code = console.exit_code(error) if error else tally.exit_code
        changed = identity.changed(setup.state or "", setup.files(bundle))
        if changed:
            _logger.warning("the bundle changed during the run, which went on with what it had loaded: %s", changed[0])
        if (tally.done or tally.failures) and code != console.CLOSED_PIPE:
            _logger.info("%s, %s", tally, watch)
        if error and tally.done and output.is_kept(destination):
            _logger.info("the same command goes on from here with --resume")
        if report:
            digest = _digest(destination)
            content = reports.record(tally, watch, code, **details, changed_files=changed, output_sha256=digest)
            _write_report(report, content, error)
    if code:
        raise typer.Exit(code)


def _write_report(path: Path, content: object, error: BaseException | None) -> None:
    """Writes the report. If that fails, it is the run's error only if there is no other."""
    try:
        write_json(path, content)
    except OutputError as failed:
        if error is None:
            raise
        console.report(failed)


def _digest(destination: Path) -> str | None:
    """The sha256 of the output, if it is a file."""
    return bundles.digest(destination) if destination.is_file() else None


def _are_files(paths: Sequence[str]) -> bool:
    """Whether all of the input lies in files, so that there is never a wait for it."""
    try:
        return all(stat.S_ISREG((os.fstat(0) if path == "-" else os.stat(path)).st_mode) for path in paths)
    except (OSError, ValueError):
        return False


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
        tally.read += 1
        if isinstance(item, Document):
            yield item
            continue
        tally.fail(item)
        if on_error == "stop":
            raise item
        console.report(item)


def _report_failed(results: Iterable[Result], on_error: OnError) -> None:
    """Reports documents that failed, or ends it all with the first one."""
    for result in results:
        if result.error:
            if on_error == "stop":
                raise result.error
            console.report(result.error)
