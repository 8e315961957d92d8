"""Shards of a layer that is made frame by frame, each committed when it is whole."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Generic, TypeVar

from ...cache.store.records.commits import commit_path
from ...cache.store.records.models import FrameRecord
from ...cache.store.store import Store
from ...cache.store.writer import LayerShard
from ...errors import CleverError, FrameError
from ...words import quantity

Writer = TypeVar("Writer", bound=LayerShard)


class ShardStage(ABC, Generic[Writer]):
    """Fills shards of a layer.

    Args:
        store: points and pairs of its shards are there.
        threads: frames that are worked on at once.
        strict: stop at the first bad frame instead of recording it.
    """

    def __init__(self, store: Store, threads: int, strict: bool) -> None:
        self.store, self.threads, self.strict = store, threads, strict

    @abstractmethod
    def writer(self, shard: int) -> Writer:
        """Opens a shard."""

    @abstractmethod
    def work(self, row: int, record: FrameRecord) -> Any:
        """What is stored of a row, whose record in points and pairs is given; raises FrameError for
        a bad frame."""

    @abstractmethod
    def add(self, writer: Writer, row: int, value: Any) -> None:
        """Store what `work` gave."""

    def run(self, shards: Iterable[int], advance: Callable[[int], None]) -> None:
        """Write and commit shards; `advance` is told of every frame. Whatever ends it early,
        committed shards stay and the one under way is dropped.

        Raises:
            FrameError: a bad frame, where that is to end the run.
            CleverError: a shard cannot be written, or the dataset lacks its frames.
        """
        with ThreadPoolExecutor(self.threads) as pool:
            for shard in shards:
                self._write(shard, pool, advance)

    def _write(self, shard: int, pool: ThreadPoolExecutor, advance: Callable[[int], None]) -> None:
        points = {
            record.row: record for record in self.store.commit(self.store.points.id, shard).frames
        }
        rows = self.store.shard_rows(shard)
        tasks = [pool.submit(self._work, row, points[row]) for row in rows]
        try:
            with closing(self.writer(shard)) as writer:
                for row, task in zip(rows, tasks, strict=True):
                    self._take(writer, row, task)
                    advance(1)
                writer.commit()
        finally:
            for task in tasks:
                task.cancel()

    def _work(self, row: int, record: FrameRecord) -> Any:
        if record.reason:
            raise FrameError(record.id, record.reason)
        return self.work(row, record)

    def _take(self, writer: Writer, row: int, task: "Future[Any]") -> None:
        try:
            self.add(writer, row, task.result())
        except FrameError as error:
            if self.strict:
                raise
            writer.fail(row, error.reason)


def refuse_unfinished_points(store: Store, shards: Iterable[int]) -> None:
    """Raise CleverError where points and pairs of a shard are not there yet."""
    lacking = [
        shard for shard in shards if not commit_path(store.path, store.points.id, shard).exists()
    ]
    if lacking:
        raise CleverError(
            f"{store.path}: points of {quantity(len(lacking), 'shard')} are not finished; run "
            "`clever cache-teacher` to its end first"
        )
