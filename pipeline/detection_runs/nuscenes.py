"""Boxes of nuScenes and of generated drives: mAP by the distance of centres."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import CleverError
from ...files import atomic_write
from ..datasets.base import LidarDataset
from ..datasets.nuscenes import NuScenesDataset
from ..detection.area import Area
from ..detection.box_frame import BoxFrame, box_frame
from ..detection.boxes import Boxes
from ..detection.centre_distance import DISTANCES, centre_precisions
from ..detection.detections import Detections
from .benchmark import DetectionBenchmark, ScoreTable, Sizes, mean_row

RESULTS = "detections.json"
"""File in a run's folder: boxes of every frame in its LiDAR frame."""
RANGES = {
    "car": 50.0,
    "truck": 50.0,
    "construction_vehicle": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "barrier": 30.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "pedestrian": 40.0,
    "traffic_cone": 30.0,
}
"""Metres on the ground within which boxes of a class count."""
_BANK = (2, 3, 7, 4, 6, 2, 6, 6, 2, 2)
MEAN = "mAP"


class NuScenesBenchmark(DetectionBenchmark[NuScenesDataset]):
    """The ten classes of the detection benchmark; area and objects of the bank are CenterPoint's.

    Only mAP is measured: there is no velocity and no attribute, so no NDS. Distances are taken from
    the LiDAR, where the benchmark has the ego's origin a metre from it; bicycles in racks count.
    """

    class_names = tuple(RANGES)
    area = Area((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0))
    bank: Mapping[int, int] = dict(enumerate(_BANK))
    cell = 0.6
    rule = (
        "hits by the distance of centres (0.5, 1, 2, 4 m), boxes with points within the classes' "
        "ranges from the LiDAR, mean over the classes that occur"
    )

    def frames(self, dataset: LidarDataset) -> NuScenesDataset:
        """Raises CleverError for another dataset, or tables of boxes that cannot be read."""
        if not isinstance(dataset, NuScenesDataset):
            raise CleverError(f"{dataset.name} is not laid out as nuScenes")
        dataset.load_boxes()
        return dataset

    def banked(self, frames: NuScenesDataset, index: int) -> NDArray[np.bool_]:
        """All boxes."""
        return np.ones(len(frames.boxes(index)), bool)

    def sizes(self, boxes: Sequence[NDArray[np.float64]]) -> Sizes:
        """Means of the training boxes; 1 m of a class without any, which is never learnt."""
        means = [rows.mean(0) if len(rows) else np.ones(3) for rows in boxes]
        return tuple((float(x), float(y), float(z)) for x, y, z in means)

    def measure(
        self, frames: NuScenesDataset, results: Mapping[int, Detections], folder: Path
    ) -> list[ScoreTable]:
        """mAP, and AP of every class, of what lies in ``detections.json``."""
        path = folder / RESULTS
        content = {
            frames.frame_ids[index]: one.records(self.class_names) for index, one in results.items()
        }
        atomic_write(path, json.dumps(content) + "\n")
        records = json.loads(path.read_text(encoding="utf-8"))
        truth, detections = [], []
        for index in results:
            cloud = torch.zeros(0, 4)
            frame = box_frame(cloud, frames.boxes(index), self.class_names)
            near = self._near(frame.boxes, frame.classes)
            truth.append(BoxFrame(cloud, frame.boxes[near], frame.classes[near]))
            detections.append(self._read(records[frames.frame_ids[index]]))
        precisions = 100 * centre_precisions(truth, detections, len(self.class_names))
        by_class = {
            name: None if np.isnan(row).any() else float(row.mean())
            for name, row in zip(self.class_names, precisions, strict=True)
        }
        by_distance = {
            f"{distance:g} m": None if np.isnan(column).all() else float(np.nanmean(column))
            for distance, column in zip(DISTANCES, precisions.T, strict=True)
        }
        return [
            ScoreTable(title="AP %", scores={**by_class, MEAN: mean_row(by_class)}),
            ScoreTable(
                title="AP %, mean over the classes, by distance",
                scores={**by_distance, MEAN: mean_row(by_distance)},
            ),
        ]

    def _read(self, rows: Sequence[Mapping[str, object]]) -> Detections:
        """Detections of a frame within the ranges of their classes."""
        classes = torch.tensor([self.class_names.index(str(row["name"])) for row in rows])
        classes = classes.to(torch.int64)
        boxes = Boxes(torch.tensor([row["box"] for row in rows]).float().reshape(-1, 7))
        scores = torch.tensor([row["score"] for row in rows]).float()
        near = self._near(boxes, classes)
        return Detections(boxes[near], scores[near], classes[near])

    def _near(self, boxes: Boxes, classes: torch.Tensor) -> torch.Tensor:
        """(N,) bool: which boxes lie within the range of their class."""
        ranges = torch.tensor(list(RANGES.values()))[classes]
        return boxes.centres[:, :2].norm(dim=1) < ranges
