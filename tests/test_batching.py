import threading
import time
from collections.abc import Iterator
from queue import Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.batching import Batches

SILENCE = 0.05


def batches(
    items: Iterator[str] | list[str], max_items: int = 4, max_size: int = 100, silence: float | None = SILENCE
) -> Batches[str]:
    return Batches(items, max_items=max_items, max_size=max_size, size=len, silence=silence)


@given(st.lists(st.text(max_size=30), max_size=40), st.integers(1, 6), st.integers(1, 40))
def test_batches_hold_all_items_in_order_and_end_with_the_item_that_fills_them(
    items: list[str], max_items: int, max_size: int
) -> None:
    with batches(items, max_items, max_size) as stream:
        given_out = list(stream)
    assert [item for batch in given_out for item in batch] == items
    for batch in given_out:
        assert 1 <= len(batch) <= max_items
        assert sum(map(len, batch[:-1])) < max_size


def feed(queue: "Queue[str | None]") -> Iterator[str]:
    while (item := queue.get()) is not None:
        yield item


def test_a_silent_input_ends_a_batch() -> None:
    queue: Queue[str | None] = Queue()
    with batches(feed(queue)) as stream:
        iterator = iter(stream)
        queue.put("one")
        assert next(iterator) == ["one"]
        queue.put("two")
        queue.put("three")
        assert next(iterator) == ["two", "three"]
        queue.put(None)
        assert list(iterator) == []


def test_an_input_that_never_falls_silent_makes_full_batches_however_slow_it_is() -> None:
    def slow() -> Iterator[str]:
        for item in ("one", "two", "three"):
            time.sleep(3 * SILENCE)
            yield item

    with batches(slow(), max_items=2, silence=None) as stream:
        assert list(stream) == [["one", "two"], ["three"]]


def test_stopped_it_gives_out_nothing_more() -> None:
    queue: Queue[str | None] = Queue()
    with batches(feed(queue), silence=None) as stream:
        for item in ("one", "two", "three", "four", "five"):
            queue.put(item)
        iterator = iter(stream)
        assert next(iterator) == ["one", "two", "three", "four"]
        threading.Timer(SILENCE, stream.stop).start()
        assert list(iterator) == []  # though a fifth was read, and the input is still open
        queue.put(None)


def test_it_says_that_there_is_nothing_only_when_there_is_nothing() -> None:
    queue: Queue[str | None] = Queue()
    with batches([]) as stream:
        assert stream.is_empty(SILENCE)
    with batches(["one", "two"]) as stream:
        assert not stream.is_empty(SILENCE)
        assert list(stream) == [["one", "two"]]
    with batches(feed(queue)) as stream:
        assert not stream.is_empty(SILENCE)
        queue.put("late")
        assert next(iter(stream)) == ["late"]
        queue.put(None)


def failing() -> Iterator[str]:
    yield "one"
    yield "two"
    raise ValueError("no third")


def test_an_exception_comes_after_the_items_before_it() -> None:
    seen = []
    with batches(failing()) as stream, pytest.raises(ValueError, match="no third"):  # noqa: PT012
        for batch in stream:
            seen += batch
    assert seen == ["one", "two"]


def test_an_exception_at_the_start_comes_at_once() -> None:
    def broken() -> Iterator[str]:
        raise ValueError("nothing at all")
        yield ""

    with batches(broken()) as stream, pytest.raises(ValueError, match="nothing at all"):
        stream.is_empty(SILENCE)


def test_reading_ahead_is_bounded_and_ends_with_the_context() -> None:
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        while True:
            drawn += 1
            yield "item"

    before = threading.active_count()
    with batches(endless()) as stream:
        assert next(iter(stream)) == ["item"] * 4
        time.sleep(0.1)
        assert drawn < 30
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
