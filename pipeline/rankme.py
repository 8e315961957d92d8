"""RankMe and matrix rank of a student's backbone features: quality without labels (paper section
3.3, Tables 1, 3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..cache import CachedFrame, FeatureCache
from ..cache.store.sweep_reader import CachedSweeps
from ..errors import CleverError
from ..student.points import PointBatch
from ..student.rank import EPSILON, FeatureRank, feature_rank
from ..student.student import Student
from ..words import quantity
from .process.device import choose_device
from .process.progress import Track
from .results.run_folder import warn_unfinished
from .settings.rankme import FRAMES, ROWS, RankmeSettings
from .steps.cached_frames import PairedFrames
from .steps.mixed_frames import MixedFrames, WholeFrames
from .training.seeds import stream
from .training.starting_student import starting_student

RULE = (
    f"exp of the entropy of p = s / sum(s) + {EPSILON:g} over the singular values s, "
    "p not renormalised"
)


class Ranks(BaseModel):
    """Ranks of the features of a sample of points.

    Attributes:
        rows, channels: shape of the matrix; `rows` is smaller than asked for where frames have too
            few points.
        frames: frames that the rows are of.
        seed: seed of the sample.
        tolerance: relative tolerance of the matrix ranks.
        uncentred: as the original measures.
        centred: after the mean feature is taken away.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    channels: int
    frames: int
    seed: int
    tolerance: float
    uncentred: FeatureRank
    centred: FeatureRank

    def scalars(self) -> dict[str, float | int]:
        """The four numbers by name, for a training log."""
        return {
            "rankme": self.uncentred.rankme,
            "rankme_centred": self.centred.rankme,
            "matrix_rank": self.uncentred.matrix_rank,
            "matrix_rank_centred": self.centred.matrix_rank,
        }


class RankmeResult(BaseModel):
    """What `clever rankme` found, of which student, on which frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: str
    voxel_size: float
    weights: str
    """Where the student's weights come from, in words."""
    dataset: str
    cache: str
    cached_frames: int
    input_sweeps: int = 0
    """Earlier sweeps that are part of every cloud, as in pre-training."""
    rule: str = RULE
    ranks: Ranks

    def __str__(self) -> str:
        ranks = self.ranks
        plain, centred = ranks.uncentred, ranks.centred
        sweeps = quantity(self.input_sweeps, "earlier sweep")
        denser = f", {sweeps} in the input" if self.input_sweeps else ""
        return (
            f"{self.student}, {self.voxel_size:g} m voxels, {self.weights}{denser}\n"
            f"backbone features of {quantity(ranks.rows, 'point')} x "
            f"{ranks.channels} channels, drawn "
            "uniformly from "
            f"{ranks.frames} of {quantity(self.cached_frames, 'frame')} of {self.dataset} "
            f"({self.cache}), seed "
            f"{ranks.seed}\n"
            f"{'':13}{'un-centred':>10}{'centred':>10}\n"
            f"{'RankMe':13}{plain.rankme:10.3f}{centred.rankme:10.3f}   {self.rule}\n"
            f"{'matrix rank':13}{plain.matrix_rank:10}{centred.matrix_rank:10}   "
            f"singular values above {ranks.tolerance:.3g} of the largest"
        )


def rankme(settings: RankmeSettings) -> RankmeResult:
    """Measure a checkpoint, or random weights.

    Raises:
        CleverError: no such cache or checkpoint, or one of another student than asked for; what
            `student_ranks` raises.
    """
    device = choose_device(settings.device)
    cache = FeatureCache(settings.cache, settings.teacher)
    if settings.checkpoint != "none":
        warn_unfinished(settings.checkpoint)
    start = starting_student(
        settings.checkpoint,
        settings.student,
        settings.voxel_size,
        settings.seed,
        settings.ptv3_form,
    )
    student = start.student
    student.choose_intensity(cache.name)
    seed = f", seed {settings.seed}" if start.checkpoint == "none" else ""
    frames = _clouds(cache, start.input_sweeps)
    with Track("rankme", min(settings.frames, len(frames))) as track:
        ranks = student_ranks(
            student.to(device),
            frames,
            device,
            rows=settings.rows,
            frames=settings.frames,
            seed=settings.seed,
            tolerance=settings.tolerance,
            track=track,
        )
    return RankmeResult(
        student=student.name,
        voxel_size=student.voxel_size,
        weights=f"{start.origin}{seed}",
        dataset=cache.name,
        cache=cache.path,
        cached_frames=len(frames),
        input_sweeps=start.input_sweeps,
        ranks=ranks,
    )


class CachedFrames(Protocol):
    """Frames by position: a `FeatureCache` or a part of one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> CachedFrame: ...


def _clouds(cache: FeatureCache, input_sweeps: int) -> CachedFrames:
    """The frames of a cache, each with the earlier sweeps that the student was trained with."""
    if not input_sweeps:
        return cache
    sweeps = CachedSweeps(cache.path, input_sweeps)
    return WholeFrames(MixedFrames([PairedFrames([cache], input_sweeps=sweeps)], [cache.name]))


def student_ranks(
    student: Student,
    cache: CachedFrames,
    device: torch.device,
    *,
    rows: int = ROWS,
    frames: int = FRAMES,
    seed: int = 0,
    tolerance: float | None = None,
    track: Track | None = None,
) -> Ranks:
    """RankMe and matrix rank of the features before any head, of whole clouds without augmentation,
    in float32.

    The sample depends on the seed and the cache alone, so a training job can call this every few
    epochs and compare. The student comes back as it was (mode, gradients) and no global random
    number is drawn.

    Args:
        student: on `device`.
        cache: frames; at most `frames` of them are read, chosen uniformly.
        rows: points, chosen uniformly within each of these frames in equal shares; a frame with
            fewer points leaves the rest of its share to the frames after it.
        tolerance: see `feature_rank`.

    Raises:
        CleverError: a frame's points or features cannot be used; it is named.
    """
    features, sampled_frames = _sample(student, cache, device, rows, frames, seed, track)
    plain, centred = (feature_rank(features, centred, tolerance) for centred in (False, True))
    return Ranks(
        rows=features.shape[0],
        channels=features.shape[1],
        frames=sampled_frames,
        seed=seed,
        tolerance=plain.tolerance,
        uncentred=plain,
        centred=centred,
    )


def _sample(
    student: Student,
    cache: CachedFrames,
    device: torch.device,
    rows: int,
    frames: int,
    seed: int,
    track: Track | None,
) -> tuple[Tensor, int]:
    """Features (rows, D) float32 on the CPU, and the number of frames that they are of."""
    positions = (
        torch.randperm(len(cache), generator=stream(seed, "rankme frames"))[:frames]
        .sort()
        .values.tolist()
    )
    parts: list[Tensor] = []
    missing = rows
    with _measuring(student, device):
        for number, index in enumerate(positions):
            frame = cache[index]
            share = -(-missing // (len(positions) - number))
            order = torch.randperm(
                len(frame.points), generator=stream(seed, "rankme points", frame.id)
            )
            parts.append(_features(student, frame, order[:share], device))
            missing -= len(parts[-1])
            if track:
                track.advance()
    return torch.cat(parts), sum(len(part) > 0 for part in parts)


def _features(student: Student, frame: CachedFrame, points: Tensor, device: torch.device) -> Tensor:
    """Features (len(points), D) float32 on the CPU of some points of a frame."""
    try:
        features, voxels = student.voxel_features(PointBatch.from_clouds([frame.points]).to(device))
    except CleverError as error:
        raise CleverError(f"frame {frame.id}: {error}") from error
    picked = features[voxels.inverse[points.to(device)]].float().cpu()
    if not picked.isfinite().all():
        raise CleverError(
            f"frame {frame.id}: the student's features are not finite; its weights are of no use"
        )
    return picked


@contextmanager
def _measuring(student: Student, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients and mixed precision; every module's own mode comes back
    afterwards."""
    modes = [(module, module.training) for module in student.modules()]
    student.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for module, training in modes:
            module.training = training
