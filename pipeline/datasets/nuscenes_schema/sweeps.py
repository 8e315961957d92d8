"""Sweeps of nuScenes between its keyframes: which come before a keyframe, and where the LiDAR stood
then."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import FrameError
from .tables import LIDAR, Record, RecordError, Table, read_table, record_transform


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """One sweep.

    Attributes:
        file: relative to the dataset's root.
        timestamp: microseconds.
        global_from_lidar: (4, 4) float64.
    """

    file: str
    timestamp: int
    global_from_lidar: NDArray[np.float64]


class NuScenesSweeps:
    """The sweeps before some keyframes, by the ``prev`` of their records; earlier keyframes are
    among them.

    Args:
        folder: of the tables.
        tokens: of the keyframes' own records in sample_data.
        count: sweeps before each.

    Raises:
        CleverError: a table that is missing or damaged as a whole.
    """

    def __init__(self, folder: Path, tokens: Iterable[str], count: int) -> None:
        self._folder, self.count = folder, count
        mark = f"/{LIDAR}/"
        data = Table(
            "sample_data",
            (
                record
                for record in read_table(folder, "sample_data")
                if mark in f"/{record.get('filename', '')}"
            ),
        )
        self._chains: dict[str, list[Record]] = {}
        self._faults: dict[str, str] = {}
        for token in tokens:
            try:
                self._chains[token] = _chain(data, token, count)
            except RecordError as error:
                self._faults[token] = str(error)
        poses = {
            record.get("ego_pose_token") for chain in self._chains.values() for record in chain
        }
        self._poses = Table(
            "ego_pose",
            (pose for pose in read_table(folder, "ego_pose") if pose.get("token") in poses),
        )
        self._calibrated = Table("calibrated_sensor", read_table(folder, "calibrated_sensor"))

    def of(self, frame: str, token: str) -> list[SweepRecord]:
        """The sweeps before a keyframe, latest first; fewer at the beginning of a scene.

        Args:
            frame: id of the keyframe, for errors.
            token: of its own record in sample_data.

        Raises:
            FrameError: a record of theirs is missing or damaged.
        """
        try:
            if token in self._faults:
                raise RecordError(self._faults[token])
            return [self._record(record) for record in self._chains[token]]
        except (RecordError, KeyError, TypeError, ValueError) as error:
            raise FrameError(
                frame, f"an earlier sweep: {error}; restore the tables in {self._folder}"
            ) from error

    def _record(self, record: Record) -> SweepRecord:
        user = f"sweep {record['token']}"
        pose = self._poses.get(record.get("ego_pose_token"), user)
        calibrated = self._calibrated.get(record.get("calibrated_sensor_token"), user)
        return SweepRecord(
            str(record["filename"]),
            int(record["timestamp"]),
            record_transform("ego_pose", pose, LIDAR)
            @ record_transform("calibrated_sensor", calibrated, LIDAR),
        )


def _chain(data: Table, token: str, count: int) -> list[Record]:
    """The records before one, latest first, at most `count`."""
    chain: list[Record] = []
    record = data.get(token, "a keyframe")
    while len(chain) < count and record.get("prev"):
        record = data.get(record["prev"], f"sweep {record['token']}")
        chain.append(record)
    return chain
