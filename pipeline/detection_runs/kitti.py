"""KITTI's object benchmark: what camera 2 sees, AP_R40 by difficulty."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...errors import CleverError
from ..datasets.base import LidarDataset
from ..datasets.boxes import LabelledBoxes
from ..datasets.kitti import KittiDataset
from ..datasets.readers.kitti_objects import NO_BOX, read_objects, write_objects
from ..detection.area import Area
from ..detection.coders import KITTI_SIZES
from ..detection.detections import Detections
from ..detection.kitti_average_precision import (
    CATEGORIES,
    MIN_OVERLAPS,
    STEPS,
    AveragePrecision,
    Level,
    Measure,
    average_precisions,
)
from ..detection.kitti_boxes import kitti_objects
from ..detection.kitti_matching import DIFFICULTIES, within
from .benchmark import DetectionBenchmark, ScoreTable, Sizes, mean_row
from .camera_view import camera_view

RESULTS = "results"
"""Folder in a run's with the files that KITTI's programs read."""
_TITLES: dict[Measure, str] = {"3d": "3D AP_R40 %", "bev": "bird's-eye-view AP_R40 %"}
MEAN = "mean, moderate"


class FrontView:
    """KITTI's frames with the points that camera 2 sees; what is not said here is theirs.

    Camera 2's image is what KITTI's labels were made in: boxes outside it are not labelled.
    """

    def __init__(self, dataset: KittiDataset) -> None:
        self.dataset = dataset
        self.name, self.cameras = dataset.name, dataset.cameras
        self.class_names, self.frame_ids = dataset.class_names, dataset.frame_ids
        self.scenes = dataset.scenes

    def __len__(self) -> int:
        return len(self.dataset)

    def frame(self, index: int) -> Frame:
        return self.dataset.frame(index)

    def points(self, index: int) -> NDArray[np.float32]:
        """(P, 4): the points that fall into the image of camera 2; raises FrameError."""
        view = camera_view(self.dataset, index)
        return view.points(self.dataset.points(index))

    def has_labels(self, index: int) -> bool:
        return self.dataset.has_labels(index)

    def labels(self, index: int) -> NDArray[np.uint8]:
        return self.dataset.labels(index)

    def boxes(self, index: int) -> LabelledBoxes:
        return self.dataset.boxes(index)


class KittiBenchmark(DetectionBenchmark[FrontView]):
    """Cars, pedestrians and cyclists; settings of PointRCNN in OpenPCDet."""

    class_names = CATEGORIES
    area = Area((0.0, -40.0, -3.0), (70.4, 40.0, 1.0))
    bank: Mapping[int, int] = {0: 20, 1: 15, 2: 15}
    cell = 0.4
    rule = (
        "matched by the rules of KITTI's object benchmark, points and boxes of camera 2's view, "
        "summary: mean of the classes at moderate"
    )

    def frames(self, dataset: LidarDataset) -> FrontView:
        """Raises CleverError for another dataset."""
        if not isinstance(dataset, KittiDataset):
            raise CleverError(f"{dataset.name} is not laid out as KITTI's object benchmark")
        return FrontView(dataset)

    def seen(self, dataset: LidarDataset, index: int) -> NDArray[np.float32]:
        """Points that the camera sees, as in training; all where the dataset has no camera."""
        points = dataset.points(index)
        return camera_view(dataset, index).points(points) if dataset.cameras else points

    def banked(self, frames: FrontView, index: int) -> NDArray[np.bool_]:
        """Boxes that are visible enough for the hard level."""
        objects = frames.dataset.objects(index)
        objects = objects[np.array([name != NO_BOX for name in objects.names], bool)]
        return np.any([within(objects, difficulty) for difficulty in DIFFICULTIES], 0)

    def sizes(self, boxes: Sequence[NDArray[np.float64]]) -> Sizes:
        """Those of OpenPCDet, whatever the training boxes are."""
        return KITTI_SIZES

    def measure(
        self, frames: FrontView, results: Mapping[int, Detections], folder: Path
    ) -> list[ScoreTable]:
        """AP_R40 in space and from above, strict and loose, of the files in ``results``."""
        dataset = frames.dataset
        truth, detections = [], []
        for index, result in results.items():
            name = dataset.frame_ids[index]
            path = folder / RESULTS / f"{name.rpartition('/')[2]}.txt"
            objects = kitti_objects(
                result.boxes,
                result.names(self.class_names),
                result.scores,
                dataset.calibration(index),
                dataset.image_size(index),
            )
            write_objects(path, objects)
            truth.append(dataset.objects(index))
            detections.append(read_objects(name, path, scored=True))
        table = average_precisions(truth, detections, measures=tuple(_TITLES))
        return [
            _score_table([one for one in table if (one.measure, one.level) == (measure, level)])
            for measure in _TITLES
            for level in get_args(Level)
        ]


def _score_table(precisions: Sequence[AveragePrecision]) -> ScoreTable:
    """Figures of one measure and level: classes by difficulties, then their mean at moderate."""
    first = precisions[0]
    overlaps = " / ".join(f"{overlap:g}" for overlap in MIN_OVERLAPS[first.level].values())
    scores = {
        f"{one.category}, {one.difficulty}": None if np.isnan(one.r40) else one.r40
        for one in precisions
    }
    moderate = {name: score for name, score in scores.items() if name.endswith("moderate")}
    title = f"{_TITLES[first.measure]}, overlaps {overlaps} ({first.level})"
    few = [
        f"{one.category}, {one.difficulty} ({one.objects})"
        for one in precisions
        if 0 < one.objects < STEPS
    ]
    note = f"fewer than {STEPS} objects, so that no detector reaches 100: {'; '.join(few)}"
    mean = {MEAN: mean_row(moderate)}
    return ScoreTable(title=title, scores=scores | mean, note=note if few else "")
