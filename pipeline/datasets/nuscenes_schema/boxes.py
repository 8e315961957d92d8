"""Boxes of nuScenes' keyframes, from the tables ``sample_annotation``, ``instance`` and
``category``."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import FrameError
from ..boxes import LabelledBoxes
from .tables import Record, RecordError, Table, read_table, record_transform

DETECTION_NAMES = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""The ten classes of the detection benchmark by category; boxes of others keep their category."""


class NuScenesBoxes:
    """Boxes of some keyframes in the global frame: about 100 bytes a box.

    A keyframe with an annotation that is incomplete loses its own boxes alone.

    Args:
        folder: of the tables.
        tokens: of the keyframes.

    Raises:
        CleverError: a table that is missing or damaged as a whole.
    """

    def __init__(self, folder: Path, tokens: Iterable[str]) -> None:
        self._folder = folder
        categories = Table("category", read_table(folder, "category"))
        instances = Table("instance", read_table(folder, "instance"))
        records: dict[str, list[Record]] = {token: [] for token in tokens}
        for record in read_table(folder, "sample_annotation"):
            sample = record.get("sample_token")
            if isinstance(sample, str) and sample in records:
                records[sample].append(record)
        self._boxes: dict[str, LabelledBoxes] = {}
        self._poses: dict[str, NDArray[np.float64]] = {}
        self._faults: dict[str, str] = {}
        for token, annotations in records.items():
            try:
                self._add(token, annotations, instances, categories)
            except (RecordError, KeyError, TypeError, ValueError) as error:
                reason = f"an annotation has no {error}" if isinstance(error, KeyError) else error
                self._faults[token] = (
                    f"sample_annotation.json: {reason}; restore the tables in {folder}"
                )

    def of(self, token: str, global_from_lidar: NDArray[np.float64]) -> LabelledBoxes:
        """Boxes of a keyframe in the LiDAR frame, in the order of the table.

        Centres are carried over exactly; the heading is projected onto the LiDAR's x-y plane, and
        the lean of a box against the LiDAR's z is left out, as no box of seven numbers has it.

        Args:
            global_from_lidar: (4, 4).

        Raises:
            FrameError: one of its annotations is missing a field or is impossible.
        """
        if fault := self._faults.get(token):
            raise FrameError(token, fault)
        boxes = self._boxes[token]
        poses = np.linalg.inv(global_from_lidar) @ self._poses[token]
        rows = boxes.rows.copy()
        rows[:, :3] = poses[:, :3, 3]
        rows[:, 6] = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
        return LabelledBoxes(boxes.names, rows, boxes.points)

    def _add(self, token: str, annotations: list[Record], instances: Table, kinds: Table) -> None:
        count = len(annotations)
        names: list[str] = []
        rows, points = np.zeros((count, 7)), np.zeros(count, np.int64)
        poses = np.zeros((count, 4, 4))
        for place, record in enumerate(annotations):
            user = f"annotation {record['token']}"
            instance = instances.get(record["instance_token"], user)
            category = str(kinds.get(instance["category_token"], user)["name"])
            names.append(DETECTION_NAMES.get(category, category))
            poses[place] = record_transform("sample_annotation", record, "this keyframe")
            width, length, height = map(float, record["size"])
            if not all(np.isfinite(size) and size > 0 for size in (width, length, height)):
                raise RecordError(f"the size of {user} is no three positive numbers")
            rows[place, 3:6] = length, width, height
            points[place] = int(record["num_lidar_pts"])
        self._boxes[token] = LabelledBoxes(tuple(names), rows, points)
        self._poses[token] = poses
