"""What became of a run, document by document and second by second: the closing line, and the report as JSON."""

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import local
from time import monotonic
from typing import Any, TypeVar

import orjson

from autore_cli.errors import AutoreError, sayable
from autore_cli.runs.extraction import Result
from autore_cli.runs.journal import Finished
from autore_cli.versions import version

SOME_FAILED, NONE_READ = 1, 3
FORMAT = 1
PARTS = ("loading", "reading", "extracting", "writing")

_PACKAGES = ("autore", "torch", "transformers", "peft", "bitsandbytes")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """A document, or a whole file, of which nothing came. `id` is None if it could not even be read."""

    id: str | None
    place: str | None
    reason: str


@dataclass(slots=True)
class Tally:
    """What a run has done so far. A thread that reads the documents alone counts `read` and `earlier`.

    Attributes:
        read: documents that were read, or could not be.
        extracted: those whose triples this run has put into the output.
        earlier: those that an earlier run had finished.
        windows: how many windows the documents were read in.
        triples: how many triples the output has.
        failures: what failed, in the order in which it did.
    """

    read: int = 0
    extracted: int = 0
    earlier: int = 0
    windows: int = 0
    triples: int = 0
    failures: list[Failure] = field(default_factory=list)

    def go_on(self, finished: Finished) -> None:
        """Begins with what an output holds already. Its documents count as done as soon as they are read again."""
        self.windows += finished.windows
        self.triples += finished.triples

    def fail(self, error: AutoreError, document_id: str | None = None) -> None:
        """Counts a failure."""
        self.failures.append(Failure(document_id, error.where and sayable(error.where), sayable(error.message)))

    def add(self, results: Sequence[Result]) -> None:
        """Counts the results of a batch."""
        for result in results:
            if result.error:
                self.fail(result.error, result.document.id)
            else:
                self.extracted += 1
                self.windows += result.windows
                self.triples += len(result.triples)

    @property
    def done(self) -> int:
        """The documents whose triples are in the output."""
        return self.extracted + self.earlier

    @property
    def exit_code(self) -> int:
        """That of a run that came to its end."""
        if not self.failures:
            return 0
        nothing_read = not self.done and all(failure.id is None for failure in self.failures)
        return NONE_READ if nothing_read else SOME_FAILED

    def __str__(self) -> str:
        parts = [_count(self.done, "document"), _count(self.triples, "triple"), _count(self.windows, "window")]
        if self.earlier:
            parts[0] += f" ({self.earlier:,} of them before)"
        if self.failures:
            parts.insert(2, f"{len(self.failures):,} failed")
        return ", ".join(parts)


class Stopwatch:
    """How long the parts of a run take, in seconds by a clock that nobody sets.

    A part within another one doesn't count for that. In one thread the parts add up to the whole; those of several
    threads overlap.
    """

    def __init__(self) -> None:
        self._start = monotonic()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._thread = local()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time until the context ends for a part."""
        start, outer = monotonic(), getattr(self._thread, "inner", 0.0)
        self._thread.inner = 0.0
        try:
            yield
        finally:
            elapsed = monotonic() - start
            self._seconds[name] += elapsed - self._thread.inner
            self._thread.inner = outer + elapsed

    def over(self, items: Iterable[T], name: str) -> Iterator[T]:
        """The items; what it takes to get them counts for a part."""
        iterator, end = iter(items), object()
        while True:
            with self.part(name):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]

    def seconds(self) -> dict[str, float]:
        """The seconds of each part, and in all."""
        parts = {name: round(self._seconds[name], 3) for name in PARTS}
        return parts | {"total": round(monotonic() - self._start, 3)}

    def __str__(self) -> str:
        seconds = self.seconds()
        parts = ", ".join(f"{name} {seconds[name]:.1f}" for name in PARTS)
        return f"{seconds['total']:.1f} s ({parts})"


def record(tally: Tally, watch: Stopwatch, exit_code: int, **details: object) -> dict[str, Any]:
    """The report: all that the tally and the stopwatch know, the versions of what took part, and further details.

    `truncated` documents are those of which a part was not read. There are none: a document's windows hold all of it.
    """
    return {
        "report": FORMAT,
        "exit_code": exit_code,
        "documents": {
            "read": tally.read,
            "done": tally.done,
            "earlier": tally.earlier,
            "failed": len(tally.failures),
            "unfinished": tally.read - tally.done - len(tally.failures),
            "truncated": 0,
        },
        "windows": tally.windows,
        "triples": tally.triples,
        "failures": [asdict(failure) for failure in tally.failures],
        "seconds": watch.seconds(),
        **details,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "platform": platform.platform(),
    }


def is_report(path: Path) -> bool:
    """Whether a file is a report, which another report may replace."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(content, dict) and "report" in content


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
