"""KITTI-360: drives with two rectified cameras in front and a Velodyne."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...cache.frame import Frame
from ..settings.shared.choices import ClassMean
from .kitti360_calibration import DrivePoses, Kitti360Calibration
from .readers.cameras import choose_cameras
from .readers.intensity import scale_option
from .readers.kitti_layout import FRAME_SECONDS, frame_numbers
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_dataset import SweepDataset
from .readers.sweep_files import class_table

CAMERAS = ("image_00", "image_01")
SPLITS = {
    "train": ("0000", "0002", "0003", "0004", "0005", "0006", "0007", "0009", "0010"),
    "test": ("0008", "0018"),
}
"""Drives by their numbers."""
RAW_IDS = {
    "road": (7,), "sidewalk": (8,), "building": (11, 34), "wall": (12,), "fence": (13, 35),
    "pole": (17, 37), "traffic light": (19,), "traffic sign": (20,), "vegetation": (21,),
    "terrain": (22,), "sky": (23,), "person": (24,), "rider": (25,), "car": (26,),
    "truck": (27,), "bus": (28,), "train": (31,), "motorcycle": (32,), "bicycle": (33,),
}  # fmt: skip
"""Ids of each class; garage, gate and small pole join building, fence and pole."""
_LAST_ID = 44
DRIVE = "2013_05_28_drive_{}_sync"
"""Name of a drive's folders."""
_SWEEPS = "velodyne_points/data"


class Kitti360Dataset(SweepDataset):
    """Frames of the perspective cameras and the Velodyne HDL-64, for pre-training.

    Format, under ``root``; a drive's folder is ``2013_05_28_drive_NNNN_sync``:

    - ``data_3d_raw/DRIVE/velodyne_points/data/NNNNNNNNNN.bin``: float32 x, y, z in metres,
      reflectance in [0, 1] [R]; not motion compensated;
    - ``data_2d_raw/DRIVE/image_00/data_rect/NNNNNNNNNN.png`` and ``image_01``: rectified images of
      the same moments;
    - ``calibration/perspective.txt``: ``P_rect_0k`` (3x4, of which the left 3x3 counts) and
      ``R_rect_0k`` (3x3); ``calib_cam_to_pose.txt``: ``image_0k`` (3x4, car <- camera);
      ``calib_cam_to_velo.txt``: 3x4, LiDAR <- camera 0;
    - ``data_poses/DRIVE/poses.txt``, optional: a frame number and 3x4 world <- car a line, not for
      every frame: between two lines the car is taken to move evenly. A frame before the first or
      after the last line has no pose and is reported;
    - ``data_3d_semantics_scans/DRIVE/labels/NNNNNNNNNN.label``, not of the release: uint32, class
      in the lower 16 bits, one a point of the scan. KITTI-360 labels accumulated clouds alone;
      whoever carries their ids over to scans puts them here.

    A pixel is P_rect R_rect (cam_to_pose_k^-1 cam_to_pose_0 cam_to_velo^-1) x. Frames lie 0.1 s
    apart (nominal).

    Classes: the 19 of Cityscapes by the authors' labels.py; mean over those that occur. Splits, of
    drives: test 0008 and 0018, train the nine others; the authors validate on windows within the
    training drives, which scans are not. Licence: CC BY-NC-SA 3.0 [R].

    Checked on real files: nothing. Scripted: a tree in the layout, with compositions of the
    authors' viewer written out. [R]: remembered, not verified.

    Args:
        root: dataset folder.
        sequences: drives by their numbers, such as 0 or 0000; they win over `split`.
        split: ``train``, ``test`` or ``all``.
        cameras: some of `CAMERAS`, in this order; None: both.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: unknown split or camera, a drive that is not there or holds no sweeps, or a
            poses.txt that is none.
    """

    name: str = "kitti360"
    cameras: tuple[str, ...] = CAMERAS
    class_names: tuple[str, ...] = tuple(RAW_IDS)
    label_ids: tuple[int, ...] = tuple(ids[0] for ids in RAW_IDS.values())
    class_mean: ClassMean = "present"
    table = class_table(RAW_IDS.values(), set(range(_LAST_ID + 1)))

    def __init__(
        self,
        root: Path | str,
        sequences: Sequence[str] | None = None,
        split: str = "train",
        cameras: Sequence[str] | None = None,
        intensity_scale: str | float = 1.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        self._root = Path(root)
        self.cameras = choose_cameras(self.name, cameras, CAMERAS)
        raw = self._root / "data_3d_raw"
        pattern = DRIVE.format("*")
        start, end = map(len, pattern.split("*"))
        drives = sorted(path.name[start:-end] for path in raw.glob(pattern))
        names = choose_sequences(self.name, drives, sequences, split, SPLITS, raw)
        self.frame_ids: Sequence[str] = [
            f"{name}/{sweep}"
            for name in names
            for sweep in frame_numbers(raw / DRIVE.format(name) / _SWEEPS)
        ]
        self.scenes: Sequence[str] = [frame_id.split("/")[0] for frame_id in self.frame_ids]
        self._poses = {
            name: DrivePoses.read(self._root / "data_poses" / DRIVE.format(name) / "poses.txt")
            for name in names
        }

    def frame(self, index: int) -> Frame:
        frame_id = self.frame_ids[index]
        drive, number = frame_id.split("/")
        calibration = Kitti360Calibration.read(frame_id, self._root / "calibration")
        world_from_car = self._poses[drive].world_from_car(frame_id, int(number))
        return Frame(
            id=frame_id,
            scene=drive,
            timestamp=round(int(number) * FRAME_SECONDS * 1e6),
            points=self.points(index),
            global_from_lidar=np.eye(4)
            if world_from_car is None
            else world_from_car @ calibration.car_from_lidar(frame_id),
            cameras=tuple(
                calibration.camera(
                    frame_id, name, self._file(index, "data_2d_raw", f"{name}/data_rect", "png")
                )
                for name in self.cameras
            ),
            split=self.split_of(index),
        )

    def sweep(self, index: int) -> Path:
        return self._file(index, "data_3d_raw", _SWEEPS, "bin")

    def label_file(self, index: int) -> Path:
        return self._file(index, "data_3d_semantics_scans", "labels", "label")

    def split_of(self, index: int) -> str:
        return split_of(self.scenes[index], SPLITS)

    def _file(self, index: int, part: str, folder: str, ending: str) -> Path:
        drive, number = self.frame_ids[index].split("/")
        return self._root / part / DRIVE.format(drive) / folder / f"{number}.{ending}"
