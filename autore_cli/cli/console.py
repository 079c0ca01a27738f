"""The one place that writes messages and ends a command.

stdout carries data and nothing else; messages and progress go to stderr, each message on one line. Library code reports
through `logging` (the logger `autore_cli` and those under it) and raises the errors of `autore_cli.errors`. Exit codes
beyond theirs, by the shells' convention of 128 and a signal's number where there is one:

    70   an unexpected error, which is a bug
    130  interrupted by Ctrl-C (SIGINT); what is finished is out
    141  whoever read the output closed it, as `head` does; nothing is said
    143  terminated (SIGTERM); what is finished is out
"""

import errno
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Literal, NoReturn, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from autore_cli.cli import output
from autore_cli.errors import AutoreError, OutputError, writing

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

UNEXPECTED, INTERRUPTED, CLOSED_PIPE, TERMINATED = 70, 130, 141, 143

_STYLES = {"error": "bold red", "warning": "bold yellow", "hint": "bold cyan"}
_logger = logging.getLogger("autore_cli")


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: treated as Ctrl-C is, but for the exit code."""


class _Stderr(Console):
    as_json = False

    def on_broken_pipe(self) -> None:
        raise


class _MessageHandler(logging.Handler):
    """Writes log records as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            _trace(record.exc_info[1])
        message(record.getMessage(), kind="" if record.levelno == logging.INFO else record.levelname.lower())


_stderr = _Stderr(stderr=True, highlight=False, soft_wrap=True)


def configure(*, quiet: bool, verbose: bool, log_format: Literal["text", "json"] = "text") -> None:
    """Sets what is said, and how.

    Args:
        quiet: errors alone.
        verbose: all there is, with timings and tracebacks. By default, what a user needs.
        log_format: `text`, for people, or `json`: each message as an object on a line, its keys `time`, `level`,
            `message`, `where` and `hint`.
    """
    _stderr.as_json = log_format == "json"
    logging.basicConfig(handlers=[_MessageHandler()], level=logging.WARNING if verbose else logging.ERROR)
    logging.captureWarnings(True)
    _logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)


def message(text: str, kind: str = "", *, where: str | None = None, hint: str | None = None) -> None:
    """Writes a message to stderr: a line `autore: KIND: WHERE: TEXT`, and one for the hint; or all as a JSON object."""
    if _stderr.as_json:
        _stderr.print(Text(_json(text, kind or "info", where, hint)))
        return
    _line(f"{where}: {text}" if where else text, kind)
    if hint:
        _line(hint, "hint")


def _line(text: str, kind: str) -> None:
    line = Text("autore: ")
    if kind:
        line.append(f"{kind}: ", _STYLES.get(kind))
    _stderr.print(line.append(_printable(text)))


def report(error: AutoreError) -> None:
    """Writes an error and, on a second line, what to do about it."""
    message(error.message, "error", where=error.where, hint=error.hint)


def _json(text: str, level: str, where: str | None, hint: str | None) -> str:
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = {"time": time, "level": level, "message": text, "where": where, "hint": hint}
    return json.dumps(record, ensure_ascii=True)  # which lone surrogates survive, as names of files may hold them


def _trace(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)).rstrip()
    if _stderr.as_json:
        message(text, "debug")
    else:
        _stderr.print(Text(text))


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
    hidden = quiet or _stderr.as_json or not _is_terminal(sys.stderr)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=_stderr, transient=True, disable=hidden) as progress:
        line = Status(progress)
        line.update(text)
        yield line


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def run(command: Callable[[], object], *, as_json: bool = False) -> NoReturn:
    """Runs a command, says what went wrong if anything did, and exits with the code that tells.

    Args:
        command: what to run.
        as_json: how messages are written until `configure` is called.
    """
    _stderr.as_json = as_json
    signal.signal(signal.SIGTERM, _terminate)
    code = 0
    try:
        command()
        if sys.stdout:
            with writing("stdout"):
                sys.stdout.flush()
    except BaseException as error:
        _stop_at_once()
        code = exit_code(error)
        with suppress(BrokenPipeError):
            _explain(error)
    _drop_unwritten()
    sys.exit(code)


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """While the context lasts, Ctrl-C or SIGTERM calls `stop`, and ends the command when the context is left.

    A second one ends the process at once. A signal that is ignored, as in a job behind `nohup`, stays ignored.
    """
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        _stop_at_once()
        stop()
        with suppress(RuntimeError):  # the signal came while a message was being written
            message("finishing what has begun; once more ends it at once")

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        if not received:
            for number in _SIGNALS:
                signal.signal(number, before[number])
    if received:
        raise TerminatedError if received[0] == signal.SIGTERM else KeyboardInterrupt


def _stop_at_once() -> None:
    """From now on a signal ends the process, whatever it is at."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TerminatedError


def exit_code(error: BaseException) -> int:
    """The code that a command exits with after an error."""
    match error:
        case AutoreError() | typer.Exit() | typer.TyperException():
            return error.exit_code
        case BrokenPipeError():
            return CLOSED_PIPE
        case OSError(errno=number) if number in _NO_ROOM:
            return OutputError.exit_code
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
        _trace(error)
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
        case OSError(errno=number) if number in _NO_ROOM:  # help, which typer writes
            report(AutoreError(f"can't be written: {error.strerror}", where="stdout"))
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
