"""The networks of a pre-training run, with fresh weights."""

from dataclasses import replace
from typing import Any

from ...cache import FeatureCache
from ...student.clouds.augment import PRESETS
from ...student.heads import ProjectionHead
from ...student.losses.occupancy import OccupancyHead
from ...student.registry import build_student
from ...student.sampling.queries import ALSO, PAPER, OccupancyTask
from ..settings.pretrain import PretrainSettings
from ..steps.distillation import DistillationStep
from ..training.seeds import seeded
from .contrast_run import (
    contrast_step,
    term_weights,
)
from .lessons import layer_matches, lessons_of
from .stores import class_token_teacher


def build_step(
    settings: PretrainSettings, caches: list[FeatureCache], *, terms: bool = True
) -> DistillationStep:
    """All that is trained, with fresh weights from the settings' seed.

    Args:
        terms: whether the layers of the other terms than the distance are part of it, which may
            need regions.
    """
    with seeded(settings.seed, "student"):
        student = build_student(
            settings.student, settings.voxel_size, settings.patch, settings.ptv3_form
        )
    student.recompute = settings.recompute
    matches = layer_matches(settings.match, settings.caches[0]) if settings.match else []
    weights = term_weights(settings)
    lessons = lessons_of(matches, caches) if "distance" in weights else {}
    layers = 1 if settings.head == "linear" else settings.head_layers
    heads = {}
    for name, lesson in lessons.items():
        width, channels = (
            student.stage_channels(lesson.stage),
            caches[lesson.teacher].teacher.channels,
        )
        with seeded(settings.seed, "head"):
            heads[name] = ProjectionHead(width, channels, layers, settings.head_hidden)
    class_head, token_teacher = None, class_token_teacher(settings, caches)
    if token_teacher is not None:
        channels = caches[token_teacher].teacher.channels
        with seeded(settings.seed, "class token"):
            class_head = ProjectionHead(
                student.out_channels, channels, settings.head_layers, settings.head_hidden
            )
    with seeded(settings.seed, "occupancy"):
        occupancy = (
            OccupancyHead(student.out_channels, occupancy_task(settings))
            if settings.occupancy_weight
            else None
        )
    options: dict[str, Any] = {
        "loss": settings.loss,
        "weighting": settings.weighting,
        "occupancy_weight": settings.occupancy_weight,
        "augmentation": PRESETS.get(settings.augmentation),
        "mix3d": settings.mix3d,
        "align_corners": settings.align_corners,
        "lessons": list(lessons.values()),
        "class_head": class_head,
        "class_token_weight": settings.class_token_weight,
        "centre": settings.centre,
        "intensity_dropout": settings.intensity_dropout,
    }
    if not terms or weights.keys() == {"distance"}:
        return DistillationStep(student, heads, occupancy, **options)
    return contrast_step(settings, caches, student, heads, occupancy, options)


def occupancy_task(settings: PretrainSettings) -> OccupancyTask:
    """The occupancy task that the settings describe."""
    preset = {"paper": PAPER, "also": ALSO}[settings.occupancy]
    return replace(
        preset,
        count=settings.occupancy_points or preset.count,
        delta=settings.occupancy_delta,
        distance=settings.occupancy_distance,
        radius=settings.occupancy_radius,
        neighbours=settings.occupancy_neighbours or preset.neighbours,
    )
