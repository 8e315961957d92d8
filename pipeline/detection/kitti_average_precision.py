"""Average precision as KITTI's object benchmark takes it: AP_R40 and AP_R11."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ..datasets.readers.kitti_objects import KittiObjects
from .kitti_boxes import camera_boxes
from .kitti_matching import (
    DIFFICULTIES,
    DONT_CARE,
    Difficulty,
    Roles,
    detection_roles,
    hit_scores,
    is_class,
    match_counts,
    truth_roles,
)
from .overlap import bev_iou, image_iou, iou_3d

Measure = Literal["image", "bev", "3d"]
"""Overlap of rectangles in the image, of footprints, or of volumes."""
Level = Literal["strict", "loose"]
CATEGORIES = ("Car", "Pedestrian", "Cyclist")
MIN_OVERLAPS: dict[Level, dict[str, float]] = {
    "strict": {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5},
    "loose": {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25},
}
"""Overlaps that a hit has to exceed. In the image the strict ones always hold."""
STEPS = 40
"""Steps of recall between thresholds; there is none beyond the number of hits, so that a class with
fewer objects does not reach 100 (the benchmark has it so)."""


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """One number of the benchmark, in per cent.

    Attributes:
        r40: mean precision at recalls 1/40, 2/40, ... 1; NaN where no ground truth counts.
        r11: the same at recalls 0, 1/10, ... 1.
        objects: how many ground-truth objects count.
    """

    category: str
    measure: Measure
    difficulty: str
    level: Level
    r40: float
    r11: float
    objects: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """Ground truth and detections of a frame with their overlaps (G, D), and how far every
    detection lies in regions that nobody labelled (D,)."""

    truth: KittiObjects
    detections: KittiObjects
    scores: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    unlabelled: NDArray[np.float64] | None


def average_precisions(
    truth: Sequence[KittiObjects],
    detections: Sequence[KittiObjects],
    categories: Sequence[str] = CATEGORIES,
    measures: Sequence[Measure] = get_args(Measure),
) -> list[AveragePrecision]:
    """The benchmark's table for all difficulties and levels; the orientation in the image (AOS) is
    not measured.

    Compared with the rules written out as a slow loop; not with the official program. Unlike it,
    a class without any counted ground truth has NaN, not 0.

    Args:
        truth: labels of every frame, with ``DontCare`` regions.
        detections: results of the same frames, in the same order.

    Raises:
        ValueError: another number of frames, or detections without scores.
    """
    table: list[AveragePrecision] = []
    for measure in measures:
        pairs = [_pair(*frame, measure) for frame in zip(truth, detections, strict=True)]
        for category in categories:
            for difficulty in DIFFICULTIES:
                for level in get_args(Level):
                    minimum = MIN_OVERLAPS["strict" if measure == "image" else level][category]
                    precision, objects = _precision(pairs, category, difficulty, minimum)
                    r40 = 100 * float(precision[1:].mean()) if objects else float("nan")
                    r11 = 100 * float(precision[::4].mean()) if objects else float("nan")
                    table.append(
                        AveragePrecision(
                            category, measure, difficulty.name, level, r40, r11, objects
                        )
                    )
    return table


def score_thresholds(scores: Sequence[float], objects: int) -> NDArray[np.float64]:
    """Scores (T,), T <= 41, at which recall comes nearest to 0, 1/40, 2/40, ...

    Args:
        scores: of the hits, in any order.
        objects: number of counted ground-truth objects.
    """
    recall, thresholds = 0.0, []
    ordered = sorted(scores, reverse=True)
    for place, score in enumerate(ordered, 1):
        # The next score would come nearer to the recall that is due: leave this one out.
        here, following = place / objects, (place + 1) / objects
        if place < len(ordered) and following - recall < recall - here:
            continue
        thresholds.append(score)
        recall += 1 / STEPS
    return np.array(thresholds, np.float64)


def _pair(truth: KittiObjects, detections: KittiObjects, measure: Measure) -> _Pair:
    if detections.scores is None:
        raise ValueError("detections need scores")
    rectangles, others = (
        torch.tensor(part.image_boxes, dtype=torch.float64) for part in (truth, detections)
    )
    unlabelled = None
    if measure == "image":
        overlaps = image_iou(rectangles, others)
        regions = rectangles[torch.from_numpy(is_class(truth, DONT_CARE))]
        shares = image_iou(others, regions, over="first").numpy()
        unlabelled = shares.max(1, initial=0.0)
    else:
        overlap = bev_iou if measure == "bev" else iou_3d
        overlaps = overlap(camera_boxes(truth), camera_boxes(detections))
    return _Pair(truth, detections, detections.scores, overlaps.numpy(), unlabelled)


def _precision(
    pairs: Sequence[_Pair], category: str, difficulty: Difficulty, minimum: float
) -> tuple[NDArray[np.float64], int]:
    """Precision (41,) at recalls 0, 1/40, ... 1, made monotone from the right, and the number of
    counted ground-truth objects."""
    roles = [
        (
            truth_roles(pair.truth, category, difficulty),
            detection_roles(pair.detections, category, difficulty),
        )
        for pair in pairs
    ]
    objects = sum(int(truth.counted.sum()) for truth, _ in roles)
    scores = [
        score
        for pair, (truth, detections) in zip(pairs, roles, strict=True)
        for score in hit_scores(pair.overlaps, pair.scores, truth, detections, minimum)
    ]
    thresholds = score_thresholds(scores, objects)
    precision = np.zeros(STEPS + 1)
    hits, alarms = _sums(pairs, roles, minimum, thresholds)
    shares = np.divide(hits, hits + alarms, out=np.zeros(len(hits)), where=hits + alarms > 0)
    precision[: len(shares)] = np.maximum.accumulate(shares[::-1])[::-1]
    return precision, objects


def _sums(
    pairs: Sequence[_Pair],
    roles: Sequence[tuple[Roles, Roles]],
    minimum: float,
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hits and false alarms (T,) of all frames at every threshold."""
    hits, alarms = np.zeros((2, len(thresholds)), np.int64)
    for pair, (truth, detections) in zip(pairs, roles, strict=True):
        excused = None if pair.unlabelled is None else pair.unlabelled > minimum
        counts = match_counts(
            pair.overlaps, pair.scores, truth, detections, minimum, thresholds, excused
        )
        hits += counts.hits
        alarms += counts.false_alarms
    return hits, alarms
