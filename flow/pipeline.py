"""Stages that overlap."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The items, of which a thread of its own makes the next one while the last is worked on.

    Closed early, or when an item fails, it closes a generator of items, too.
    """
    iterator = iter(items)
    try:
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(next, iterator, _END)
            while (item := coming.result()) is not _END:
                coming = thread.submit(next, iterator, _END)
                yield item  # type: ignore[misc]
    finally:
        if isinstance(iterator, Generator):
            iterator.close()
