"""Results of tasks whose workers die before they give them away."""

from collections.abc import Collection
from typing import Any, cast

import pytest
from distributed import Client, Future

from clever.errors import CleverError
from clever.pipeline.stage_one import cluster
from clever.pipeline.stage_one.cluster import result_of


class Task:
    """A task that has ended, whose result is lost as often as there are attempts to come."""

    def __init__(self, losses: int, status: str = "finished") -> None:
        self.losses, self.status = losses, status

    def done(self) -> bool:
        return self.status != "pending"

    def result(self, timeout: float | None = None) -> str:
        assert timeout, "would wait for ever"
        if self.status == "error":
            raise TimeoutError("a slow file system")
        if self.losses:
            self.losses, self.status = self.losses - 1, "pending"
            raise TimeoutError
        return "result"


class Workers:
    """A client of a number of workers of one thread."""

    def __init__(self, number: int) -> None:
        self.number = number

    def nthreads(self) -> dict[str, int]:
        return {f"worker-{number}": 1 for number in range(self.number)}


def _result(task: Task, workers: int) -> Any:
    return result_of(cast(Client, Workers(workers)), cast(Future, task))


@pytest.fixture(autouse=True)
def _scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does lost tasks again, but for those whose losses never end."""
    monkeypatch.setattr(cluster, "LOST", 0.0)

    def wait(tasks: Collection[Task], *_: object) -> None:
        for task in tasks:
            if task.losses < 0:
                raise TimeoutError
            task.status = "finished"

    monkeypatch.setattr(cluster, "wait", wait)


@pytest.mark.parametrize("losses", [0, 1, 3])
def test_a_lost_result_is_that_of_the_next_worker(losses: int) -> None:
    task = Task(losses)
    assert _result(task, 1) == "result"
    assert task.losses == 0


def test_a_lost_result_without_workers_is_one_line() -> None:
    with pytest.raises(CleverError, match="no worker has been left for 0 s; look at the workers'"):
        _result(Task(-1), 0)


def test_a_time_limit_of_the_task_itself_is_its_error() -> None:
    with pytest.raises(TimeoutError, match="a slow file system"):
        _result(Task(0, "error"), 1)
