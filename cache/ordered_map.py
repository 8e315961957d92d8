"""A function over many items in several threads, its results in the items' order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Results a thread that may wait for the one before them."""


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result]:
    """``map(function, items)`` by `threads` threads, which help where `function` reads files or
    calls numpy; with one thread it is `map` itself.

    At most ``AHEAD * threads`` results wait in memory. An error of an item is raised in its turn;
    no further item is begun then, nor when the iterator is closed.
    """
    if threads == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads, "ordered-map")
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
