"""Stages that overlap. Kinds: known answer, property (order), errors and early ends."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from flow.pipeline import ahead


def test_the_items_come_in_order() -> None:
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []
    assert list(ahead(ahead(ahead([None, 0, None])))) == [None, 0, None]


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for k in range(5):
            made.append(k)
            yield k

    with closing(ahead(items())) as coming:
        for k in coming:
            deadline = time.monotonic() + 10
            while len(made) < min(k + 2, 5):
                assert time.monotonic() < deadline
            time.sleep(0.01)
            assert len(made) == min(k + 2, 5), "no more than one ahead"


def test_stages_run_side_by_side() -> None:
    def slow(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            time.sleep(0.05)
            yield item

    started = time.perf_counter()
    for _ in ahead(slow(ahead(slow(iter(range(10)))))):
        time.sleep(0.05)
    assert time.perf_counter() - started < 1.2  # one after the other: 1.5


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no more")

    seen = []
    with pytest.raises(ValueError, match="no more"):
        seen.extend(ahead(ahead(items())))
    coming = ahead(items())
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(coming)


def test_an_early_end_closes_the_stages_before_and_leaves_no_thread() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            ended.set()

    before = threading.active_count()
    first = items()  # which is still referred to: nothing but closing ends it
    with closing(ahead(ahead(first))) as coming:
        assert next(coming) == 0
    assert ended.is_set()
    assert threading.active_count() == before
