"""The rules of KITTI's object benchmark as a loop over frames, thresholds, objects."""

import numpy as np

from clever.pipeline.datasets.readers.kitti_objects import KittiObjects
from clever.pipeline.detection.kitti_boxes import camera_boxes
from clever.pipeline.detection.overlap import bev_iou, iou_3d

MIN_HEIGHT, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)
COUNTED, IGNORED, ABSENT = 0, 1, -1


def rectangle_overlap(a: np.ndarray, b: np.ndarray, over_first: bool) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area = (a[2] - a[0]) * (a[3] - a[1])
    if over_first:
        return float(shared / area)
    return float(shared / (area + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def overlap_matrix(measure: str, truth: KittiObjects, found: KittiObjects) -> np.ndarray:
    if measure == "image":
        rows = [
            [rectangle_overlap(a, b, False) for b in found.image_boxes] for a in truth.image_boxes
        ]
        return np.array(rows).reshape(len(truth), len(found))
    first, second = camera_boxes(truth), camera_boxes(found)
    return (bev_iou if measure == "bev" else iou_3d)(first, second).numpy()


def truth_flag(truth: KittiObjects, i: int, category: str, level: int) -> int:
    name, target = truth.names[i].lower(), category.lower()
    box = truth.image_boxes[i]
    hidden = (
        truth.occluded[i] > MAX_OCCLUSION[level]
        or truth.truncated[i] > MAX_TRUNCATION[level]
        or box[3] - box[1] <= MIN_HEIGHT[level]
    )
    if name == target:
        return IGNORED if hidden else COUNTED
    neighbours = {("car", "van"), ("pedestrian", "person_sitting")}
    return IGNORED if (target, name) in neighbours else ABSENT


def found_flag(found: KittiObjects, j: int, category: str, level: int) -> int:
    if found.image_boxes[j, 3] - found.image_boxes[j, 1] < MIN_HEIGHT[level]:
        return IGNORED
    return COUNTED if found.names[j].lower() == category.lower() else ABSENT


def frame(
    measure: str,
    truth: KittiObjects,
    found: KittiObjects,
    category: str,
    level: int,
    minimum: float,
    threshold: float | None,
) -> tuple[list[float], int, int]:
    """Scores of hits, false alarms, counted objects; `threshold` None: the pass that gathers
    scores."""
    assert found.scores is not None
    overlaps = overlap_matrix(measure, truth, found)
    flags = [truth_flag(truth, i, category, level) for i in range(len(truth))]
    others = [found_flag(found, j, category, level) for j in range(len(found))]
    taken = [False] * len(found)
    hits: list[float] = []
    for i in range(len(truth)):
        if flags[i] == ABSENT:
            continue
        choice, best, choice_ignored = -1, -1.0, False
        for j in range(len(found)):
            if others[j] == ABSENT or taken[j] or overlaps[i, j] <= minimum:
                continue
            if threshold is None:
                if found.scores[j] > best:
                    choice, best = j, found.scores[j]
                continue
            if found.scores[j] < threshold:
                continue
            if others[j] == COUNTED and (overlaps[i, j] > best or choice_ignored):
                choice, best, choice_ignored = j, overlaps[i, j], False
            elif others[j] == IGNORED and choice == -1:
                choice, choice_ignored = j, True
        if choice >= 0:
            taken[choice] = True
            if flags[i] == COUNTED and others[choice] == COUNTED:
                hits.append(float(found.scores[choice]))
    alarms = 0
    for j in range(len(found)):
        below = threshold is not None and found.scores[j] < threshold
        if taken[j] or others[j] != COUNTED or below:
            continue
        excused = measure == "image" and any(
            name == "DontCare"
            and rectangle_overlap(found.image_boxes[j], truth.image_boxes[i], True) > minimum
            for i, name in enumerate(truth.names)
        )
        alarms += not excused
    return hits, alarms, flags.count(COUNTED)


def slow_precisions(
    measure: str,
    truth: list[KittiObjects],
    found: list[KittiObjects],
    category: str,
    level: int,
    minimum: float,
) -> tuple[float, float]:
    """AP_R40 and AP_R11 in per cent."""
    frames = list(zip(truth, found, strict=True))
    first = [frame(measure, *pair, category, level, minimum, None) for pair in frames]
    scores = sorted((score for hits, _, _ in first for score in hits), reverse=True)
    total = sum(count for _, _, count in first)
    recall, precision = 0.0, []
    for i, score in enumerate(scores):
        left = (i + 1) / total
        right = (i + 2) / total if i < len(scores) - 1 else left
        if right - recall < recall - left and i < len(scores) - 1:
            continue
        recall += 1 / 40.0
        second = [frame(measure, *pair, category, level, minimum, score) for pair in frames]
        hits = sum(len(one[0]) for one in second)
        alarms = sum(one[1] for one in second)
        precision.append(hits / (hits + alarms) if hits + alarms else 0.0)
    precision += [0.0] * (41 - len(precision))
    precision = [max(precision[i:]) for i in range(41)]
    return sum(precision[1:]) / 40 * 100, sum(precision[::4]) / 11 * 100
