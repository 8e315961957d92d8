"""Datasets whose frames are corrupted: as they are read, or as a published set holds them."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...errors import CleverError, FrameError
from ..corruptions.registry import CORRUPTIONS, SEVERITIES, Dose, corrupt
from ..corruptions.sweep import Corrupted
from ..datasets.base import LidarDataset
from ..datasets.readers.sweep_checks import FARTHEST, sweep_fault
from ..datasets.readers.sweep_files import training_labels
from ..datasets.released import ReleasedFormat, released_format, released_frame
from ..settings.shared.choices import CorruptionName, SensorName, Severity
from .clean_sweeps import clean_sweep, raw_rows

SAME_LABELS: frozenset[CorruptionName] = frozenset({"motion_blur"})
"""Corruptions that leave every point, its place in the file and its label."""
Cloud = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""Points (M, 4) and training labels (M,)."""


class CorruptedDataset:
    """The frames of another dataset, corrupted; what is not said here is the other's.

    Points farther from the sensor than a student can count, which fog and crosstalk make of a few,
    are left out of points and labels; they take no part in the metric anyway.

    Attributes:
        left_out: points left out by frame, of the frames that were read.
    """

    def __init__(self, dataset: LidarDataset) -> None:
        self.dataset = dataset
        self.name, self.cameras = dataset.name, dataset.cameras
        self.class_names, self.frame_ids = dataset.class_names, dataset.frame_ids
        self.scenes = dataset.scenes
        self.left_out: dict[str, int] = {}
        self._newest = lru_cache(maxsize=1)(self._cloud)

    def corrupted_cloud(self, index: int) -> Cloud:
        """Points and labels of a frame before any is left out; raises FrameError."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.dataset)

    def frame(self, index: int) -> Frame:
        """The frame with corrupted points; images are as they were."""
        frame = self.dataset.frame(index)
        cameras = tuple(replace(camera, projected=None) for camera in frame.cameras)
        return replace(frame, points=self.points(index), cameras=cameras)

    def points(self, index: int) -> NDArray[np.float32]:
        """(M, 4) as `LidarDataset.points`, but intensities may lie outside [0, 1]."""
        return self._newest(index)[0]

    def has_labels(self, index: int) -> bool:
        return self.dataset.has_labels(index)

    def labels(self, index: int) -> NDArray[np.uint8]:
        return self._newest(index)[1]

    def _cloud(self, index: int) -> Cloud:
        frame = self.frame_ids[index]
        points, labels = self.corrupted_cloud(index)
        near = (np.abs(points[:, :3]) < FARTHEST).all(1)
        self.left_out[frame] = int((~near).sum())
        points, labels = points[near], labels[near]
        if fault := sweep_fault(points[:, :3]):
            raise FrameError(frame, f"its corrupted sweep {fault}")
        return points, labels


class CorruptedFrames(CorruptedDataset):
    """Frames that are corrupted as they are read.

    Args:
        dataset: the clean frames.
        dose: what is done to them.
        sensor: whose lasers the dataset has, where it does not record them.
        seed: of all draws; each depends on the frame's id besides.
    """

    def __init__(self, dataset: LidarDataset, dose: Dose, sensor: SensorName, seed: int) -> None:
        super().__init__(dataset)
        self.dose, self.seed = dose, seed
        self.sensor: SensorName = sensor
        self.words: dict[str, str] = {}

    def corrupted(self, index: int, labels: NDArray[np.uint8] | None) -> Corrupted:
        """What becomes of a frame.

        Args:
            labels: (N,) of the clean frame, or None.

        Raises:
            FrameError: it cannot be read, or lacks the labels that this corruption needs.
        """
        frame = self.frame_ids[index]
        if labels is None and CORRUPTIONS[self.dose.name].labels:
            raise FrameError(frame, f"{self.dose.name} needs labels, and the frame has none")
        sweep, self.words[frame] = clean_sweep(self.dataset, index, self.sensor, self.seed, labels)
        return corrupt(sweep, self.dose, seed=self.seed, frame=frame)

    def corrupted_cloud(self, index: int) -> Cloud:
        labels = self.dataset.labels(index)
        result = self.corrupted(index, labels)
        return result.points, result.labels(labels)


class ReleasedFrames(CorruptedDataset):
    """Frames of nuScenes-C or SemanticKITTI-C, read in place.

    A set of a corruption that changes no label may come without label files; its frames then have
    those of the clean ones.

    Attributes:
        clean_labels: whether a frame that was read has the clean one's labels.

    Args:
        dataset: the clean dataset, which says which frames there are.
        root: of the set; it holds ``<corruption>/<severity>``.

    Raises:
        CleverError: the dataset has no such set, or the folder is not there.
    """

    def __init__(
        self, dataset: LidarDataset, root: Path, corruption: CorruptionName, severity: Severity
    ) -> None:
        super().__init__(dataset)
        released = released_format(dataset)
        if released is None:
            raise CleverError(
                f"there is no published corrupted set of {dataset.name}; leave `corrupted_root` out"
            )
        self.released: ReleasedFormat = released
        self.folder = root / corruption / severity
        self.clean_labels = False
        self._clean_will_do = corruption in SAME_LABELS
        self._table = released.corrupted_table()
        if not self.folder.is_dir():
            raise CleverError(
                f"there is no folder {self.folder}; pass another `corrupted_root` or other "
                "`corruptions`"
            )

    def corrupted_cloud(self, index: int) -> Cloud:
        frame, files = self.frame_ids[index], released_frame(self.dataset, index)
        path = self.folder / files.corrupted_sweep
        rows = raw_rows(frame, path, "<f4", self.released.columns)
        points = rows[:, :4].astype(np.float32)
        points[:, 3] /= self.dataset.intensity_scale  # type: ignore[attr-defined]
        if not np.isfinite(points).all():
            raise FrameError(frame, f"sweep {path} holds NaN or infinite values; restore the file")
        label_file = self.folder / files.corrupted_labels
        if self._clean_will_do and not label_file.parent.is_dir():
            labels = self.dataset.labels(index)
            label_file = files.labels or label_file
            self.clean_labels = True
        else:
            raw = raw_rows(frame, label_file, self.released.label_dtype, 1)[:, 0]
            labels = training_labels(frame, label_file, raw, self._table)
        if len(labels) != len(points):
            raise FrameError(
                frame,
                f"{label_file} holds {len(labels)} labels but {path} {len(points)} points; restore "
                "the pair",
            )
        return points, labels


def released_parts(root: Path) -> list[tuple[CorruptionName, Severity]]:
    """Corruptions and severities that the folder of a set holds, in the order of the tables.

    Raises:
        CleverError: none.
    """
    parts: list[tuple[CorruptionName, Severity]] = [
        (name, severity)
        for name in CORRUPTIONS
        for severity in SEVERITIES
        if (root / name / severity).is_dir()
    ]
    if not parts:
        raise CleverError(
            f"{root} holds no <corruption>/<severity> folder such as fog/light; pass another "
            "`corrupted_root`"
        )
    return parts
