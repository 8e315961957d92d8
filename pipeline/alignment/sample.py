"""A quick look at the calibration of a dataset, before a long job."""

from collections.abc import Sequence

import numpy as np

from ...cache.images import load_image
from ...errors import CleverError
from ...words import quantity
from ..datasets import LidarDataset
from .score import quick_doubt
from .view import ViewPair, views_of

FRAMES = 5
"""Frames that are looked at, spread evenly; a nuScenes keyframe takes about a second. Of a drive
with one camera three were too few to notice the inverse extrinsics."""


def calibration_doubt(dataset: LidarDataset, indices: Sequence[int]) -> str:
    """What is doubtful about the calibration of some frames, by a sample of `FRAMES` of them, in
    one line; empty where nothing is. Frames that cannot be read are left to those who need them."""
    places = np.unique(np.linspace(0, len(indices) - 1, FRAMES).round().astype(int))
    pairs: list[ViewPair] = []
    frames = 0
    for number, place in enumerate(places.tolist() if len(indices) else ()):
        try:
            frame = dataset.frame(indices[place])
            images = [load_image(camera.image) for camera in frame.cameras]
        except CleverError:
            continue
        if np.isfinite(frame.points).all():
            pairs += views_of(frame, images, number)
            frames += 1
    doubt = quick_doubt(pairs)
    if not doubt:
        return ""
    return (
        f"{dataset.name}: the calibration of {quantity(frames, 'frame')} looked at seems "
        f"wrong: {doubt}; "
        "`clever doctor` draws it"
    )
