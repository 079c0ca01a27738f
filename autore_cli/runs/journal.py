"""An output that a later run can go on with: a journal beside it says which documents are finished.

`OUTPUT.journal` is JSON lines. The first one says what the output was made with, each further one which documents of a
batch are finished, and where the triples of each end in the output, in bytes:

    {"journal": 1, "configuration": {"bundle": "9f3c...", ...}}
    [{"key": "5d41...", "end": 310, "windows": 1, "triples": 2}, {"key": "08bc...", "end": 310, ...}]

A batch's triples are written and forced to the disk (fsync) before its line in the journal is written, so the journal
never claims what isn't there, even after a loss of power. Of the journal only the first line is forced: without its
last ones, the next run only does their documents again. Batches are journaled whole, because what stands in a batch can
change the last digit of a score: a run that goes on makes the batches of one that was never interrupted, and so the
same bytes.

Documents that failed are not in the journal: the next run tries them again.
"""

import fcntl
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

from autore_cli.errors import ConfigurationError, OutputError, writing
from autore_cli.files import as_lines
from autore_cli.records import Document
from autore_cli.runs.extraction import Result
from autore_cli.runs.identity import Configuration

FORMAT = 1

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Finished:
    """What an output holds already."""

    documents: int = 0
    windows: int = 0
    triples: int = 0


def journal_of(output: Path) -> Path:
    """Where the journal of an output is."""
    return output.with_name(f"{output.name}.journal")


def key(document: Document) -> bytes:
    """Tells documents apart by their ids and texts."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (document.id, document.text):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


class JournaledOutput:
    """An output file and its journal, to be used in a `with` statement.

    It is locked while the statement lasts. What was there before is kept until the first results are written, and a
    new file that got none is removed.

    Args:
        path: the output.
        configuration: what it is made with.
        resume: go on with what is there already, if anything is.
        force: replace it.

    Attributes:
        finished: what earlier runs brought.

    Raises:
        OutputError: it can't be written; or, on entry, it is there already, in use by another run, or has no journal to
            go on with.
        ConfigurationError: on entry, it was made with something else than the configuration.
    """

    def __init__(self, path: Path, configuration: Configuration, *, resume: bool, force: bool) -> None:
        self.path = path
        self.finished = Finished()
        self._configuration = configuration
        self._resume = resume
        self._replace = force
        self._keys: Counter[bytes] = Counter()
        self._begun = False
        self._end = 0

    def __enter__(self) -> "JournaledOutput":
        with writing(str(self.path)):
            self._is_new = not self.path.exists()
            may_exist = self._resume or self._replace
            self._output = FileIO(
                os.open(self.path, os.O_RDWR | os.O_CREAT | (0 if may_exist else os.O_EXCL), 0o666), "r+"
            )
        try:
            _lock(self._output, self.path)
            with writing(str(journal_of(self.path))):
                self._journal = FileIO(os.open(journal_of(self.path), os.O_RDWR | os.O_CREAT, 0o666), "r+")
        except BaseException:
            self._output.close()
            if self._is_new:
                self.path.unlink(missing_ok=True)
            raise
        try:
            if self._resume:
                self._go_on()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Closes both files, and leaves none behind that has nothing to say."""
        if not self._begun:
            if not self._journal.seek(0, os.SEEK_END):
                journal_of(self.path).unlink(missing_ok=True)
            if self._is_new:
                self.path.unlink(missing_ok=True)
        self._journal.close()
        self._output.close()

    def take(self, document: Document) -> bool:
        """Whether the document is finished. Of several equal ones, as many are as were finished."""
        if not self._keys:
            return False
        its_key = key(document)
        left = self._keys[its_key]
        if left > 1:
            self._keys[its_key] -= 1
        else:
            del self._keys[its_key]
        return left > 0

    def write(self, results: Sequence[Result]) -> None:
        """Writes a batch's triples, and then the journal's line. Both are in the files when it returns."""
        if not self._begun:
            self._begin()
        done = [result for result in results if not result.error]
        lines = [as_lines(result.triples) for result in done]
        with writing(str(self.path)):
            _append(self._output, b"".join(lines))
            os.fsync(self._output.fileno())
        entries = []
        for result, line in zip(done, lines, strict=True):
            self._end += len(line)
            entries.append(
                {
                    "key": key(result.document).hex(),
                    "end": self._end,
                    "windows": result.windows,
                    "triples": len(result.triples),
                }
            )
        if entries:
            with writing(str(journal_of(self.path))):
                _append(self._journal, as_lines([entries]))

    def _begin(self) -> None:
        """Empties both files, the journal first: no journal may speak of an output that is gone."""
        for file in (self._journal, self._output):
            with writing(str(self.path)):
                file.seek(0)
                file.truncate()
        with writing(str(journal_of(self.path))):
            _append(self._journal, as_lines([{"journal": FORMAT, "configuration": self._configuration}]))
            # Once, with the names of both files: an output of which no journal knows can't be gone on with.
            os.fsync(self._journal.fileno())
            _sync_folder(self.path.resolve().parent)
        self._begun = True

    def _go_on(self) -> None:
        """Reads the journal, and cuts off what it doesn't vouch for: the lines of a batch that was being written."""
        size = self._output.seek(0, os.SEEK_END)
        with open(self._journal.fileno(), "rb", closefd=False) as journal:
            try:
                header = _parsed(journal.readline())
                if header is None and size == 0:
                    return  # ended before anything was written
                self._check(header)
                kept = journal.tell()
                for entries in _entries(journal):
                    if entries[-1]["end"] > size:
                        _logger.warning(
                            "%s is shorter than its journal says: the missing part is made again", self.path
                        )
                        break
                    self._count(entries)
                    kept = journal.tell()
            except (KeyError, TypeError, ValueError) as error:
                raise OutputError("is damaged", where=str(journal_of(self.path)), hint="--force begins anew") from error
        for file, end in ((self._journal, kept), (self._output, self._end)):
            with writing(str(self.path)):
                file.truncate(end)
                file.seek(end)
        self._begun = True

    def _check(self, header: Any) -> None:
        if not (isinstance(header, dict) and header.get("journal") == FORMAT):
            raise OutputError(
                f"can't be gone on with: {journal_of(self.path).name} is missing or not a journal of format {FORMAT}",
                where=str(self.path),
                hint="--force replaces it",
            )
        before = header.get("configuration", {})
        names = sorted(before.keys() | self._configuration.keys())
        changes = [
            f"{name} was {_short(before.get(name))} and is {_short(self._configuration.get(name))}"
            for name in names
            if before.get(name) != self._configuration.get(name)
        ]
        if changes:
            raise ConfigurationError(
                f"can't be gone on with, as it was made with something else: {', '.join(changes)}",
                where=str(self.path),
                hint="give what it was made with, or another --output; --force replaces it",
            )

    def _count(self, entries: Sequence[dict[str, Any]]) -> None:
        for entry in entries:
            self._keys[bytes.fromhex(entry["key"])] += 1
            self.finished.documents += 1
            self.finished.windows += entry["windows"]
            self.finished.triples += entry["triples"]
        self._end = entries[-1]["end"]


def _sync_folder(folder: Path) -> None:
    """Forces the names of a folder's files to the disk, where the system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(output: FileIO, path: Path) -> None:
    try:
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError("is being written by another run", where=str(path)) from None
    except OSError:
        pass  # a file system without locks


def _append(file: FileIO, data: bytes) -> None:
    """Writes all of it: a bare `write` may write less."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _entries(journal: BinaryIO) -> Iterator[list[dict[str, Any]]]:
    """The journal's lines up to one that was being written when the run ended."""
    while entries := _parsed(journal.readline()):
        yield entries


def _parsed(line: bytes) -> Any:
    """A whole line's content, or None for one that was being written. Raises ValueError for one that isn't JSON."""
    return orjson.loads(line) if line.endswith(b"\n") else None


def _short(value: object) -> str:
    """A value for a message, of digests the beginning."""
    return "not given" if value is None else str(value)[:12]
