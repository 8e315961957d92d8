"""KITTI's object benchmark: single frames of camera 2 and the LiDAR."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...cache.frame import Frame
from ...errors import CleverError
from .boxes import LabelledBoxes
from .readers.intensity import scale_option
from .readers.kitti_layout import KittiCalibration, camera_2, image_size, read_calibration
from .readers.kitti_objects import NO_BOX, KittiObjects, lidar_rows, read_objects
from .readers.sequences import check_split
from .readers.sweep_dataset import SweepDataset
from .readers.sweep_files import sweep_names
from .readers.text_rows import listed_lines

SPLITS = ("train", "val", "test")
_TRAINING, _TESTING = "training", "testing"


class KittiDataset(SweepDataset):
    """Frames of colour camera 2 and a Velodyne HDL-64, each from anywhere in the recordings, for
    pre-training: the benchmark labels boxes, not points.

    Format, under ``root``, with ``training`` and ``testing`` alike:

    - ``training/velodyne/NNNNNN.bin``: float32 x, y, z in metres (x forward, y left, z up),
      reflectance in [0, 1];
    - ``training/image_2/NNNNNN.png``: rectified colour images;
    - ``training/calib/NNNNNN.txt``: of its lines ``P2`` (3x4), ``R0_rect`` (3x3) and
      ``Tr_velo_to_cam`` (3x4); a pixel is P2 R0_rect Tr_velo_to_cam x;
    - ``training/label_2/NNNNNN.txt``, for boxes: an object a line, see `KittiObjects`;
    - ``ImageSets/train.txt`` and ``val.txt``: frame numbers, one a line. KITTI has none; the usual
      ones (3,712 and 3,769) lie in data/kitti/ImageSets of OpenPCDet (Apache-2.0).

    Splits: train and val by the lists, test (all of ``testing``, 7,518), or all of both folders.
    No point classes. Licence: CC BY-NC-SA 3.0 [R]. Every frame is a scene of its own; there are no
    times and no poses.

    Checked on real files: a scan, image and calibration of a KITTI drive laid out so; nothing of
    the benchmark's release. Scripted: a tree in its layout. [R]: remembered, not verified.

    Args:
        root: dataset folder.
        split: ``train``, ``val``, ``test`` or ``all``.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: unknown split, no sweeps, no list of the split, or a line that is no number.
    """

    name: str = "kitti"
    cameras: tuple[str, ...] = ("image_2",)

    def __init__(
        self, root: Path | str, split: str = "train", intensity_scale: str | float = 1.0
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        check_split(self.name, split, SPLITS)
        self._root = Path(root)
        self._splits = self._split_of_frame(split)
        self.frame_ids: Sequence[str] = list(self._splits)
        self.scenes: Sequence[str] = self.frame_ids

    def frame(self, index: int) -> Frame:
        frame_id = self.frame_ids[index]
        camera, _ = camera_2(
            frame_id, self._file(index, "calib", "txt"), self._file(index, "image_2", "png")
        )
        return Frame(
            frame_id,
            self.scenes[index],
            0,
            self.points(index),
            np.eye(4),
            (camera,),
            self.split_of(index),
        )

    def sweep(self, index: int) -> Path:
        return self._file(index, "velodyne", "bin")

    def objects(self, index: int) -> KittiObjects:
        """Labels of a frame as the file has them, ``DontCare`` regions too; raises FrameError where
        they cannot be read (``testing`` has none)."""
        return read_objects(self.frame_ids[index], self._file(index, "label_2", "txt"))

    def boxes(self, index: int) -> LabelledBoxes:
        """Labelled boxes of a frame in the LiDAR frame, all but ``DontCare`` regions; raises
        FrameError where labels or calibration cannot be read."""
        objects = self.objects(index)
        objects = objects[np.array([name != NO_BOX for name in objects.names], bool)]
        return LabelledBoxes(
            objects.names, lidar_rows(objects, self.calibration(index).camera0_from_lidar)
        )

    def calibration(self, index: int) -> KittiCalibration:
        """Calibration of a frame; raises FrameError where it cannot be read."""
        return read_calibration(self.frame_ids[index], self._file(index, "calib", "txt"))

    def image_size(self, index: int) -> tuple[int, int]:
        """Width and height of a frame's image, pixels; raises FrameError where there is none."""
        return image_size(self.frame_ids[index], self._file(index, "image_2", "png"))

    def split_of(self, index: int) -> str:
        return self._splits[self.frame_ids[index]]

    def _file(self, index: int, part: str, ending: str) -> Path:
        folder, number = self.frame_ids[index].split("/")
        return self._root / folder / part / f"{number}.{ending}"

    def _split_of_frame(self, split: str) -> dict[str, str]:
        """Ids of the frames of a split and the split of each; of ``all`` those of no list have
        none."""
        if split == "test":
            return self._folder(_TESTING, "test")
        if split != "all":
            return self._listed(split)
        frames = self._folder(_TRAINING, "")
        for part in SPLITS[:2]:
            if (self._root / "ImageSets" / f"{part}.txt").exists():
                part_frames = self._listed(part)
                frames |= {frame: part for frame in part_frames if frame in frames}
        testing = (self._root / _TESTING / "velodyne").is_dir()
        return frames | (self._folder(_TESTING, "test") if testing else {})

    def _folder(self, folder: str, split: str) -> dict[str, str]:
        names = sweep_names(self._root / folder / "velodyne")
        return {f"{folder}/{name}": split for name in names}

    def _listed(self, split: str) -> dict[str, str]:
        path = self._root / "ImageSets" / f"{split}.txt"
        lines = listed_lines(
            path,
            "take it from data/kitti/ImageSets of OpenPCDet, or choose `split=all` "
            "or another `dataset`",
        )
        for number, line in lines.items():
            if not line.isdecimal():
                raise CleverError(f"{path} line {number} is no frame number; restore the file")
        return {f"{_TRAINING}/{line}": split for line in lines.values()}
