"""A function over items in threads: the order, the bound on what waits, the end at an error."""

import threading
import time

import pytest

from clever.cache.ordered_map import AHEAD, ordered_map


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 7 == 0 else 0)
        return item * item

    assert list(ordered_map(slow_first, range(40), threads)) == [i * i for i in range(40)]
    assert list(ordered_map(slow_first, [], threads)) == []


def test_the_threads_work_at_once() -> None:
    meeting = threading.Barrier(3, timeout=20)
    assert list(ordered_map(lambda item: meeting.wait() >= 0, range(6), 3)) == [True] * 6


def test_no_more_is_begun_than_may_wait() -> None:
    begun: list[int] = []
    results = ordered_map(begun.append, range(100), 2)
    next(results)
    assert len(begun) <= AHEAD * 2 + 1
    results.close()
    assert len(begun) <= AHEAD * 2 + 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_in_its_turn_and_ends_it(threads: int) -> None:
    def fail_at_5(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    results = ordered_map(fail_at_5, range(1000), threads)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert list(results) == []
