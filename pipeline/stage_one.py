"""Shards through the teacher: decode, network and writing overlap; memory holds a few batches whatever the length."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cache.codec import Calibration, Fidelity, Statistics, calibrate, decode, encode, measure
from ..cache.frame import Frame
from ..cache.images import load_image
from ..cache.layout import normalised_uv, quantise_uv
from ..cache.projection import Correspondences, visible_pairs
from ..cache.sampling import reached_tokens
from ..cache.store import Store, TeacherInfo
from ..cache.teacher import Teacher
from ..cache.writer import GridShard, PointShard
from ..errors import CleverError, FrameError
from .datasets import LidarDataset

REUSE_BYTES = 2**26
"""Features of calibration batches kept for writing, so that small stores run the teacher once a frame."""


@dataclass(frozen=True, slots=True)
class LoadedFrame:
    """A frame off the disk, or why it is not.

    Attributes:
        row: row of the store.
        frame, pairs: None when the frame failed.
        hit: (M, h, w) bool, the tokens within reach of a point; None unless the layer stores those alone.
        images: (M, 3, H, W) uint8, resized for the teacher; None when they failed.
        reason: why the frame is skipped in both layers.
        image_reason: why it is skipped in the teacher's layer alone.
    """

    row: int
    frame: Frame | None = None
    pairs: Correspondences | None = None
    hit: NDArray[np.bool_] | None = None
    images: Tensor | None = None
    reason: str = ""
    image_reason: str = ""


Batch = tuple[int, tuple[int, ...]]
"""A shard and some of its rows: the frames that go through the teacher together."""


class StageOne:
    """Fills the shards of a store from a dataset and a teacher.

    The frames of a batch are a fixed function of the shard, so a shard redone after a crash has the same bytes.

    Args:
        store: opened store; the caller holds its lock.
        info: the teacher's layer.
        dataset: source of frames; `index` maps frame ids to its positions.
        teacher: on its device.
        batch_images: images in one teacher call, at least one frame's.
        decoders: threads that read and resize images.
        strict: stop at the first bad frame instead of recording it.
    """

    def __init__(
        self,
        store: Store,
        info: TeacherInfo,
        dataset: LidarDataset,
        index: Mapping[str, int],
        teacher: Teacher,
        batch_images: int,
        decoders: int,
        strict: bool,
    ) -> None:
        self.store, self.info, self.dataset, self.index, self.teacher = store, info, dataset, index, teacher
        self.frames_per_batch = max(1, batch_images // max(len(store.cameras), 1))
        self.decoders, self.strict = decoders, strict
        self._known: dict[Batch, Tensor] = {}
        self._calibration: Calibration | None = store.calibration(info)

    def calibration_sample(self, shards: Sequence[int]) -> list[Batch]:
        """Random batches of `shards` to fit the int8 codec on; empty when it is frozen or not int8.

        The sample is 5 % of the frames, at least 32 and at most 200, drawn with a seed from the layer's id.
        """
        if self.info.codec == "fp16" or self._calibration is not None:
            return []
        batches = list(self._batches(shards))
        random.Random(self.info.id).shuffle(batches)
        wanted = min(200, max(32, sum(len(rows) for _, rows in batches) // 20))
        totals = accumulate(len(rows) for _, rows in batches)
        return [batch for batch, total in zip(batches, totals, strict=True) if total - len(batch[1]) < wanted]

    def calibrate(self, sample: Sequence[Batch], advance: Callable[[int], None]) -> None:
        """Fit the int8 codec on `sample` and freeze it in the store."""
        statistics: dict[int, Statistics] = {}
        kept = 0
        for batch, loaded in self._loaded(sample):
            values, good = self.features(loaded)
            kept += values.numel() * values.element_size()
            if kept <= REUSE_BYTES:
                self._known[batch] = values
            frames = values if good else []
            statistics |= {
                row: Statistics.of(tokens) for row, tokens in zip(good, frames, strict=True) if _finite(tokens)
            }
            advance(len(loaded))
        self._calibration = calibrate([statistics[row] for row in sorted(statistics)], self.info.codec)
        if self._calibration:
            self.store.set_calibration(self.info, self._calibration)

    def run(self, point_shards: set[int], grid_shards: set[int], advance: Callable[[int], None]) -> None:
        """Write and commit shards of points and pairs and of the teacher's grid.

        Args:
            point_shards, grid_shards: the shards to write of each layer.
            advance: told after every batch how many frames it held.
        """
        shards = sorted(point_shards | grid_shards)
        with ExitStack() as stack, ThreadPoolExecutor(1, "writer") as writer:
            queue: deque[Future[None]] = deque()
            open_shard = _OpenShard(self, -1, False, False)
            for (shard, rows), loaded in self._loaded(list(self._batches(shards))):
                if shard != open_shard.shard:
                    queue.append(writer.submit(open_shard.commit))
                    open_shard = _OpenShard(self, shard, shard in point_shards, shard in grid_shards)
                    stack.callback(open_shard.close)
                features, good = self.features(loaded, (shard, rows)) if open_shard.grid else (torch.empty(0), [])
                queue.append(writer.submit(open_shard.write, loaded, features, good))
                while len(queue) > 2:
                    queue.popleft().result()
                advance(len(rows))
            queue.append(writer.submit(open_shard.commit))
            for future in queue:
                future.result()

    def features(self, loaded: Sequence[LoadedFrame], batch: Batch | None = None) -> tuple[Tensor, list[int]]:
        """Tokens of the frames that have images.

        Returns:
            (F, M, h, w, C) float32 on the CPU or the teacher's device, and the rows they belong to.
        """
        good = [item for item in loaded if item.images is not None]
        rows = [item.row for item in good]
        if batch is not None and batch in self._known:
            return self._known.pop(batch), rows
        if not good:
            return torch.empty(0), rows
        images = torch.cat([item.images for item in good if item.images is not None])
        tokens = self.teacher.features(images)
        return tokens.unflatten(0, (len(good), len(self.store.cameras))), rows

    def encode(self, features: Tensor) -> tuple[Tensor, Fidelity]:
        """Codes of one frame's tokens on the CPU and how faithful they are."""
        codes, clipped = encode(features, self.info.codec, self._calibration)
        calibration = self._calibration
        centre, step = (calibration.centre, calibration.step) if calibration else (None, None)
        on_device = [part.to(codes.device) if part is not None else None for part in (centre, step)]
        return codes.cpu(), measure(features, decode(codes, *on_device), int(clipped))

    def _batches(self, shards: Iterable[int]) -> Iterator[Batch]:
        for shard in shards:
            rows = iter(self.store.shard_rows(shard))
            while part := tuple(islice(rows, self.frames_per_batch)):
                yield shard, part

    def _loaded(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, list[LoadedFrame]]]:
        """Batches in order, loaded ahead by the decoder threads."""
        ahead = 2 * self.frames_per_batch + self.decoders
        rows = iter([row for _, part in batches for row in part])
        with ThreadPoolExecutor(self.decoders, "decoder") as pool:
            pending = deque(pool.submit(self._load, row) for row in islice(rows, ahead))
            try:
                for batch in batches:
                    loaded = []
                    for _ in batch[1]:
                        loaded.append(pending.popleft().result())
                        pending.extend(pool.submit(self._load, row) for row in islice(rows, 1))
                    yield batch, loaded
            finally:
                for future in pending:
                    future.cancel()

    def _load(self, row: int) -> LoadedFrame:
        frame_id = self.store.ids[row]
        if frame_id not in self.index:
            raise CleverError(
                f"frame {frame_id} shares a shard with the frames asked for but is not among them; "
                "use the --sequences or --split of the run that began this cache"
            )
        try:
            frame = self.dataset.frame(self.index[frame_id])
            pairs = visible_pairs(frame)
            if tuple(camera.name for camera in frame.cameras) != tuple(self.store.cameras):
                raise FrameError(frame_id, f"has cameras {[camera.name for camera in frame.cameras]}, not the store's")
        except FrameError as error:
            return self._failed(error, LoadedFrame(row, reason=error.reason))
        try:
            images = [load_image(camera.image, camera.width, camera.height) for camera in frame.cameras]
            resized = torch.stack([self.teacher.preprocess(image) for image in images])
            hit = hit_tokens(frame, pairs, self.info.grid) if self.info.tokens == "hit" else None
            return LoadedFrame(row, frame, pairs, hit, resized)
        except CleverError as error:
            return self._failed(
                FrameError(frame_id, str(error)), LoadedFrame(row, frame, pairs, image_reason=str(error))
            )

    def _failed(self, error: FrameError, result: LoadedFrame) -> LoadedFrame:
        if self.strict:
            raise error
        return result


class _OpenShard:
    """A shard under way in both layers; written and committed by the writer thread."""

    def __init__(self, stage: StageOne, shard: int, points: bool, grid: bool) -> None:
        self.stage, self.shard = stage, shard
        self.points = PointShard(stage.store, shard) if points else None
        self.grid = GridShard(stage.store, stage.info, shard) if grid else None
        self._fidelity = Fidelity.none()

    def write(self, loaded: Sequence[LoadedFrame], features: Tensor, rows: list[int]) -> None:
        tokens = dict(zip(rows, features, strict=True)) if rows else {}
        for item in loaded:
            if self.points:
                self._write_points(self.points, item)
            if self.grid:
                self._write_grid(self.grid, item, tokens.get(item.row))

    def commit(self) -> None:
        if self.points:
            self.points.commit()
        if self.grid:
            self.grid.commit(self._fidelity)

    def close(self) -> None:
        for layer in (self.points, self.grid):
            if layer:
                layer.close()

    @staticmethod
    def _write_points(layer: PointShard, item: LoadedFrame) -> None:
        if item.frame is None or item.pairs is None:
            layer.fail(item.row, item.reason)
        else:
            layer.add(item.row, item.frame, item.pairs)

    def _write_grid(self, layer: GridShard, item: LoadedFrame, tokens: Tensor | None) -> None:
        if tokens is None:
            layer.fail(item.row, item.reason or item.image_reason)
        elif not _finite(tokens):
            layer.fail(item.row, "the teacher's features hold NaN or infinity; try --precision fp32")
        else:
            codes, fidelity = self.stage.encode(tokens)
            self._fidelity = self._fidelity + fidelity
            layer.add(item.row, codes.numpy(), item.hit)


def hit_tokens(frame: Frame, pairs: Correspondences, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """(M, h, w) bool: the tokens that sampling at the stored pixels of `pairs` will read."""
    size = np.array([(camera.width, camera.height) for camera in frame.cameras])
    camera = np.repeat(np.arange(len(size)), np.diff(pairs.offsets))
    uv = torch.from_numpy(normalised_uv(quantise_uv(pairs.uv, size[camera])))
    return reached_tokens(torch.from_numpy(camera), uv, torch.from_numpy(size), grid).numpy()


def _finite(tokens: Tensor) -> bool:
    return bool(tokens.isfinite().all())
