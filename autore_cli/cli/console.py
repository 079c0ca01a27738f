"""The one place that writes messages and ends a command.

stdout carries data and nothing else; messages and progress go to stderr, each message on one line. Library code reports
through `logging` (the logger `autore_cli` and those under it) and raises the errors of `autore_cli.errors`. Exit codes
beyond theirs, by the shells' convention of 128 and a signal's number where there is one:

    70   an unexpected error, which is a bug
    130  interrupted by Ctrl-C (SIGINT); what was finished before is out
    141  whoever read the output closed it, as `head` does; nothing is said
    143  terminated (SIGTERM); what was finished before is out
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from autore_cli.cli import output
from autore_cli.errors import AutoreError

UNEXPECTED, INTERRUPTED, CLOSED_PIPE, TERMINATED = 70, 130, 141, 143

_STYLES = {"error": "bold red", "warning": "bold yellow", "hint": "bold cyan"}
_logger = logging.getLogger("autore_cli")


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: treated as Ctrl-C is, but for the exit code."""


class _Stderr(Console):
    def on_broken_pipe(self) -> None:
        raise


class _MessageHandler(logging.Handler):
    """Writes log records as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        message(record.getMessage(), kind="" if record.levelno == logging.INFO else record.levelname.lower())


_stderr = _Stderr(stderr=True, highlight=False, soft_wrap=True)


def configure(*, quiet: bool, verbose: bool) -> None:
    """Sets what is said: errors alone (`quiet`), all there is, with tracebacks (`verbose`), or what a user needs."""
    logging.basicConfig(handlers=[_MessageHandler()], level=logging.WARNING if verbose else logging.ERROR)
    logging.captureWarnings(True)
    _logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)


def message(text: str, kind: str = "") -> None:
    """Writes one line to stderr: `autore: KIND: TEXT`, or `autore: TEXT`."""
    line = Text("autore: ")
    if kind:
        line.append(f"{kind}: ", _STYLES.get(kind))
    _stderr.print(line.append(_printable(text)))


def report(error: AutoreError) -> None:
    """Writes an error and, on a second line, what to do about it."""
    message(f"{error.where}: {error.message}" if error.where else error.message, "error")
    if error.hint:
        message(error.hint, "hint")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table to stdout, columns of figures to the right. Raises as `output.write` does."""
    lines = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    body = list(rows)
    for number, column in enumerate(columns):
        figures = all(row[number][:1].isdigit() for row in body)
        lines.add_column(column, justify="right" if figures else "left")
    for row in body:
        lines.add_row(*map(Text, row))
    stdout = Console(highlight=False)
    with stdout.capture() as capture:
        stdout.print(lines)
    output.write(capture.get().encode())


class Status:
    """A line of progress on stderr."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("")

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return not self._progress.disable

    def update(self, text: str) -> None:
        """Changes the line's text."""
        self._progress.update(self._task, description=escape(text))

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Takes the line away while data is written, if that goes to the same terminal."""
        if not self.shown or not _is_terminal(sys.stdout):
            yield
            return
        self._progress.stop()
        yield
        self._progress.start()


@contextmanager
def status(text: str, *, quiet: bool = False) -> Iterator[Status]:
    """A line of progress (a spinner, a text, the time) while the context lasts, if stderr is a terminal."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=_stderr, transient=True, disable=quiet or not _is_terminal(sys.stderr)) as progress:
        line = Status(progress)
        line.update(text)
        yield line


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def run(command: Callable[[], object]) -> NoReturn:
    """Runs a command, says what went wrong if anything did, and exits with the code that tells."""
    signal.signal(signal.SIGTERM, _terminate)
    code = 0
    try:
        command()
        if sys.stdout:
            with output.named("stdout"):
                sys.stdout.flush()
    except BaseException as error:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a second one stops at once
        code = _exit_code(error)
        with suppress(BrokenPipeError):
            _explain(error)
    _drop_unwritten()
    sys.exit(code)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TerminatedError


def _exit_code(error: BaseException) -> int:
    match error:
        case AutoreError() | typer.Exit() | typer.TyperException():
            return error.exit_code
        case BrokenPipeError():
            return CLOSED_PIPE
        case SystemExit(code=int(code)):  # rich's way when a page of help is closed
            return code
        case TerminatedError():
            return TERMINATED
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return UNEXPECTED


def _explain(error: BaseException) -> None:
    """Says why a command ended, on one line and perhaps a hint."""
    verbose = _logger.isEnabledFor(logging.DEBUG)
    if verbose and not isinstance(error, typer.Exit):
        _stderr.print(Text("".join(traceback.format_exception(error)).rstrip()))
    match error:
        case typer.Exit() | BrokenPipeError() | SystemExit():
            pass
        case AutoreError():
            report(error)
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            hint = f"see '{context.command_path} --help'" if context else None
            report(AutoreError(error.format_message().rstrip("."), hint=hint))
        case KeyboardInterrupt():
            message("terminated" if isinstance(error, TerminatedError) else "interrupted")
        case MemoryError():
            report(AutoreError("out of memory", hint="try a smaller --batch-size"))
        case _:
            first_line = (str(error).strip().splitlines() or [""])[0]
            hint = None if verbose else "run again with --verbose for the traceback"
            report(AutoreError(f"{type(error).__name__}: {first_line}", where="unexpected", hint=hint))


def _drop_unwritten() -> None:
    """Turns streams that can't be flushed to nowhere, as the interpreter would complain about them at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _printable(text: str) -> str:
    """The text with line breaks and control characters as escapes, so that it stays on one line and does nothing."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
