"""A store of generated frames."""

from collections.abc import Sequence
from pathlib import Path

from ...cache.choices import Codec
from ...cache.codec import Statistics, calibrate, encode
from ...cache.store.records.models import PointSettings
from ...cache.store.store import Store
from ...cache.store.writer import GridShard, PointShard
from .random_frames import RandomFrames

SAMPLE = 4
"""Frames that the codecs are calibrated on."""


def write_random_store(
    path: Path, frames: RandomFrames, count: int, codecs: Sequence[Codec]
) -> dict[str, str]:
    """Write `count` frames with one teacher layer a codec; returns the layers' ids by codec."""
    store = Store.open_or_create(path, PointSettings("random", frames.names))
    ids = [frames.id(number) for number in range(count)]
    store.extend(ids, ["random"] * count)
    sample = [Statistics.of(frames.features(number)) for number in range(min(SAMPLE, count))]
    layers = {}
    for codec in codecs:
        info = store.add_teacher(
            "random",
            "random numbers",
            frames.grid,
            frames.channels,
            codec,
            "grid",
            {"model": "random"},
        )
        calibration = calibrate(sample, codec)
        if calibration:
            store.set_calibration(info, calibration)
        layers[codec] = info, calibration
    for shard in store.pending_shards(store.points.id, store.rows_of(ids)):
        points = PointShard(store, shard)
        grids = {codec: GridShard(store, info, shard) for codec, (info, _) in layers.items()}
        for row in store.shard_rows(shard):
            points.add(row, *frames.frame(row))
            features = frames.features(row)
            for codec, (_, calibration) in layers.items():
                grids[codec].add(row, encode(features, codec, calibration)[0].numpy())
        for layer in (points, *grids.values()):
            layer.commit()
    store.finalise()
    return {codec: info.id for codec, (info, _) in layers.items()}
