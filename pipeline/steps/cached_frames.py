"""Frames of a cache as a training step wants them: with the tokens of one or several teachers,
whole or one camera."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ...cache import FeatureCache
from ...cache.choices import INTERPOLATED
from ...cache.codec import Calibration, decode
from ...cache.sampling import sample_tokens
from ...cache.store.region_reader import CachedRegions
from ...cache.store.sweep_reader import CachedSweeps, Sweeps
from ...errors import CleverError
from ...student.draws import key
from ...student.losses.regions import NO_REGION
from ...student.points import PointBatch
from ...words import quantity
from ..settings.shared.choices import CameraChoice
from ..training.batches import Batch, FrameDraw


@dataclass(frozen=True, slots=True)
class TokenGrid:
    """A teacher's tokens.

    Attributes:
        tokens: (V, h, w, C) int8 or float16, as stored: one grid a view.
        calibration: of the int8 codecs; None for fp16.
    """

    tokens: Tensor
    calibration: Calibration | None

    def of_view(self, view: int) -> "TokenGrid":
        """Of one view alone."""
        return replace(self, tokens=self.tokens[view : view + 1])

    def of_pairs(self, pairs: Tensor) -> "TokenGrid":
        """For some of the pairs: it has all that they need."""
        return self

    def features(self, view: Tensor, uv: Tensor, image_size: Tensor, align_corners: bool) -> Tensor:
        """(K, C) float32 of every pair; arguments as of `sample_tokens`."""
        return sample_tokens(self.tokens, view, uv, image_size, self.calibration, align_corners)


@dataclass(frozen=True, slots=True)
class PairTokens:
    """A teacher's features of pairs, interpolated when they were stored.

    Attributes:
        tokens: (K, C) int8 or float16, as stored: one of every pair.
        calibration: of the int8 codecs; None for fp16.
    """

    tokens: Tensor
    calibration: Calibration | None

    def of_view(self, view: int) -> "PairTokens":
        """For the pairs of one view, which `of_pairs` chooses."""
        return self

    def of_pairs(self, pairs: Tensor) -> "PairTokens":
        """Of some of the pairs: (K,) bool, or int64 places."""
        return replace(self, tokens=self.tokens[pairs])

    def features(self, view: Tensor, uv: Tensor, image_size: Tensor, align_corners: bool) -> Tensor:
        """(K, C) float32 of every pair, whose places are those it was stored for."""
        return decode(self.tokens, self.calibration)


Tokens = TokenGrid | PairTokens


def cached_tokens(cache: FeatureCache, tokens: Tensor) -> Tokens:
    """What a layer holds of a frame."""
    kind = PairTokens if cache.teacher.tokens in INTERPOLATED else TokenGrid
    return kind(tokens, cache.calibration)


@dataclass(frozen=True, slots=True)
class TokenRun:
    """A teacher's tokens of frames behind one another in a batch, all of one store.

    Attributes:
        tokens: of their views, or pairs.
        views, pairs: how many they have in all.
    """

    tokens: Tokens
    views: int
    pairs: int

    @classmethod
    def of(cls, frames: Sequence["PairedFrame"], teacher: int) -> "TokenRun":
        """Of frames of one store."""
        parts = [frame.teachers[teacher] for frame in frames]
        tokens = replace(parts[0], tokens=torch.cat([part.tokens for part in parts]))
        views = sum(len(frame.image_size) for frame in frames)
        return cls(tokens, views, sum(len(frame.pair_point) for frame in frames))


@dataclass(frozen=True, slots=True)
class PairedFrame:
    """One frame of N points and K pairs in V views.

    Attributes:
        id: frame id.
        key: what its random draws depend on.
        points: (N, 4) float32: x, y, z in metres in the LiDAR frame, intensity in [0, 1].
        number: (N,) int64, ascending: places of the points in the cloud that they are a part of.
        pair_point: (K,) int64, index into `points`.
        pair_view: (K,) int64, ascending.
        pair_uv: (K, 2) float32, normalised pixels.
        image_size: (V, 2) int64, width and height in pixels.
        teachers: tokens of each teacher.
        class_tokens: (V, C) float32 of each view; None where they are not asked for.
        store: number of its store among those of the run.
        maps: (V, H, W) int32 regions of each view's image; None where they are not asked for.
        pose: (4, 4) float64 global <- lidar.
    """

    id: str
    key: int
    points: Tensor
    number: Tensor
    pair_point: Tensor
    pair_view: Tensor
    pair_uv: Tensor
    image_size: Tensor
    teachers: tuple[Tokens, ...]
    class_tokens: Tensor | None = None
    store: int = 0
    maps: Tensor | None = None
    pose: Tensor = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))

    def with_pairs(self, pairs: Tensor) -> "PairedFrame":
        """With some of the pairs alone: (K,) bool, or int64 places, ascending."""
        return replace(
            self,
            pair_point=self.pair_point[pairs],
            pair_view=self.pair_view[pairs],
            pair_uv=self.pair_uv[pairs],
            teachers=tuple(tokens.of_pairs(pairs) for tokens in self.teachers),
        )


@dataclass(frozen=True, slots=True)
class DistillationBatch(Batch):
    """Cached frames of one step or a part of it, with V views in all.

    Attributes:
        points: (N,) points of all frames, each in its own LiDAR frame.
        number: (N,) int64, of every point in its frame, see `PairedFrame`.
        pair_point: (K,) int64, index into `points`.
        pair_view: (K,) int64, index into the views, ascending.
        pair_uv: (K, 2) float32, normalised pixels.
        image_size: (V, 2) int64, width and height in pixels.
        view_pairs: pairs of every view, known to the host.
        teachers: tokens of each teacher, a run of frames of one store after the other.
        frame_pairs: pairs of every frame, known to the host.
        class_token: (F, C) float32, of every frame the maximum over its views' class tokens; None
            where they are not asked for.
        frame_views: views of every frame, known to the host.
        stores: number of every frame's store, known to the host.
        maps: (V, H, W) int32 regions of each view's image; None where they are not asked for.
        regions: numbers that a map may hold, from 0.
    """

    points: PointBatch
    number: Tensor
    pair_point: Tensor
    pair_view: Tensor
    pair_uv: Tensor
    image_size: Tensor
    view_pairs: tuple[int, ...]
    teachers: tuple[tuple[TokenRun, ...], ...]
    frame_pairs: tuple[int, ...] = ()
    class_token: Tensor | None = None
    frame_views: tuple[int, ...] = ()
    stores: tuple[int, ...] = ()
    maps: Tensor | None = None
    regions: int = 0

    @classmethod
    def collate(cls, frames: list[PairedFrame]) -> "DistillationBatch":
        """Concatenate frames, of one store or of several with as many teachers."""
        pair_point, pair_view, points, views = [], [], 0, 0
        for frame in frames:
            pair_point.append(frame.pair_point + points)
            pair_view.append(frame.pair_view + views)
            points += len(frame.points)
            views += len(frame.image_size)
        view = torch.cat(pair_view)
        tokens = [frame.class_tokens for frame in frames]
        summits = [token.amax(0) for token in tokens if token is not None]
        runs = [list(run) for _, run in groupby(frames, key=lambda frame: frame.store)]
        maps = [frame.maps for frame in frames if frame.maps is not None]
        numbers = [torch.where(part == NO_REGION, -1, part).amax() for part in maps]
        return cls(
            ids=[frame.id for frame in frames],
            keys=[frame.key for frame in frames],
            points=PointBatch.from_clouds([frame.points for frame in frames]),
            number=torch.cat([frame.number for frame in frames]),
            pair_point=torch.cat(pair_point),
            pair_view=view,
            pair_uv=torch.cat([frame.pair_uv for frame in frames]),
            image_size=torch.cat([frame.image_size for frame in frames]),
            view_pairs=tuple(torch.bincount(view, minlength=views).tolist()),
            teachers=tuple(
                tuple(TokenRun.of(run, teacher) for run in runs)
                for teacher in range(len(frames[0].teachers))
            ),
            frame_pairs=tuple(len(frame.pair_point) for frame in frames),
            class_token=torch.stack(summits) if summits else None,
            frame_views=tuple(len(frame.image_size) for frame in frames),
            stores=tuple(frame.store for frame in frames),
            maps=torch.cat(maps) if maps else None,
            regions=1 + max(map(int, numbers), default=-1),
        )


class PairedFrames(Dataset[PairedFrame]):
    """The frames that all given teachers of one store have.

    Args:
        caches: one store, opened with each teacher.
        ids: frames to use; None: all.
        limit: first frames only.
        view: `one-camera` keeps the points that one random camera sees, drawn among those that see
            any.
        thinning: leaves points out, with their pairs, of what `view` left; None keeps all.
        pairs: at most this many pairs a camera view, drawn uniformly; None keeps all.
        fault: why a frame of bounds (2, 3), metres, cannot be trained on; empty where it can.
        class_tokens: number of the teacher whose class tokens are read; None: of none.
        regions: maps of the images; None: they are not read.
        input_sweeps: earlier sweeps that are part of every frame's cloud; None: they are not.
        dense_sweeps: those that `dense` adds; None: nobody asks.

    Attributes:
        ids: frame ids.
        unfit: why frames are left out, by id.
        missing: frames of the first teacher that another one, or the regions, lack.

    Raises:
        CleverError: no frame is common to the teachers, or none can be trained on.
    """

    def __init__(
        self,
        caches: Sequence[FeatureCache],
        ids: Sequence[str] | None = None,
        limit: int | None = None,
        view: CameraChoice = "all",
        thinning: Callable[[PairedFrame], PairedFrame] | None = None,
        pairs: int | None = None,
        fault: Callable[[NDArray[np.float32]], str] | None = None,
        class_tokens: int | None = None,
        regions: CachedRegions | None = None,
        input_sweeps: CachedSweeps | None = None,
        dense_sweeps: CachedSweeps | None = None,
    ) -> None:
        self.input_sweeps, self.dense_sweeps = input_sweeps, dense_sweeps
        self.regions = regions
        self.caches, self.view, self.pairs = tuple(caches), view, pairs
        self.class_tokens = class_tokens
        self.thinning = thinning
        further_ids: list[Container[str]] = [set(cache.ids) for cache in self.caches[1:]]
        further_ids += [layer for layer in (regions, input_sweeps, dense_sweeps) if layer]
        part = self.caches[0].ids if ids is None else ids
        common = [
            name for name in part if all(name in ids_of_teacher for ids_of_teacher in further_ids)
        ]
        self.missing = [
            name
            for name in part
            if any(name not in ids_of_teacher for ids_of_teacher in further_ids)
        ]
        if not common:
            layers = [cache.teacher.id for cache in self.caches]
            others = (regions, input_sweeps, dense_sweeps)
            teachers = ", ".join([*layers, *(layer.info.id for layer in others if layer)])
            raise CleverError(
                f"{self.caches[0].path} has no frame with all of {teachers}; run cache-teacher "
                "again"
            )
        self.unfit: dict[str, str] = {}
        if fault:
            reasons = {name: fault(self.bounds(name)) for name in common[:limit]}
            self.unfit = {name: reason for name, reason in reasons.items() if reason}
        self.ids = [name for name in common[:limit] if name not in self.unfit]
        if not self.ids:
            name, reason = next(iter(self.unfit.items()))
            raise CleverError(
                f"none of {quantity(len(self.unfit), 'frame')} of {self.caches[0].path} can "
                "be trained on; the "
                f"first, {name}: {reason}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def pair_count(self, index: int) -> int:
        """Number of pairs of a frame, all cameras, without reading them."""
        cache = self.caches[0]
        return cache.pair_count(cache.position(self.ids[index]))

    def bounds(self, frame: str) -> NDArray[np.float32]:
        """Smallest and largest x, y, z (2, 3) of a frame's points, metres, without reading them."""
        cache = self.caches[0]
        return cache.bounds(cache.position(frame))

    def __getitem__(self, draw: FrameDraw | tuple[int, int]) -> PairedFrame:
        index, draw_key = draw
        frame = self._whole(index, draw_key)
        if self.input_sweeps is not None:
            frame = with_sweeps(frame, self.input_sweeps.sweeps(frame.id), pairs=False)
        return self._part(frame)

    def dense(self, index: int, draw_key: int) -> PairedFrame:
        """A frame with earlier sweeps and their pairs, without the teachers' tokens."""
        assert self.dense_sweeps is not None
        frame = replace(self._whole(index, draw_key), teachers=())
        return self._part(with_sweeps(frame, self.dense_sweeps.sweeps(frame.id), pairs=True))

    def _whole(self, index: int, draw_key: int) -> PairedFrame:
        """All of a frame."""
        cache, *further_caches = self.caches
        frame = cache[cache.position(self.ids[index])]
        tokens = [cached_tokens(cache, frame.tokens)]
        tokens += [
            cached_tokens(cache, cache.tokens(cache.position(frame.id))) for cache in further_caches
        ]
        return PairedFrame(
            frame.id,
            draw_key,
            frame.points,
            torch.arange(len(frame.points)),
            frame.pair_point,
            frame.pair_camera,
            frame.pair_uv,
            frame.image_size,
            tuple(tokens),
            self._class_tokens(frame.id),
            maps=self._maps(frame.id),
            pose=frame.global_from_lidar,
        )

    def _part(self, frame: PairedFrame) -> PairedFrame:
        """What of a frame takes part."""
        if self.view == "one-camera":
            frame = one_camera(frame)
        if self.thinning is not None:
            frame = self.thinning(frame)
        return frame if self.pairs is None else sample_pairs(frame, self.pairs)

    def _maps(self, frame: str) -> Tensor | None:
        if self.regions is None:
            return None
        return torch.from_numpy(self.regions.maps(frame).astype(np.int32))

    def _class_tokens(self, frame: str) -> Tensor | None:
        if self.class_tokens is None:
            return None
        cache = self.caches[self.class_tokens]
        return cache.class_tokens(cache.position(frame))


def with_sweeps(frame: PairedFrame, sweeps: Sweeps, pairs: bool) -> PairedFrame:
    """A frame whose cloud goes on with earlier sweeps.

    Args:
        pairs: whether their pairs are added; of a frame without teachers' tokens.
    """
    points = torch.cat([frame.points, torch.from_numpy(sweeps.points)])
    denser = replace(frame, points=points, number=torch.arange(len(points)))
    if not pairs:
        return denser
    point = torch.cat([frame.pair_point, len(frame.points) + torch.from_numpy(sweeps.pair_point)])
    view = torch.cat([frame.pair_view, torch.from_numpy(sweeps.pair_camera)])
    uv = torch.cat([frame.pair_uv, torch.from_numpy(sweeps.pair_uv)])
    order = torch.argsort(view, stable=True)
    return replace(denser, pair_point=point[order], pair_view=view[order], pair_uv=uv[order])


def one_camera(frame: PairedFrame) -> PairedFrame:
    """What one camera, drawn among those that see any point, sees of a frame; a frame without pairs
    stays as it is."""
    seeing = frame.pair_view.unique()
    if not len(seeing):
        return frame
    generator = torch.Generator().manual_seed(key("camera", frame.key))
    camera = int(seeing[torch.randint(len(seeing), (1,), generator=generator)])
    pairs = frame.pair_view == camera
    count = int(pairs.sum())
    return replace(
        frame.with_pairs(pairs),
        points=frame.points[frame.pair_point[pairs]],
        number=torch.arange(count),
        pair_point=torch.arange(count),
        pair_view=torch.zeros(count, dtype=torch.int64),
        image_size=frame.image_size[camera : camera + 1],
        teachers=tuple(tokens.of_pairs(pairs).of_view(camera) for tokens in frame.teachers),
        class_tokens=(
            None if frame.class_tokens is None else frame.class_tokens[camera : camera + 1]
        ),
        maps=None if frame.maps is None else frame.maps[camera : camera + 1],
    )


def sample_pairs(frame: PairedFrame, count: int) -> PairedFrame:
    """At most `count` uniformly drawn pairs of each view; all points stay."""
    generator = torch.Generator().manual_seed(key("pairs", frame.key))
    order = torch.randperm(len(frame.pair_view), generator=generator)
    by_view = order[torch.argsort(frame.pair_view[order], stable=True)]
    view = frame.pair_view[by_view]
    rank = torch.arange(len(view)) - torch.searchsorted(view, view)
    return frame.with_pairs(by_view[rank < count].sort().values)
