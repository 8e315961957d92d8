"""Shards through the teacher: decode, network and writing overlap; memory holds a few batches
whatever the length."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ...cache.codec import Calibration, Statistics, decode, encode, measure
from ...cache.fidelity import Fidelity
from ...cache.images import load_image
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.models import TeacherInfo
from ...cache.store.store import Store
from ...cache.store.writer import GridShard, PointShard
from ...cache.teacher import Teacher
from ...errors import CleverError, FrameError
from .calibration import FrameGroup, batches_of, frames_per_batch, freeze_calibration
from .frames import FrameReader, LoadedFrame, hit_tokens

REUSE_BYTES = 2**26
"""Features of calibration batches kept for writing, so that small stores run the teacher once a
frame."""
CUDA_THREADS = 2
"""Batches on their way through a GPU: one computes while the codes of the other are fetched."""

NOT_FINITE = "the teacher's features hold NaN or infinity; try `precision=fp32`"


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame's tokens as they are stored, (M, h, w, C); None when the teacher gave NaN or
    infinity."""

    codes: Tensor | None
    fidelity: Fidelity


Result = TypeVar("Result")


class StageOne:
    """Fills the shards of a store from a dataset and a teacher.

    The frames of a batch are a fixed function of the shard, so a shard redone after a crash has the
    same bytes. On a CPU every teacher call has one thread to itself, and as many calls run at once
    as torch has threads: the last bits of a network's output depend on the number of threads that
    share a call, so that bytes would depend on the machine.

    Args:
        store: opened store; the caller holds its lock.
        info: the teacher's layer.
        reader: reads the frames of its rows.
        teacher: on its device.
        batch_images: images in one teacher call, at least one frame's.
        decoders: threads that read and resize images.
        strict: stop at the first bad frame instead of recording it.
        teacher_threads: teacher calls at once; default: as many as torch has threads, on a GPU
            `CUDA_THREADS`.
    """

    def __init__(
        self,
        store: Store,
        info: TeacherInfo,
        reader: FrameReader,
        teacher: Teacher,
        batch_images: int,
        decoders: int,
        strict: bool,
        teacher_threads: int | None = None,
    ) -> None:
        self.store, self.info, self.reader, self.teacher = store, info, reader, teacher
        self.frames_per_batch = frames_per_batch(store, batch_images)
        self.decoders, self.strict = decoders, strict
        default = CUDA_THREADS if teacher.device.type == "cuda" else torch.get_num_threads()
        self.teacher_threads = teacher_threads or default
        self._sampled_batches: dict[FrameGroup, tuple[list[int], Tensor]] = {}
        self._calibration: Calibration | None = None

    def calibrate(self, sample: Sequence[FrameGroup], advance: Callable[[int], None]) -> None:
        """Fit the int8 codec on `sample` and freeze it in the store."""
        freeze_calibration(self.store, self.info, self.statistics(sample, advance))

    def statistics(
        self, sample: Sequence[FrameGroup], advance: Callable[[int], None]
    ) -> dict[int, Statistics | str]:
        """Statistics of the tokens of every frame of `sample`, or why there are none, by row."""
        statistics: dict[int, Statistics | str] = {}
        sample_bytes = 0
        shards = {shard for shard, _ in sample}
        with closing(self._through_teacher(sample, shards, self._sampled)) as source:
            for batch, loaded, (rows, values, parts) in source:
                sample_bytes += values.numel() * values.element_size()
                if sample_bytes <= REUSE_BYTES:
                    self._sampled_batches[batch] = rows, values
                statistics |= parts
                advance(len(loaded))
        return statistics

    def run(
        self, point_shards: set[int], grid_shards: set[int], advance: Callable[[int], None]
    ) -> None:
        """Write and commit shards of points and pairs and of the teacher's grid.

        Whatever ends it early (an error, Ctrl-C), committed shards stay and the one under way is
        dropped.

        Args:
            point_shards, grid_shards: the shards to write of each layer.
            advance: told after every batch how many frames it held.
        """
        self._calibration = self.store.calibration(self.info)
        batches = list(
            batches_of(self.store, sorted(point_shards | grid_shards), self.frames_per_batch)
        )
        opened: deque[_OpenShard] = deque()
        with ExitStack() as stack:
            stack.callback(lambda: [shard.close() for shard in opened])
            writer = stack.enter_context(_pool(1, "writer"))
            source = stack.enter_context(
                closing(self._through_teacher(batches, grid_shards, self._encoded))
            )
            queue: deque[Future[None]] = deque()
            for (shard, rows), loaded, encoded in source:
                if not opened or shard != opened[-1].number:
                    if opened:
                        queue.append(writer.submit(opened[-1].commit))
                    opened.append(
                        _OpenShard(self, shard, shard in point_shards, shard in grid_shards)
                    )
                queue.append(writer.submit(opened[-1].write, loaded, encoded))
                while len(queue) > 2:
                    queue.popleft().result()
                while len(opened) > 1 and opened[0].committed:
                    opened.popleft()
                advance(len(rows))
            if opened:
                queue.append(writer.submit(opened[-1].commit))
            for future in queue:
                future.result()

    def _sampled(
        self, loaded: Sequence[LoadedFrame], _: FrameGroup
    ) -> tuple[list[int], Tensor, dict[int, Statistics | str]]:
        rows, values = self._features(loaded)
        results: dict[int, Statistics | str] = {
            item.row: item.reason or item.image_reason for item in loaded
        }
        for row, tokens in zip(rows, values if rows else (), strict=True):
            results[row] = Statistics.of(tokens) if _finite(tokens) else NOT_FINITE
        return rows, values, results

    def _encoded(self, loaded: Sequence[LoadedFrame], batch: FrameGroup) -> dict[int, EncodedFrame]:
        """The frames that have images, by row."""
        sampled = self._sampled_batches.pop(batch, None)
        readable = [item.row for item in loaded if item.images is not None]
        rows, values = sampled if sampled and sampled[0] == readable else self._features(loaded)
        return {
            row: self._encode(tokens)
            for row, tokens in zip(rows, values if rows else (), strict=True)
        }

    def _features(self, loaded: Sequence[LoadedFrame]) -> tuple[list[int], Tensor]:
        """Rows of the F frames that have images, and their tokens: (F, M, h, w, C) float32 on the
        teacher's device."""
        good = [item for item in loaded if item.images is not None]
        if not good:
            return [], torch.empty(0)
        images = torch.cat([item.images for item in good if item.images is not None])
        try:
            tokens = self.teacher.features(images)
        except torch.cuda.OutOfMemoryError as error:
            raise CleverError(
                f"{len(images)} images at once fill the GPU; take a smaller `batch_images`"
            ) from error
        return [item.row for item in good], tokens.unflatten(
            0, (len(good), len(self.store.cameras))
        )

    def _encode(self, tokens: Tensor) -> EncodedFrame:
        if not _finite(tokens):
            return EncodedFrame(None, Fidelity.none())
        codes, clipped = encode(tokens, self.info.codec, self._calibration)
        calibration = self._calibration.to(codes.device) if self._calibration else None
        return EncodedFrame(codes.cpu(), measure(tokens, decode(codes, calibration), int(clipped)))

    def _through_teacher(
        self,
        batches: Sequence[FrameGroup],
        grid_shards: Collection[int],
        work: Callable[[list[LoadedFrame], FrameGroup], Result],
    ) -> Generator[tuple[FrameGroup, list[LoadedFrame], Result], None, None]:
        """Batches in order, loaded ahead by the decoder threads, and what the teacher threads made
        of them."""
        with ExitStack() as stack:
            stack.enter_context(deterministic())
            pool = stack.enter_context(_pool(self.teacher_threads, "teacher"))
            source = stack.enter_context(closing(self._loaded(batches, grid_shards)))
            pending: deque[tuple[FrameGroup, list[LoadedFrame], Future[Result]]] = deque()
            for batch, loaded in source:
                pending.append((batch, loaded, pool.submit(work, loaded, batch)))
                if len(pending) > self.teacher_threads + 1:
                    batch, loaded, future = pending.popleft()
                    yield batch, loaded, future.result()
            for batch, loaded, future in pending:
                yield batch, loaded, future.result()

    def _loaded(
        self, batches: Sequence[FrameGroup], grid_shards: Collection[int]
    ) -> Generator[tuple[FrameGroup, list[LoadedFrame]], None, None]:
        """Batches in order, loaded ahead by the decoder threads; images only where the grid is
        written."""
        ahead = 2 * self.frames_per_batch + self.decoders
        rows = iter([row for _, part in batches for row in part])
        with _pool(self.decoders, "decoder") as pool:

            def submit(count: int) -> list[Future[LoadedFrame]]:
                return [
                    pool.submit(self.load, row, row // SHARD_ROWS in grid_shards)
                    for row in islice(rows, count)
                ]

            pending = deque(submit(ahead))
            for batch in batches:
                loaded = []
                for _ in batch[1]:
                    loaded.append(pending.popleft().result())
                    pending.extend(submit(1))
                yield batch, loaded

    def load(self, row: int, images: bool) -> LoadedFrame:
        """Read the frame of a row, with its images if asked for.

        Raises:
            FrameError: `strict`, and the frame is bad.
            CleverError: the dataset does not hold the frame.
        """
        frame_id = self.store.ids[row]
        try:
            frame, pairs = self.reader.read(row)
        except FrameError as error:
            return self._failed(error, LoadedFrame(row, reason=error.reason))
        if not images:
            return LoadedFrame(row, frame, pairs)
        try:
            decoded = [
                load_image(camera.image, camera.width, camera.height) for camera in frame.cameras
            ]
            resized = torch.stack([self.teacher.preprocess(image) for image in decoded])
            hit = hit_tokens(frame, pairs, self.info.grid) if self.info.tokens == "hit" else None
            return LoadedFrame(row, frame, pairs, hit, resized)
        except CleverError as error:
            return self._failed(
                FrameError(frame_id, str(error)),
                LoadedFrame(row, frame, pairs, image_reason=str(error)),
            )

    def _failed(self, error: FrameError, result: LoadedFrame) -> LoadedFrame:
        if self.strict:
            raise error
        return result


class _OpenShard:
    """A shard under way in both layers; written and committed by the writer thread."""

    def __init__(self, stage: StageOne, number: int, points: bool, grid: bool) -> None:
        self.stage, self.number, self.committed = stage, number, False
        self.points = PointShard(stage.store, number) if points else None
        self.grid = GridShard(stage.store, stage.info, number) if grid else None
        self._fidelity = Fidelity.none()

    def write(self, loaded: Sequence[LoadedFrame], encoded: Mapping[int, EncodedFrame]) -> None:
        for item in loaded:
            if self.points:
                self._write_points(self.points, item)
            if self.grid:
                self._write_grid(self.grid, item, encoded.get(item.row))

    def commit(self) -> None:
        if self.points:
            self.points.commit()
        if self.grid:
            self.grid.commit(self._fidelity)
        self.committed = True

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

    def _write_grid(
        self, layer: GridShard, item: LoadedFrame, encoded: EncodedFrame | None
    ) -> None:
        if encoded is None:
            layer.fail(item.row, item.reason or item.image_reason)
        elif encoded.codes is None:
            if self.stage.strict:
                raise FrameError(self.stage.store.ids[item.row], NOT_FINITE)
            layer.fail(item.row, NOT_FINITE)
        else:
            self._fidelity = self._fidelity + encoded.fidelity
            layer.add(item.row, encoded.codes.numpy(), item.hit)


@contextmanager
def _pool(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that finish what they are at when the block ends, and start nothing more."""
    pool = ThreadPoolExecutor(threads, name, torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def deterministic() -> Iterator[None]:
    """One thread to a torch call, and cuDNN's flags as the teacher sets them.

    `Teacher.features` sets and restores these flags, which belong to the process: with calls in
    several threads they must be the same before and after.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def _finite(tokens: Tensor) -> bool:
    return bool(tokens.isfinite().all())
