"""Batches out of a stream: full while there is plenty to read, early as soon as the input falls silent."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_READ_AHEAD = 16
"""Items that may wait between the reader and the consumer, so that memory doesn't grow with the input."""


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
        silence: seconds without an item after which a batch ends.
    """

    def __init__(
        self,
        items: Iterable[T],
        *,
        max_items: int,
        max_size: int,
        size: Callable[[T], int],
        silence: float = 0.2,
    ) -> None:
        self._items = items
        self._max_items = max_items
        self._max_size = max_size
        self._size = size
        self._silence = silence
        self._queue: Queue[T | _End] = Queue(_READ_AHEAD)
        self._first: T | _End | None = None
        self._stopped = Event()

    def __enter__(self) -> "Batches[T]":
        # A daemon, because nothing can wake a thread that waits for input.
        Thread(target=self._read, name="reader", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        with suppress(Empty):
            while True:
                self._queue.get_nowait()  # makes room for a reader that waits to put its item

    def is_empty(self) -> bool:
        """Whether the stream ended without an item. False as well if that doesn't show before the silence is over.

        To be asked before the iteration. Raises the stream's exception if that is all there is.
        """
        try:
            self._first = self._queue.get(timeout=self._silence)
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
        if batch:
            yield batch
        if item.error:
            raise item.error

    def _next(self, timeout: float | None) -> T | _End:
        if self._first is not None:
            item, self._first = self._first, None
            return item
        return self._queue.get(timeout=timeout)

    def _read(self) -> None:
        end = _End()
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stopped.is_set():
                    return
        except Exception as error:
            end = _End(error)
        self._queue.put(end)
