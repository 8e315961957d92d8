"""Shards through the teacher: decode, network and writing overlap; memory holds a few batches
whatever the length."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ...cache.choices import INTERPOLATED
from ...cache.codec import Calibration, Statistics, decode, encode, measure
from ...cache.fidelity import Fidelity
from ...cache.images import load_image
from ...cache.moments import CodeSums
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.records.models import TeacherInfo
from ...cache.store.store import Store
from ...cache.store.writer import GridShard, PointShard
from ...cache.teacher import Features, Teacher, outputs
from ...errors import CleverError, FrameError
from .calibration import (
    FrameGroup,
    batches_of,
    calibration_sample,
    frames_per_batch,
    freeze_calibration,
)
from .frames import FrameReader, LoadedFrame, hit_tokens, interpolated

REUSE_BYTES = 2**26
"""Features of calibration batches kept for writing, so that small stores run the teacher once a
frame."""
CUDA_THREADS = 2
"""Batches on their way through a GPU: one computes while the codes of the other are fetched."""

NOT_FINITE = "the teacher's features hold NaN or infinity; try `precision=fp32`"


@dataclass(frozen=True, slots=True)
class LayerTask:
    """A teacher's layer of a store, and the teacher that fills it."""

    info: TeacherInfo
    teacher: Teacher


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame's tokens as they are stored, (M, h, w, C), or its features of pairs (K, C), its
    class tokens (M, C), if any, and the sums over its codes; no codes when the teacher gave NaN or
    infinity."""

    codes: Tensor | None
    fidelity: Fidelity
    class_token: Tensor | None = None
    sums: CodeSums | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """What the teachers made of a batch.

    Attributes:
        rows: of the F frames that have images.
        features: of each of these frames by layer; grids (M, h, w, C) on the teachers' device.
    """

    rows: list[int]
    features: dict[str, list[Features]]

    @property
    def bytes(self) -> int:
        """Size of the grids."""
        grids = (part.grid for parts in self.features.values() for part in parts)
        return sum(grid.numel() * grid.element_size() for grid in grids)


Statistic = Statistics | str
"""Of a frame's tokens, or why there is none."""
Shards = Mapping[str, Collection[int]]
"""Shards to write by layer."""
Result = TypeVar("Result")


class StageOne:
    """Fills the shards of a store from a dataset and the layers of a teacher, in one pass.

    The frames of a batch are a fixed function of the shard, so a shard redone after a crash has the
    same bytes, and a layer has the same bytes whichever others are filled beside it. On a CPU every
    teacher call has one thread to itself, and as many calls run at once as torch has threads: the
    last bits of a network's output depend on the number of threads that share a call, so that bytes
    would depend on the machine.

    Args:
        store: opened store; the caller holds its lock.
        tasks: the layers, whose teachers share a network on its device.
        reader: reads the frames of its rows.
        batch_images: images in one teacher call, at least one frame's.
        decoders: threads that read and resize images.
        strict: stop at the first bad frame instead of recording it.
        teacher_threads: teacher calls at once; default: as many as torch has threads, on a GPU
            `CUDA_THREADS`.
    """

    def __init__(
        self,
        store: Store,
        tasks: Sequence[LayerTask],
        reader: FrameReader,
        batch_images: int,
        decoders: int,
        strict: bool,
        teacher_threads: int | None = None,
    ) -> None:
        self.store, self.tasks, self.reader = store, tuple(tasks), reader
        self.teacher = self.tasks[0].teacher
        self.frames_per_batch = frames_per_batch(store, batch_images)
        self.decoders, self.strict = decoders, strict
        default = CUDA_THREADS if self.teacher.device.type == "cuda" else torch.get_num_threads()
        self.teacher_threads = teacher_threads or default
        self._sampled_batches: dict[FrameGroup, Pass] = {}
        self._calibrations: dict[str, Calibration | None] = {}

    def calibrate(
        self, samples: Mapping[str, Sequence[FrameGroup]], advance: Callable[[int], None]
    ) -> None:
        """Fit the int8 codec of each layer on its sample and freeze it in the store."""
        statistics = self.statistics(samples, advance)
        for task in self.tasks:
            if task.info.id in samples:
                freeze_calibration(self.store, task.info, statistics[task.info.id])

    def statistics(
        self, samples: Mapping[str, Sequence[FrameGroup]], advance: Callable[[int], None]
    ) -> dict[str, dict[int, Statistic]]:
        """Statistics of the tokens of every frame of each layer's sample, or why there are none,
        by layer and row. A batch that several layers sample goes through the teacher once."""
        statistics: dict[str, dict[int, Statistic]] = {layer: {} for layer in samples}
        layers = layers_by_batch(samples)
        sample_bytes = 0
        shards = {shard for shard, _ in layers}

        def work(
            loaded: list[LoadedFrame], batch: FrameGroup
        ) -> tuple[Pass, dict[str, dict[int, Statistic]]]:
            return self._sampled(loaded, layers[batch])

        with closing(self._through_teacher(list(layers), shards, work)) as source:
            for batch, loaded, (passed, parts) in source:
                sample_bytes += passed.bytes
                if sample_bytes <= REUSE_BYTES:
                    self._sampled_batches[batch] = passed
                for layer, part in parts.items():
                    statistics[layer] |= part
                advance(len(loaded))
        return statistics

    def run(
        self, point_shards: set[int], grid_shards: Shards, advance: Callable[[int], None]
    ) -> None:
        """Write and commit shards of points and pairs and of the teacher's layers.

        Whatever ends it early (an error, Ctrl-C), committed shards stay and the one under way is
        dropped.

        Args:
            point_shards, grid_shards: the shards to write of points and pairs and of each layer.
            advance: told after every batch how many frames it held.
        """
        self._calibrations = {
            task.info.id: self.store.calibration(task.info) for task in self.tasks
        }
        image_shards = set[int]().union(*grid_shards.values())
        batches = list(
            batches_of(self.store, sorted(point_shards | image_shards), self.frames_per_batch)
        )
        layers = {shard: layers_of(shard, grid_shards) for shard in point_shards | image_shards}

        def work(
            loaded: list[LoadedFrame], batch: FrameGroup
        ) -> dict[str, dict[int, EncodedFrame]]:
            return self._encoded(loaded, batch, layers[batch[0]])

        opened: deque[_OpenShard] = deque()
        with ExitStack() as stack:
            stack.callback(lambda: [shard.close() for shard in opened])
            writer = stack.enter_context(_pool(1, "writer"))
            source = stack.enter_context(
                closing(self._through_teacher(batches, image_shards, work))
            )
            queue: deque[Future[None]] = deque()
            for (shard, rows), loaded, encoded in source:
                if not opened or shard != opened[-1].number:
                    if opened:
                        queue.append(writer.submit(opened[-1].commit))
                    opened.append(_OpenShard(self, shard, shard in point_shards, layers[shard]))
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
        self, loaded: Sequence[LoadedFrame], layers: Collection[str]
    ) -> tuple[Pass, dict[str, dict[int, Statistic]]]:
        passed = self._pass(loaded, layers)
        bad: dict[int, Statistic] = {
            item.row: item.reason or item.image_reason for item in loaded if item.images is None
        }
        good = {
            layer: {
                row: Statistics.of(features.grid) if _finite(features) else NOT_FINITE
                for row, features in zip(passed.rows, parts, strict=True)
            }
            for layer, parts in passed.features.items()
        }
        return passed, {layer: {**bad, **good[layer]} for layer in layers}

    def _encoded(
        self, loaded: Sequence[LoadedFrame], batch: FrameGroup, layers: Collection[str]
    ) -> dict[str, dict[int, EncodedFrame]]:
        """The frames that have images, by layer and row."""
        sampled = self._sampled_batches.pop(batch, None)
        good = [item for item in loaded if item.images is not None]
        readable = [item.row for item in good]
        features = dict(sampled.features) if sampled and sampled.rows == readable else {}
        if missing := [layer for layer in layers if layer not in features]:
            features |= self._pass(loaded, missing).features
        return {
            task.info.id: {
                item.row: self._encode(task.info, part, item)
                for item, part in zip(good, features[task.info.id], strict=True)
            }
            for task in self.tasks
            if task.info.id in layers
        }

    def _pass(self, loaded: Sequence[LoadedFrame], layers: Collection[str]) -> Pass:
        """Run the teacher for some of the layers."""
        tasks = [task for task in self.tasks if task.info.id in layers]
        good = [item for item in loaded if item.images is not None]
        if not good or not tasks:
            return Pass([item.row for item in good], {task.info.id: [] for task in tasks})
        images = torch.cat([item.images for item in good if item.images is not None])
        try:
            levels = outputs([task.teacher for task in tasks], images)
        except torch.cuda.OutOfMemoryError as error:
            raise CleverError(
                f"{len(images)} images at once fill the GPU; take a smaller `batch_images`"
            ) from error
        features = {
            task.info.id: _by_frame(level, len(good))
            for task, level in zip(tasks, levels, strict=True)
        }
        return Pass([item.row for item in good], features)

    def _encode(self, info: TeacherInfo, features: Features, item: LoadedFrame) -> EncodedFrame:
        if not _finite(features):
            return EncodedFrame(None, Fidelity.none())
        tokens, frozen = features.grid, self._calibrations[info.id]
        if info.tokens in INTERPOLATED:
            assert item.frame
            assert item.pairs
            tokens = interpolated(tokens, item.frame, item.pairs, INTERPOLATED[info.tokens])
        codes, clipped = encode(tokens, info.codec, frozen)
        calibration = frozen.to(codes.device) if frozen else None
        fidelity = Fidelity.none()
        if tokens.numel():
            fidelity = measure(tokens, decode(codes, calibration), int(clipped))
        class_token = None if features.class_token is None else features.class_token.cpu()
        return EncodedFrame(codes.cpu(), fidelity, class_token, CodeSums.of(codes))

    def _through_teacher(
        self,
        batches: Sequence[FrameGroup],
        image_shards: Collection[int],
        work: Callable[[list[LoadedFrame], FrameGroup], Result],
    ) -> Generator[tuple[FrameGroup, list[LoadedFrame], Result], None, None]:
        """Batches in order, loaded ahead by the decoder threads, and what the teacher threads made
        of them."""
        with ExitStack() as stack:
            stack.enter_context(deterministic())
            pool = stack.enter_context(_pool(self.teacher_threads, "teacher"))
            source = stack.enter_context(closing(self._loaded(batches, image_shards)))
            pending: deque[tuple[FrameGroup, list[LoadedFrame], Future[Result]]] = deque()
            for batch, loaded in source:
                pending.append((batch, loaded, pool.submit(work, loaded, batch)))
                if len(pending) > self.teacher_threads + 1:
                    batch, loaded, future = pending.popleft()
                    yield batch, loaded, future.result()
            for batch, loaded, future in pending:
                yield batch, loaded, future.result()

    def _loaded(
        self, batches: Sequence[FrameGroup], image_shards: Collection[int]
    ) -> Generator[tuple[FrameGroup, list[LoadedFrame]], None, None]:
        """Batches in order, loaded ahead by the decoder threads; images only where a layer is
        written."""
        ahead = 2 * self.frames_per_batch + self.decoders
        rows = iter([row for _, part in batches for row in part])
        with _pool(self.decoders, "decoder") as pool:

            def submit(count: int) -> list[Future[LoadedFrame]]:
                return [
                    pool.submit(self.load, row, row // SHARD_ROWS in image_shards)
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
            hit = {
                grid: hit_tokens(frame, pairs, grid)
                for grid in {task.info.grid for task in self.tasks if task.info.tokens == "hit"}
            }
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
    """A shard under way in all its layers; written and committed by the writer thread.

    Its commit may wait behind a write that fails: it then does nothing, since frames are missing.
    """

    def __init__(self, stage: StageOne, number: int, points: bool, layers: Collection[str]) -> None:
        self.stage, self.number, self.committed = stage, number, False
        self._is_whole = True
        self.points = PointShard(stage.store, number) if points else None
        self.grids = {
            task.info.id: GridShard(stage.store, task.info, number)
            for task in stage.tasks
            if task.info.id in layers
        }
        self._fidelity = dict.fromkeys(self.grids, Fidelity.none())

    def write(
        self,
        loaded: Sequence[LoadedFrame],
        encoded: Mapping[str, Mapping[int, EncodedFrame]],
    ) -> None:
        try:
            for item in loaded:
                if self.points:
                    self._write_points(self.points, item)
                for layer, grid in self.grids.items():
                    self._write_grid(grid, item, encoded[layer].get(item.row))
        except BaseException:
            self._is_whole = False
            raise

    def commit(self) -> None:
        if not self._is_whole:
            return
        if self.points:
            self.points.commit()
        for layer, grid in self.grids.items():
            grid.commit(self._fidelity[layer])
        self.committed = True

    def close(self) -> None:
        for layer in (self.points, *self.grids.values()):
            if layer:
                layer.close()

    @staticmethod
    def _write_points(layer: PointShard, item: LoadedFrame) -> None:
        if item.frame is None or item.pairs is None:
            layer.fail(item.row, item.reason)
        else:
            layer.add(item.row, item.frame, item.pairs)

    def _write_grid(
        self, shard: GridShard, item: LoadedFrame, encoded: EncodedFrame | None
    ) -> None:
        if encoded is None:
            shard.fail(item.row, item.reason or item.image_reason)
        elif encoded.codes is None:
            if self.stage.strict:
                raise FrameError(self.stage.store.ids[item.row], NOT_FINITE)
            shard.fail(item.row, NOT_FINITE)
        else:
            self._fidelity[shard.layer.id] += encoded.fidelity
            token = None if encoded.class_token is None else encoded.class_token.numpy()
            hit = item.hit.get(shard.info.grid) if shard.info.tokens == "hit" else None
            offsets = item.pairs.offsets.tolist() if shard.layer.of_pairs and item.pairs else ()
            sums = encoded.sums if hit is None else None
            shard.add(item.row, encoded.codes.numpy(), hit, token, offsets, sums)


def calibration_samples(
    store: Store, tasks: Sequence[LayerTask], shards: Shards, frames: int
) -> dict[str, list[FrameGroup]]:
    """The `calibration_sample` of every layer that has one."""
    samples = {
        task.info.id: calibration_sample(store, task.info, sorted(shards[task.info.id]), frames)
        for task in tasks
    }
    return {layer: sample for layer, sample in samples.items() if sample}


def layers_of(shard: int, shards: Shards) -> list[str]:
    """The layers that have this shard to write."""
    return [layer for layer, numbers in shards.items() if shard in numbers]


def layers_by_batch(
    samples: Mapping[str, Iterable[FrameGroup]],
) -> dict[FrameGroup, list[str]]:
    """Every batch of the samples once, with the layers that sample it."""
    layers: dict[FrameGroup, list[str]] = {}
    for layer, batches in samples.items():
        for batch in batches:
            layers.setdefault(batch, []).append(layer)
    return layers


def _by_frame(features: Features, frames: int) -> list[Features]:
    """Features of the images of F frames, frame by frame."""
    grids = features.grid.unflatten(0, (frames, -1))
    tokens = features.class_token
    if tokens is None:
        return [Features(grid) for grid in grids]
    return [
        Features(grid, token)
        for grid, token in zip(grids, tokens.unflatten(0, (frames, -1)), strict=True)
    ]


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


def _finite(features: Features) -> bool:
    tokens = (features.grid, features.class_token)
    return all(bool(part.isfinite().all()) for part in tokens if part is not None)
