"""Extraction on several devices: a worker process for each, batches to whichever is free, results in order.

The run is the only one to decide: it starts workers, hands them one batch at a time, and puts another worker in the
place of one that dies. All of that happens in the thread that iterates over the results; other threads only wait, for
batches and for messages of the workers, and put what comes into one queue.
"""

import logging
import reprlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import TypeAlias

from autore_cli.errors import ConfigurationError, DocumentError
from autore_cli.model.machine import cores
from autore_cli.records import Document
from autore_cli.runs import wire
from autore_cli.runs.extraction import Result
from autore_cli.runs.process import Message, WorkerProcess
from autore_cli.runs.setup import Setup

AHEAD = 2
"""Batches a worker that are read before their results' turn has come, so that memory doesn't grow with the input."""

STARTS = 2
"""How often a worker may die while it loads before its device is given up."""

BATCH_DEATHS = 2
"""Workers that may die of a batch before its documents are tried one by one."""

DEATHS_IN_A_ROW = 8
"""Workers that may die with no result in between. More than a few documents in a row can hardly cause."""

_HINT = "if memory is short: fewer --devices or a smaller --batch-size need less of it"

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Batch:
    """Documents on their way.

    Attributes:
        documents: the batch.
        found: results by the document's index.
        error: what ended the batch, if anything did.
    """

    documents: Sequence[Document]
    found: dict[int, Result] = field(default_factory=dict)
    error: Exception | None = None

    def is_done(self) -> bool:
        return self.error is not None or len(self.found) == len(self.documents)

    def results(self) -> list[Result]:
        """The results in order. Raises what ended the batch."""
        if self.error:
            raise self.error
        return [self.found[index] for index in range(len(self.documents))]


@dataclass(slots=True)
class _Task:
    """What a worker gets at once: documents of a batch, by their indices. `deaths` of workers are put down to it."""

    batch: _Batch
    indices: range
    deaths: int = 0

    def documents(self) -> list[Document]:
        return [self.batch.documents[index] for index in self.indices]

    def settle(self, results: Iterable[Result]) -> None:
        """Puts the results of its documents into the batch."""
        self.batch.found.update(zip(self.indices, results, strict=True))


@dataclass(frozen=True, slots=True)
class _End:
    """Comes after the last batch; `error` is what ended the reading, if not the end of the input."""

    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Stop:
    """What is in work is to be finished, and nothing else begun."""


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker and what it is at.

    Attributes:
        process: the worker itself.
        attempt: how often, with this one, a worker was started in this place since the last one that could be used.
        ready: whether its model is loaded.
        task: what it is at.
    """

    process: WorkerProcess
    attempt: int
    ready: bool = False
    task: _Task | None = None


_Events: TypeAlias = "SimpleQueue[_Batch | _End | _Stop | Message]"


class Workers:
    """Extracts in worker processes, one a device (an `Extractor`). To be used in a `with` statement, and once.

    The statement begins when all workers have loaded their model. A worker that dies is replaced, and its batch goes to
    another one; if that dies, too, its documents are tried one by one, and the one that kills is a failed result.

    Args:
        setup: the pipeline of each.
        devices: where each runs, as `Setup.pipeline` takes it.

    Raises:
        AutoreError: what `Setup.pipeline` raised in a worker.
        ConfigurationError: workers die again and again.
    """

    def __init__(self, setup: Setup, devices: Sequence[str]) -> None:
        self._setup = setup
        self._devices = devices
        self._events: _Events = SimpleQueue()
        self._workers: dict[WorkerProcess, _Worker] = {}
        self._waiting: deque[_Task] = deque()
        self._feeder: _Feeder | None = None
        self._started = False
        self._deaths = 0
        self._said: set[tuple[str, str]] = set()

    def __enter__(self) -> "Workers":
        try:
            for device in self._devices:
                self._start(device)
            while not all(worker.ready for worker in self._workers.values()):
                event = self._events.get()
                if isinstance(event, Message):  # as there is no feeder yet, it is one
                    self._hear(event)
        except BaseException:
            self._stop()
            raise
        self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def extract(self, batches: Iterable[Sequence[Document]]) -> Iterator[list[Result]]:
        """See `Extractor.extract`. A thread iterates over `batches`.

        Raises:
            Exception: what `batches` raised, or a worker unexpectedly, after the results of all batches before it.
            ConfigurationError: workers die again and again.
        """
        self._feeder = feeder = _Feeder(batches, AHEAD * len(self._devices), self._events)
        unfinished: deque[_Batch] = deque()
        end: _End | None = None
        while end is None or unfinished:
            match event := self._events.get():
                case _Batch(documents) if end is None:
                    unfinished.append(event)
                    self._waiting.append(_Task(event, range(len(documents))))
                case _End() if end is None:
                    end = event
                case _Stop():
                    end = _End()
                    unfinished = deque(takewhile(self._is_begun, unfinished))
                    self._waiting.clear()
                case Message():
                    self._hear(event)
            self._hand_out()
            while unfinished and unfinished[0].is_done():
                yield unfinished.popleft().results()
                feeder.make_room()
        if end.error:
            raise end.error

    def stop(self) -> None:
        """Ends the iteration over the results with those of the batches that are in work. Any thread may call it, and a
        handler of signals.
        """
        self._events.put(_Stop())

    def _start(self, device: str, attempt: int = 1) -> None:
        process = WorkerProcess(self._setup, device, cores() // len(self._devices), self._events.put)
        self._workers[process] = _Worker(process, attempt)

    def _stop(self) -> None:
        if self._feeder:
            self._feeder.stop()
        for process in self._workers:
            process.kill()
        while self._workers:
            process, _ = self._workers.popitem()
            process.end()

    def _is_begun(self, batch: _Batch) -> bool:
        return all(task.batch is not batch for task in self._waiting)

    def _hand_out(self) -> None:
        for worker in self._workers.values():
            if worker.ready and not worker.task and self._waiting:
                worker.task = self._waiting.popleft()
                worker.process.send(documents=wire.documents_to_json(worker.task.documents()))

    def _hear(self, message: Message) -> None:
        worker = self._workers.get(message.process)
        if worker is None:
            return
        task = worker.task
        match message.content:
            case None:
                self._replace(worker)
            case {"ready": _}:
                worker.ready = True
            case {"results": values} if task:
                worker.task = None
                task.settle(wire.results_from_json(values, task.documents()))
                self._deaths = 0
            case {"error": value} if task:
                worker.task = None
                task.batch.error = wire.error_from_json(value)
            case {"error": value}:
                self._give_up(worker, wire.error_from_json(value))
            case {"log": value}:
                self._log(wire.log_from_json(value))

    def _replace(self, worker: _Worker) -> None:
        """Puts another worker in the place of a dead one, and does with its documents what has to be done."""
        del self._workers[worker.process]
        device = worker.process.device
        death = f"the worker on {device} {worker.process.end()}"
        if worker.task:
            self._deaths += 1
            if self._deaths > DEATHS_IN_A_ROW:
                raise ConfigurationError(f"workers die one after another: {death}", hint=_HINT)
            self._retry(worker.task, death)
        if worker.ready or worker.attempt < STARTS:
            _logger.warning("%s; another takes its place", death)
            self._start(device, 1 if worker.ready else worker.attempt + 1)
        else:
            self._give_up(worker, ConfigurationError(f"{death} while it loaded the model", hint=_HINT))

    def _retry(self, task: _Task, death: str) -> None:
        """Tries a task again that a worker died of: as it is, in single documents, or not at all."""
        task.deaths += 1
        if task.deaths < BATCH_DEATHS:
            self._waiting.appendleft(task)
        elif len(task.indices) > 1:
            singles = [_Task(task.batch, range(index, index + 1), BATCH_DEATHS - 1) for index in task.indices]
            self._waiting.extendleft(reversed(singles))
        else:
            (document,) = task.documents()
            reason = f"document {reprlib.repr(document.id)} failed: {death}"
            error = DocumentError(reason, where=document.place, hint=_HINT)
            task.settle([Result(document, error=error)])

    def _give_up(self, worker: _Worker, error: Exception) -> None:
        """Goes on without a worker that can't start, if others are left and it isn't the very start."""
        if self._workers.pop(worker.process, None):
            worker.process.end()
        if not (self._started and self._workers):
            raise error
        left = len(self._workers)
        _logger.warning("no worker on %s any more, %d left: %s", worker.process.device, left, error)

    def _log(self, record: logging.LogRecord) -> None:
        """Logs what a worker did; a warning that all of them give, once."""
        if record.levelno >= logging.WARNING:
            said = (record.name, record.getMessage())
            if said in self._said:
                return
            self._said.add(said)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


class _Feeder:
    """Reads batches in a thread, no further ahead than there is room for."""

    def __init__(self, batches: Iterable[Sequence[Document]], room: int, events: _Events) -> None:
        self._room = Semaphore(room - 1)  # one is read before the room is looked at
        self._events = events
        self._stopped = False
        # A daemon, because nothing can wake a thread that waits for input.
        Thread(target=self._read, args=(batches,), name="feeder", daemon=True).start()

    def make_room(self) -> None:
        """Lets it read one batch more."""
        self._room.release()

    def stop(self) -> None:
        """Ends it as soon as it doesn't wait for input."""
        self._stopped = True
        self._room.release()

    def _read(self, batches: Iterable[Sequence[Document]]) -> None:
        end = _End()
        try:
            for documents in batches:
                self._events.put(_Batch(documents))
                self._room.acquire()
                if self._stopped:
                    return
        except Exception as error:
            end = _End(error)
        self._events.put(end)
