"""Shards of a layer of regions."""

from ...cache.store.records.models import FrameRecord
from ...cache.store.store import Store
from ...cache.store.writer import RegionShard
from ..stage_one.shard_stage import ShardStage
from .maps import RegionMaps, RegionReader


class RegionStage(ShardStage[RegionShard]):
    """Fills shards of a layer of regions; see `ShardStage`.

    Args:
        reader: makes the maps of a row.
    """

    def __init__(self, reader: RegionReader, store: Store, threads: int, strict: bool) -> None:
        super().__init__(store, threads, strict)
        self.reader = reader

    def writer(self, shard: int) -> RegionShard:
        return RegionShard(self.store, self.reader.info, shard)

    def work(self, row: int, record: FrameRecord) -> RegionMaps:
        return self.reader.read(row, record)

    def add(self, writer: RegionShard, row: int, value: RegionMaps) -> None:
        writer.add(row, *value)
