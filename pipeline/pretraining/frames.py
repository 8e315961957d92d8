"""Which frames a pre-training run trains on, and what is said of them."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ...cache import FeatureCache
from ...errors import CleverError
from ...student.checkpoint import (
    weights_digest,
)
from ...student.clouds.extents import extent_fault
from ...student.student import Student
from ...words import quantity
from ..process.team import Team
from ..results.run_folder import notice
from ..settings.pretrain import PretrainSettings
from ..settings.shared.choices import PointChoice
from ..steps.cached_frames import PairedFrames
from ..steps.cached_part import CachedPart
from ..steps.distillation import DistillationStep, Stores
from ..steps.mixed_frames import MixedFrames
from ..steps.voxel_points import VoxelPoints
from ..training.stepping import frames_at_once
from .contrast_run import (
    dense_sweeps,
    input_sweeps,
    region_layer,
)
from .several_caches import (
    content_digest,
    intensity_norm,
    store_names,
)
from .stores import class_token_teacher


def training_frames(
    settings: PretrainSettings,
    stores: Sequence[list[FeatureCache]],
    parts: Sequence[CachedPart],
    step: DistillationStep,
    points: PointChoice,
    team: Team,
) -> MixedFrames:
    """The frames of the run; raises as `PairedFrames` does."""
    fault = _extent_check(settings, step.student, team)
    thinning = point_thinning(points, step)
    return MixedFrames(
        [
            PairedFrames(
                caches,
                part.ids,
                limit=settings.limit,
                view=settings.view,
                thinning=thinning,
                pairs=settings.pairs,
                fault=fault,
                class_tokens=class_token_teacher(settings, caches),
                regions=region_layer(settings),
                input_sweeps=input_sweeps(settings),
                dense_sweeps=dense_sweeps(settings),
            )
            for caches, part in zip(stores, parts, strict=True)
        ],
        store_names([caches[0] for caches in stores]),
    )


def point_thinning(points: PointChoice, step: DistillationStep) -> VoxelPoints | None:
    """What leaves points of a frame out before a step; None where all take part."""
    if points == "all":
        return None
    return VoxelPoints(step.student.voxel_size, step.augmentation)


def _extent_check(
    settings: PretrainSettings, student: Student, team: Team
) -> Callable[[NDArray[np.float32]], str]:
    """Says of a frame's bounds why the student cannot be trained on it; empty where it can."""
    halvings = student.backbone.halvings if frames_at_once(settings, team) == 1 else None
    return partial(extent_fault, voxel_size=student.voxel_size, halvings=halvings)


def unpaired_frames(frames: PairedFrames, team: Team) -> list[str]:
    """Ids of frames without pairs, reported; they still serve the occupancy task.

    Raises:
        CleverError: no frame has pairs.
    """
    path, count = frames.caches[0].path, len(frames)
    unpaired = [name for index, name in enumerate(frames.ids) if not frames.pair_count(index)]
    if len(unpaired) == count:
        raise CleverError(
            f"no point of the {quantity(count, 'frame')} of {path} is seen by a camera, so "
            "there is nothing to "
            "distil; "
            "check the dataset's calibration and make the cache again"
        )
    if team.first:
        for name, reason in islice(frames.unfit.items(), 10):
            notice(f"left out frame {name}: {reason}")
        if len(frames.unfit) > 10:
            notice(f"left out {len(frames.unfit) - 10} more such frames")
        for names, whole, fault in (
            (unpaired, count, "have no point that a camera sees"),
            (frames.missing, count + len(frames.missing), "are not in every layer that is read"),
        ):
            if names:
                shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                notice(f"{len(names)} of {quantity(whole, 'frame')} {fault}: {shown}")
    return unpaired


def store_facts(settings: PretrainSettings, frames: MixedFrames) -> Stores:
    """What the step is told of the stores."""
    norms = ()
    if settings.intensity == "standardised":
        norms = tuple(
            intensity_norm(part, part.caches[0].name if len(frames.parts) == 1 else name)
            for part, name in zip(frames.parts, frames.names, strict=True)
        )
    names = frames.names if len(frames.parts) > 1 else ()
    return Stores(names, norms, settings.mix3d_across)


def input_digests(settings: PretrainSettings, frames: MixedFrames) -> dict[str, str]:
    """Digests of what a run reads."""
    if len(frames.parts) > 1:
        inputs = {
            f"cache {number} ({part.caches[0].name})": content_digest(part)
            for number, part in enumerate(frames.parts, 1)
        }
    else:
        inputs = {
            "teacher": " ".join(cache.teacher.id for cache in frames.first.caches),
            "frames": hashlib.sha256("\n".join(frames.ids).encode()).hexdigest(),
        }
    if frames.first.regions:
        inputs["regions"] = frames.first.regions.info.id
    if settings.init:
        inputs["initial weights"] = weights_digest(settings.init)
    return inputs
