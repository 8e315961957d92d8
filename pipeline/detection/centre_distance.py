"""Average precision by the distance of centres on the ground: nuScenes' mAP."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .box_frame import BoxFrame
from .detections import Detections

DISTANCES = (0.5, 1.0, 2.0, 4.0)
"""Metres within which a detection is a hit."""
_MIN_RECALL, _MIN_PRECISION = 0.1, 0.1
"""What the benchmark takes for noise: below, nothing counts."""


def centre_precisions(
    truth: Sequence[BoxFrame], results: Sequence[Detections], classes: int
) -> NDArray[np.float64]:
    """(classes, 4) in [0, 1]: average precision of every class at every one of `DISTANCES`; NaN for
    a class without ground truth (the benchmark has 0).

    mAP is the mean of them all. Which boxes count (nuScenes leaves out those without points and
    those beyond a class's range, in truth and results alike) the caller decides.

    Compared with `accumulate` and `calc_ap` of nuscenes-devkit.

    Args:
        truth: boxes of every frame.
        results: detections in the same frames, in the same order.
    """
    pairs = list(zip(truth, results, strict=True))
    return np.array(
        [
            [_precision(pairs, category, distance) for distance in DISTANCES]
            for category in range(classes)
        ]
    ).reshape(classes, len(DISTANCES))


def _precision(
    pairs: Sequence[tuple[BoxFrame, Detections]], category: int, distance: float
) -> float:
    objects, scores, hits = 0, [np.zeros(0)], [np.zeros(0, bool)]
    for frame, result in pairs:
        places = frame.boxes[frame.classes == category].centres[:, :2].double().cpu()
        same = result.classes == category
        centres = result.boxes[same].centres[:, :2].double().cpu()
        frame_scores = result.scores[same].double().cpu().numpy()
        gaps = torch.cdist(centres, places, compute_mode="donot_use_mm_for_euclid_dist").numpy()
        objects += len(places)
        scores.append(frame_scores)
        hits.append(_hits(gaps, frame_scores, distance))
    if not objects:
        return float("nan")
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order].cumsum()
    if not len(hit) or not hit[-1]:
        return 0.0
    # Precision at recalls 0, 0.01, ... 1, of which those above 0.1 count.
    steps = np.linspace(0, 1, 101)
    precision = np.interp(steps, hit / objects, hit / np.arange(1, len(hit) + 1), right=0)
    above = precision[round(100 * _MIN_RECALL) + 1 :] - _MIN_PRECISION
    return float(above.clip(0).mean() / (1 - _MIN_PRECISION))


def _hits(
    gaps: NDArray[np.float64], scores: NDArray[np.float64], distance: float
) -> NDArray[np.bool_]:
    """(D,) bool: which detections of a frame are hits. By falling score each takes the nearest
    object (gaps (D, G), metres) that is free, if that is nearer than `distance`."""
    hits, gaps = np.zeros(len(scores), bool), gaps.copy()
    for place in np.argsort(-scores, kind="stable"):
        nearest = int(gaps[place].argmin()) if gaps.shape[1] else -1
        if nearest >= 0 and gaps[place, nearest] < distance:
            hits[place] = True
            gaps[:, nearest] = np.inf
    return hits
