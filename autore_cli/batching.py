"""Batches out of a stream: full while there is plenty to read, early as soon as the input falls silent."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_READ_AHEAD = 16
"""Items that may wait between the reader and the consumer, so that memory doesn't grow with the input."""

_TICK = 0.1
"""Seconds after which whoever waits for an item looks whether it is to stop."""


@dataclass(frozen=True, slots=True)
class _End:
    """Stands in the queue after the last item; `error` is what ended the reading, if not the end of the input."""

    error: Exception | None = None


class Batches(Generic[T]):
    """Batches of a stream's items, which a thread reads ahead.

    A batch ends with the item that fills its budget, when the input ends, or when the input has been silent for a
    while; so it is never empty. An exception in the stream comes out after the batch of the items before it. To be used
    in a `with` statement, which starts the thread, and iterated over once.

    Args:
        items: the stream. Only the thread touches it.
        max_items: a batch is full with so many items,
        max_size: or once they measure so much together.
        size: measures an item.
        silence: seconds without an item after which a batch ends; None if the input never falls silent, as files
            don't, so that the same files always make the same batches.
    """

    def __init__(
        self,
        items: Iterable[T],
        *,
        max_items: int,
        max_size: int,
        size: Callable[[T], int],
        silence: float | None = 0.2,
    ) -> None:
        self._items = items
        self._max_items = max_items
        self._max_size = max_size
        self._size = size
        self._silence = silence
        self._queue: Queue[T | _End] = Queue(_READ_AHEAD)
        self._first: T | _End | None = None
        self._stopped = False

    def __enter__(self) -> "Batches[T]":
        # A daemon, because nothing can wake a thread that waits for input.
        Thread(target=self._read, name="reader", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        with suppress(Empty):
            while True:
                self._queue.get_nowait()  # makes room for a reader that waits to put its item

    def stop(self) -> None:
        """Ends the iteration soon, without the items that have not been given out. May be called by any thread, and,
        as it takes no lock, by a signal's handler.
        """
        self._stopped = True

    def is_empty(self, patience: float) -> bool:
        """Whether the stream ended without an item. False as well if that doesn't show within so many seconds.

        To be asked before the iteration. Raises the stream's exception if that is all there is.
        """
        try:
            self._first = self._next(patience)
        except Empty:
            return False
        if isinstance(self._first, _End) and self._first.error:
            raise self._first.error
        return isinstance(self._first, _End)

    def __iter__(self) -> Iterator[list[T]]:
        batch: list[T] = []
        total = 0
        while True:
            try:
                item = self._next(self._silence if batch else None)
            except Empty:
                full = True
            else:
                if isinstance(item, _End):
                    break
                batch.append(item)
                total += self._size(item)
                full = len(batch) >= self._max_items or total >= self._max_size
            if full:
                yield batch
                batch, total = [], 0
        if batch and not self._stopped:
            yield batch
        if item.error:
            raise item.error

    def _next(self, timeout: float | None) -> T | _End:
        if self._first is not None:
            item, self._first = self._first, None
            return item
        deadline = math.inf if timeout is None else monotonic() + timeout
        while not self._stopped:
            with suppress(Empty):
                return self._queue.get(timeout=max(0.0, min(_TICK, deadline - monotonic())))
            if monotonic() >= deadline:
                raise Empty
        return _End()

    def _read(self) -> None:
        end = _End()
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stopped:
                    return
        except Exception as error:
            end = _End(error)
        self._queue.put(end)
