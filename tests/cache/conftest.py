"""Small stores written frame by frame, with every value known to the test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.cache.choices import Codec, TokenKind
from clever.cache.codec import Statistics, calibrate, decode, encode, measure
from clever.cache.fidelity import Fidelity
from clever.cache.frame import Camera, Frame
from clever.cache.projection import Correspondences
from clever.cache.sampling import tap_mask
from clever.cache.store import layout
from clever.cache.store.layout import BLOCK_ARRAYS, normalised_uv, quantise_uv
from clever.cache.store.records.models import PointSettings, TeacherInfo
from clever.cache.store.store import Store
from clever.cache.store.writer import GridShard, PointShard

FAILURE = "the image is damaged"


@dataclass
class Sample:
    """A store and what was put in, by frame id."""

    path: Path
    info: TeacherInfo
    frames: dict[str, Frame]
    pairs: dict[str, Correspondences]
    features: dict[str, torch.Tensor]
    hits: dict[str, NDArray[np.bool_]]


def pinhole(width: int, height: int) -> NDArray[np.float64]:
    """(3, 3) intrinsics of a camera that looks through the middle of its image."""
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])


def random_frame(
    rng: np.random.Generator, frame_id: str, scene: str, points: int
) -> tuple[Frame, Correspondences]:
    """A frame of two cameras of different sizes with random points and random pairs."""
    sizes = ((1600, 900), (1242, 375))
    cameras = tuple(
        Camera(name, Path(f"{name}.png"), *size, pinhole(*size), np.eye(4))
        for name, size in zip(("left", "right"), sizes, strict=True)
    )
    cloud = rng.normal(size=(points, 4)).astype(np.float32)
    cloud[:, 3] = rng.random(points)
    frame = Frame(frame_id, scene, int(rng.integers(2**60)), cloud, random_pose(rng), cameras)
    counts = [points // 3, points // 2]
    point = np.concatenate([np.sort(rng.choice(points, count, replace=False)) for count in counts])
    uv = np.concatenate(
        [rng.uniform(1, np.array(size) - 1, (n, 2)) for size, n in zip(sizes, counts, strict=True)]
    )
    return frame, Correspondences(point.astype(np.uint32), uv, np.cumsum([0, *counts]))


def random_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """(4, 4) rotation and translation."""
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3] = np.column_stack([rotation * np.linalg.det(rotation), rng.normal(size=3)])
    return pose


def needed_tokens(frame: Frame, pairs: Correspondences) -> NDArray[np.bool_]:
    """(2, 3, 5) bool: what a ``hit`` layer stores."""
    size = np.array([(camera.width, camera.height) for camera in frame.cameras])
    camera = np.repeat([0, 1], np.diff(pairs.offsets))
    uv = normalised_uv(quantise_uv(pairs.uv, size[camera]))
    return tap_mask(
        torch.from_numpy(camera), torch.from_numpy(uv), torch.from_numpy(size), (3, 5)
    ).numpy()


@dataclass
class Tokens:
    """What goes into a layer, by frame id, and the rows that are skipped."""

    features: dict[str, torch.Tensor]
    hits: dict[str, NDArray[np.bool_]]
    failed: tuple[int, ...]


def add_layer(store: Store, tokens: Tokens, codec: Codec, kind: TokenKind) -> TeacherInfo:
    """Add a layer with its calibration and all its shards."""
    info = store.add_teacher("made-3x5", "made up", (3, 5), 7, codec, kind, {"model": "made"})
    calibration = calibrate([Statistics.of(part) for part in tokens.features.values()], codec)
    if calibration:
        store.set_calibration(info, calibration)
    for shard in store.pending_shards(info.id, store.rows_of(list(tokens.features))):
        grid_shard, fidelity = GridShard(store, info, shard), Fidelity.none()
        for row in store.shard_rows(shard):
            if row in tokens.failed:
                grid_shard.fail(row, FAILURE)
                continue
            features = tokens.features[store.ids[row]]
            codes, clipped = encode(features, codec, calibration)
            fidelity = fidelity + measure(features, decode(codes, calibration), int(clipped))
            grid_shard.add(
                row, codes.numpy(), tokens.hits[store.ids[row]] if kind == "hit" else None
            )
        grid_shard.commit(fidelity)
    return info


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stores of a few kilobytes: blocks of 8 points, 2 to a shard."""
    before = [(array.block, array.blocks) for array in BLOCK_ARRAYS]
    monkeypatch.setattr(layout, "HIT_BLOCK", 8)

    def resize(array: layout.BlockArray, block: int, blocks: int) -> None:
        object.__setattr__(array, "block", block)
        object.__setattr__(array, "blocks", blocks)

    for array in BLOCK_ARRAYS:
        resize(array, 8, 2)
    yield
    for array, sizes in zip(BLOCK_ARRAYS, before, strict=True):
        resize(array, *sizes)


@pytest.fixture
def write_store(tmp_path: Path) -> Callable[..., Sample]:
    """Writes a store of frames with the given numbers of points, two cameras and a 3 x 5 grid of 7
    channels.

    `failed` are rows that are skipped in every layer, `others` the codec and tokens of further
    layers.
    """

    def write(
        points: list[int],
        codec: Codec = "int8",
        tokens: TokenKind = "grid",
        name: str = "store.zarr",
        failed: tuple[int, ...] = (),
        others: tuple[tuple[Codec, TokenKind], ...] = (),
    ) -> Sample:
        rng = np.random.default_rng(7)
        path = tmp_path / name
        store = Store.open_or_create(path, PointSettings("made", ("left", "right")))
        ids = [f"frame-{number}" for number in range(len(points))]
        scenes = [f"scene-{number // 2}" for number in range(len(points))]
        store.extend(ids, scenes)
        samples = [random_frame(rng, *job) for job in zip(ids, scenes, points, strict=True)]
        frames, pairs = (
            {frame.id: frame for frame, _ in samples},
            {frame.id: pairs for frame, pairs in samples},
        )
        features = {
            frame: torch.from_numpy(rng.normal(size=(2, 3, 5, 7)).astype(np.float32))
            for frame in ids
        }
        hits = {frame.id: needed_tokens(frame, pairs) for frame, pairs in samples}
        tokens_by_frame = Tokens(features, hits, failed)
        for shard in store.pending_shards("points", store.rows_of(ids)):
            point_shard = PointShard(store, shard)
            for row in store.shard_rows(shard):
                if row in failed:
                    point_shard.fail(row, FAILURE)
                else:
                    point_shard.add(row, frames[store.ids[row]], pairs[store.ids[row]])
            point_shard.commit()
        layers: list[tuple[Codec, TokenKind]] = [(codec, tokens), *others]
        info, *_ = [add_layer(store, tokens_by_frame, packing, kind) for packing, kind in layers]
        store.finalise()
        return Sample(path, info, frames, pairs, features, hits if tokens == "hit" else {})

    return write
