"""SemanticKITTI and every drive in the KITTI odometry layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...cache.frame import Frame
from .readers.intensity import scale_option
from .readers.kitti_layout import Drive, camera_2, frame_numbers, sequence_folders
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_dataset import SweepDataset
from .released import ReleasedFormat, ReleasedFrame
from .semantickitti_classes import CLASSES, LABEL_IDS, TABLE
from .submission import Submission

SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{number}" for number in range(11, 22)),
}
"""Sequences of the benchmark's splits; those of ``test`` have no published labels."""


class SemanticKittiDataset(SweepDataset):
    """Sequences of colour camera 2 and a Velodyne HDL-64 in the KITTI odometry layout.

    Format, under ``root`` or ``root/sequences``, one folder a sequence, any number as its name:

    - ``velodyne/NNNNNN.bin``: float32 x, y, z in metres (x forward, y left, z up), reflectance in
      [0, 1];
    - ``image_2/NNNNNN.png``: rectified colour images of any size; may be missing, then `frame`
      raises;
    - ``calib.txt``: ``P2`` (3x4 projection of camera 2) and ``Tr`` (3x4, velodyne to rectified
      camera 0), or what `kitti_layout.read_calibration` takes for them; only `frame` needs it. It
      may lie in a tree ``calib/dataset/sequences`` beside ``dataset/sequences`` instead;
    - ``labels/NNNNNN.label``: uint32, class in the lower 16 bits; may be missing;
    - ``times.txt``: seconds, one line a frame number; without it frames lie 0.1 s apart;
    - ``poses.txt``: 3x4 world <- camera 0, one line a frame number; without it the pose is the
      identity.

    Classes: the 19 of the benchmark (`CLASSES`); moving and static objects share a class;
    unlabelled, outlier, other-structure and other-object are ignored. Splits: train 00-07, 09, 10
    (19,130 scans); val 08 (4,071); test 11-21 (20,351, without labels); other sequences belong to
    none. Licence: CC BY-NC-SA 3.0 (KITTI's images and scans) and CC BY-NC-SA 4.0 (labels) [R].

    Checked on real files: a KITTI drive of 39 frames and labelled scans. [R]: remembered, not
    verified.

    Args:
        root: dataset folder.
        sequences: sequence folders, or their numbers ("8" finds "08"); they win over `split`.
        split: ``train``, ``val``, ``test`` or ``all`` (every sequence folder there is).
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: unknown split, a sequence that is not there or holds no sweeps.
    """

    name: str = "semantickitti"
    cameras: tuple[str, ...] = ("image_2",)
    class_names: tuple[str, ...] = CLASSES
    label_ids: tuple[int, ...] = LABEL_IDS
    table = TABLE
    released_format = ReleasedFormat(
        "semantickitti", 4, None, "<u4", {"fog": 21, "snow": 22, "crosstalk": 23}, TABLE
    )

    def __init__(
        self,
        root: Path | str,
        sequences: Sequence[str] | None = None,
        split: str = "train",
        intensity_scale: str | float = 1.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        folders = sequence_folders(Path(root))
        names = choose_sequences(self.name, list(folders), sequences, split, SPLITS, Path(root))
        self.drives = {name: Drive.open(folders[name]) for name in names}
        self.frame_ids: Sequence[str] = [
            f"{name}/{number}"
            for name in names
            for number in frame_numbers(folders[name] / "velodyne")
        ]
        self.scenes: Sequence[str] = [frame_id.split("/")[0] for frame_id in self.frame_ids]

    def frame(self, index: int) -> Frame:
        frame_id = self.frame_ids[index]
        drive, number = self._locate(index)
        camera, camera0_from_lidar = camera_2(frame_id, drive.calibration(), drive.image(number))
        world_from_camera0 = drive.world_from_camera0(frame_id, number)
        return Frame(
            id=frame_id,
            scene=self.scenes[index],
            timestamp=drive.timestamp(frame_id, number),
            points=self.points(index),
            global_from_lidar=np.eye(4)
            if world_from_camera0 is None
            else world_from_camera0 @ camera0_from_lidar,
            cameras=(camera,),
            split=self.split_of(index),
        )

    def sweep(self, index: int) -> Path:
        drive, number = self._locate(index)
        return drive.sweep(number)

    def label_file(self, index: int) -> Path:
        drive, number = self._locate(index)
        return drive.labels(number)

    def split_of(self, index: int) -> str:
        return split_of(self.scenes[index], SPLITS)

    def released_frame(self, index: int) -> ReleasedFrame:
        """Files of a frame here and in SemanticKITTI-C, which holds one sequence (08)."""
        drive, number = self._locate(index)
        labels = self.label_file(index)
        return ReleasedFrame(
            drive.sweep(number),
            labels if labels.exists() else None,
            Path("velodyne", f"{number}.bin"),
            Path("labels", f"{number}.label"),
        )

    def submission(self) -> Submission:
        """As semantic-kitti-api takes it: ``sequences/XX/predictions/NNNNNN.label``, raw ids."""
        names = (frame_id.split("/") for frame_id in self.frame_ids)
        return Submission(
            tuple(
                Path("sequences", scene.zfill(2), "predictions", f"{number}.label")
                for scene, number in names
            ),
            "<u4",
        )

    def _locate(self, index: int) -> tuple[Drive, str]:
        scene, number = self.frame_ids[index].split("/")
        return self.drives[scene], number
