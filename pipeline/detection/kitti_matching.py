"""KITTI's rules of who is matched with whom in one frame.

Written after the rules of the benchmark's evaluation; compared with them written out as a slow
loop and with cases by hand, not with a run of the official program.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datasets.readers.kitti_objects import KittiObjects


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Which ground truth counts.

    Attributes:
        min_height: of the rectangle in the image, pixels: ground truth has to be higher, a
            detection at least as high.
        max_occlusion, max_truncation: largest values of ground truth.
    """

    name: str
    min_height: float
    max_occlusion: float
    max_truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.3),
    Difficulty("hard", 25, 2, 0.5),
)
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}
"""Classes whose objects may be detected as another class or not, without reward or penalty."""
DONT_CARE = "dontcare"


class Roles(NamedTuple):
    """What objects of a frame are to one class and difficulty; the others take no part.

    Attributes:
        counted: (N,) bool: hits, misses and false alarms count.
        ignored: (N,) bool: they can be matched, and nothing comes of it.
    """

    counted: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


class Counts(NamedTuple):
    """(T,) int64 of every score threshold."""

    hits: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    misses: NDArray[np.int64]


def is_class(objects: KittiObjects, category: str) -> NDArray[np.bool_]:
    """(N,) bool: which objects have that name; case does not matter."""
    return np.array([name.lower() == category.lower() for name in objects.names], bool)


def within(objects: KittiObjects, difficulty: Difficulty) -> NDArray[np.bool_]:
    """(N,) bool: which ground truth is visible enough for a difficulty."""
    heights = objects.image_boxes[:, 3] - objects.image_boxes[:, 1]
    return (
        (heights > difficulty.min_height)
        & (objects.occluded <= difficulty.max_occlusion)
        & (objects.truncated <= difficulty.max_truncation)
    )


def truth_roles(objects: KittiObjects, category: str, difficulty: Difficulty) -> Roles:
    """Ground truth of the class counts where it is visible enough, and is ignored elsewhere, as
    is all of the neighbouring class."""
    same, visible = is_class(objects, category), within(objects, difficulty)
    neighbour = is_class(objects, NEIGHBOURS.get(category.lower(), ""))
    return Roles(same & visible, (same & ~visible) | neighbour)


def detection_roles(objects: KittiObjects, category: str, difficulty: Difficulty) -> Roles:
    """Detections of the class count; those too low in the image are ignored, whatever their class
    (so the benchmark has it)."""
    heights = np.abs(objects.image_boxes[:, 3] - objects.image_boxes[:, 1])
    low = heights < difficulty.min_height
    return Roles(is_class(objects, category) & ~low, low)


def hit_scores(
    overlaps: NDArray[np.float64],
    scores: NDArray[np.float64],
    truth: Roles,
    detections: Roles,
    minimum: float,
) -> list[float]:
    """Scores of the hits where no detection is left out: what thresholds are chosen from.

    Each ground truth in turn takes, of the detections that overlap it by more than `minimum` and
    are not taken, that of the highest score.

    Args:
        overlaps: (G, D).
        scores: (D,).
    """
    free = detections.counted | detections.ignored
    hits: list[float] = []
    for g in np.flatnonzero(truth.counted | truth.ignored):
        candidates = free & (overlaps[g] > minimum)
        if not candidates.any():
            continue
        choice = int(np.argmax(np.where(candidates, scores, -np.inf)))
        free[choice] = False
        if truth.counted[g] and detections.counted[choice]:
            hits.append(float(scores[choice]))
    return hits


def match_counts(
    overlaps: NDArray[np.float64],
    scores: NDArray[np.float64],
    truth: Roles,
    detections: Roles,
    minimum: float,
    thresholds: NDArray[np.float64],
    excused: NDArray[np.bool_] | None = None,
) -> Counts:
    """Hits, false alarms and misses, at every threshold of the score.

    Each ground truth in turn takes, of the detections that overlap it by more than `minimum` and
    are not taken, the counted one of the largest overlap, else the first ignored one.

    Args:
        overlaps: (G, D).
        scores: (D,).
        thresholds: (T,): detections below take no part.
        excused: (D,) bool: detections in regions where nobody looked, no false alarms.
    """
    free = (detections.counted | detections.ignored) & (scores >= thresholds[:, None])
    hits, misses = np.zeros((2, len(thresholds)), np.int64)
    for g in np.flatnonzero(truth.counted | truth.ignored):
        candidates = free & (overlaps[g] > minimum)
        counted = candidates & detections.counted
        largest = np.where(counted, overlaps[g], -1.0).argmax(1) if len(scores) else 0
        first = candidates.argmax(1) if len(scores) else 0
        any_counted, any_candidate = counted.any(1), candidates.any(1)
        choice = np.where(any_counted, largest, first)
        matched = np.flatnonzero(any_candidate)
        free[matched, choice[matched]] = False
        if truth.counted[g]:
            hits += any_counted
            misses += ~any_candidate
    alarms = free & detections.counted
    if excused is not None:
        alarms &= ~excused
    return Counts(hits, alarms.sum(1), misses)
