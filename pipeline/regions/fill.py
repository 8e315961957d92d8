"""Shards of a layer of regions, written one by one."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future as Task
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from ...cache.store.models import FrameRecord
from ...cache.store.records import commit_path
from ...cache.store.store import Store
from ...cache.store.writer import RegionShard
from ...errors import CleverError, FrameError
from .maps import RegionMaps, RegionReader


class RegionStage:
    """Fills shards of a layer of regions.

    Args:
        reader: makes the maps of a row.
        threads: frames that are worked on at once.
        strict: stop at the first bad frame instead of recording it.
    """

    def __init__(self, reader: RegionReader, store: Store, threads: int, strict: bool) -> None:
        self.reader, self.store, self.threads, self.strict = reader, store, threads, strict

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
        tasks = [pool.submit(self._maps, row, points[row]) for row in rows]
        try:
            with closing(RegionShard(self.store, self.reader.info, shard)) as writer:
                for row, task in zip(rows, tasks, strict=True):
                    self._add(writer, row, task)
                    advance(1)
                writer.commit()
        finally:
            for task in tasks:
                task.cancel()

    def _add(self, writer: RegionShard, row: int, task: "Task[RegionMaps]") -> None:
        try:
            writer.add(row, *task.result())
        except FrameError as error:
            if self.strict:
                raise
            writer.fail(row, error.reason)

    def _maps(self, row: int, record: FrameRecord) -> RegionMaps:
        if record.reason:
            raise FrameError(record.id, record.reason)
        return self.reader.read(row, record)


def refuse_unfinished_points(store: Store, shards: Iterable[int]) -> None:
    """Raise CleverError where points and pairs of a shard are not there yet."""
    lacking = [
        shard for shard in shards if not commit_path(store.path, store.points.id, shard).exists()
    ]
    if lacking:
        raise CleverError(
            f"{store.path}: points of {len(lacking)} shards are not finished; run "
            "`clever cache-teacher` to its end first"
        )
