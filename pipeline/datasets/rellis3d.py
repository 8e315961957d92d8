"""RELLIS-3D: off-road drives of a robot with a camera, an Ouster and a Velodyne."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...errors import CleverError, FrameError
from .readers.intensity import scale_option
from .readers.kitti_layout import pose_of, table_lines
from .readers.sequences import check_split
from .readers.sweep_dataset import SweepDataset
from .readers.sweep_files import class_table
from .readers.text_rows import listed_lines
from .rellis3d_calibration import CAMERA, CalibrationFiles

SPLITS = ("train", "val", "test")
OFFICIAL = {
    "grass": (3,), "tree": (4,), "pole": (5,), "water": (6,), "vehicle": (8,), "log": (15,),
    "person": (17,), "fence": (18,), "bush": (19,), "concrete": (23,), "barrier": (27,),
    "puddle": (31,), "mud": (33,), "rubble": (34,),
}  # fmt: skip
"""Raw ids of the 14 classes of the LiDAR benchmark."""
SEAL = {
    "dirt": (1,), "grass": (3,), "tree": (4,), "pole": (5,), "water": (6,), "sky": (7,),
    "vehicle": (8,), "object": (9,), "asphalt": (10,), "building": (12,), "log": (15,),
    "person": (17,), "fence": (18,), "bush": (19,), "concrete": (23,), "barrier": (27,),
    "puddle": (31,), "mud": (33,), "rubble": (34,),
}  # fmt: skip
"""Raw ids of the 19 classes of Seal and OLIVINE, and so of the paper's Table 6."""
_CLASSES = {"official": OFFICIAL, "seal": SEAL}
_VOID = 0
_LINE = re.compile(r"([^/\s]+)/os1_[^/\s]+/(\d+)\.bin\s+(\S+/os1_\S+)")
_IMAGE = re.compile(r"frame(\d+)-(\d+)_(\d+)\.jpg")


@dataclass(frozen=True, slots=True)
class _Sensor:
    """How the folders of a LiDAR begin, and its intensities."""

    prefix: str
    scale: float
    bounded: bool


LIDARS = {"ouster": _Sensor("os1", 0.01, False), "velodyne": _Sensor("vel", 255.0, True)}
"""The two LiDARs; labels of the Velodyne were transferred from the Ouster's."""


class Rellis3dDataset(SweepDataset):
    """Scans of an Ouster OS1-64, or of a Velodyne Ultra Puck, and a Basler camera (1920 x 1200).

    Format, under ``root``:

    - ``pt_train.lst``, ``pt_val.lst``, ``pt_test.lst``: lines of two paths, a cloud's and its
      labels'; they come from the "Ouster LiDAR Split File" of the authors' README;
    - ``SEQUENCE/os1_cloud_node_kitti_bin/NNNNNN.bin``: float32 x, y, z in metres, intensity; a full
      grid of 64 x 2048, in which beams without return are (0, 0, 0). Their rows are dropped,
      together with their labels;
    - ``SEQUENCE/os1_cloud_node_semantickitti_label_id/NNNNNN.label``: uint32, class in the lower 16
      bits; may be missing;
    - ``vel_cloud_node_kitti_bin`` and ``vel_cloud_node_semantickitti_label_id`` likewise;
    - ``SEQUENCE/pylon_camera_node/frameNNNNNN-SECONDS_MILLISECONDS.jpg``: images as the lens shows
      them, matched by frame number; a frame has its image's time;
    - ``SEQUENCE/poses.txt``, optional: 3x4 world <- Ouster, one line a frame number [R];
    - ``camera_info.txt``, ``transforms.yaml`` and ``vel2os1.yaml``: see `CalibrationFiles`.

    Intensity: the Ouster's files hold its signal / 65535, no more than 0.0115 in the example of the
    authors' repository, and end nowhere in particular: intensity is tanh(value / 0.01). The
    Velodyne's lie in 0-255.

    Classes: the 14 of the authors' LiDAR benchmark, or with ``classes=seal`` the 19 of Seal and
    OLIVINE, which the paper's Table 6 has; the two are not comparable. Of the 19, dirt and sky have
    no LiDAR point, and object, building and asphalt 491 of 1.0e9. Mean over all classes: one that
    is absent counts 0. The means in the authors' README (SalsaNext 40.20, KPConv 18.64) are sums of
    the 14 divided by 15.

    Splits: 7,800 train, 2,413 val, 3,343 test scans [R], 13,556 in all. Licence: CC BY-NC-SA 3.0.

    Checked on real files, the example of the authors' repository (one scan of each LiDAR with its
    image): no-returns, labels, intensities, and both LiDARs drawn onto the image, which fit; the
    camera sees a tenth of the points. The Ouster is mounted turned by half a turn. Scripted: a tree
    in the layout of the README. [R]: remembered, not verified.

    Args:
        root: dataset folder.
        split: ``train``, ``val``, ``test`` or ``all``.
        lidar: ``ouster`` or ``velodyne``.
        classes: ``official`` or ``seal``.
        intensity_scale: of the Ouster, the value that becomes tanh(1) = 0.76; of the Velodyne, that
            of full intensity; a positive number. None: 0.01 and 255.

    Raises:
        CleverError: unknown split, LiDAR or classes, no list of the split, or a line that is none.
    """

    name: str = "rellis3d"
    cameras: tuple[str, ...] = (CAMERA,)
    class_names: tuple[str, ...] = tuple(OFFICIAL)
    label_ids: tuple[int, ...] = tuple(ids[0] for ids in OFFICIAL.values())

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        lidar: str = "ouster",
        classes: str = "official",
        intensity_scale: str | float | None = None,
    ) -> None:
        check_split(self.name, split, SPLITS)
        _check_choice("lidar", lidar, LIDARS)
        _check_choice("classes", classes, _CLASSES)
        self._root, self._sensor = Path(root), LIDARS[lidar]
        self.bounded = self._sensor.bounded
        self.intensity_scale = scale_option(
            self._sensor.scale if intensity_scale is None else intensity_scale
        )
        groups = _CLASSES[classes]
        self.class_names = tuple(groups)
        self.label_ids = tuple(ids[0] for ids in groups.values())
        ignored = {raw for group in SEAL.values() for raw in group} | {_VOID}
        self.table = class_table(groups.values(), ignored)
        parts = SPLITS if split == "all" else (split,)
        self._scans = _listed(self._root, parts, self._sensor.prefix)
        self.frame_ids: Sequence[str] = list(self._scans)
        self.scenes: Sequence[str] = [frame_id.split("/")[0] for frame_id in self.frame_ids]
        sequences = dict.fromkeys(self.scenes)
        self._images = {name: _images(self._root / name / CAMERA) for name in sequences}
        self._calibration = {name: CalibrationFiles.of(self._root, name) for name in sequences}
        self._poses = {name: table_lines(self._root / name / "poses.txt") for name in sequences}

    def frame(self, index: int) -> Frame:
        frame_id = self.frame_ids[index]
        sequence, number = frame_id.split("/")
        image, time = self._image(frame_id)
        calibration = self._calibration[sequence]
        ouster_from_lidar = (
            np.eye(4)
            if self._sensor == LIDARS["ouster"]
            else calibration.ouster_from_velodyne(frame_id)
        )
        poses, pose = self._poses[sequence], np.eye(4)
        if poses is not None:
            path = self._root / sequence / "poses.txt"
            pose = pose_of(frame_id, poses, path, number) @ ouster_from_lidar
        return Frame(
            id=frame_id,
            scene=sequence,
            timestamp=time,
            points=self.points(index),
            global_from_lidar=pose,
            cameras=(calibration.camera(frame_id, image, ouster_from_lidar),),
            split=self.split_of(index),
        )

    def points(self, index: int) -> NDArray[np.float32]:
        points = super().points(index)
        return points[_returns(points)]

    def labels(self, index: int) -> NDArray[np.uint8]:
        return super().labels(index)[_returns(super().points(index))]

    def sweep(self, index: int) -> Path:
        return self._root / self._scans[self.frame_ids[index]].cloud

    def label_file(self, index: int) -> Path:
        return self._root / self._scans[self.frame_ids[index]].labels

    def split_of(self, index: int) -> str:
        return self._scans[self.frame_ids[index]].split

    def _image(self, frame_id: str) -> tuple[Path, int]:
        """The image of a frame and its time in microseconds; raises FrameError where there is not
        exactly one."""
        sequence, number = frame_id.split("/")
        folder = self._root / sequence / CAMERA
        names = self._images[sequence].get(int(number), [])
        if len(names) != 1:
            fault = (
                f"several images {', '.join(names)}" if names else f"no image frame{number}-*.jpg"
            )
            raise FrameError(frame_id, f"{fault} in {folder}; restore the one of this frame")
        match = _IMAGE.fullmatch(names[0])
        assert match
        seconds, milliseconds = map(int, match.groups()[1:])
        return folder / names[0], seconds * 1_000_000 + milliseconds * 1000


@dataclass(frozen=True, slots=True)
class _Scan:
    """Where a list says that a cloud and its labels lie, and the list's split."""

    cloud: str
    labels: str
    split: str


def _returns(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) bool: rows of points (N, 4) that are no beam without return."""
    return points[:, :3].any(1)


def _check_choice(option: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise CleverError(
            f"`dataset_option={option}={value}` is none of {' and '.join(choices)}; choose one"
        )


def _listed(root: Path, splits: Sequence[str], prefix: str) -> dict[str, _Scan]:
    """Scans of some lists by the ids of their frames; the Velodyne's lie beside the Ouster's.

    Raises:
        CleverError: there is no list, a line is not two paths, or a frame comes twice.
    """
    remedy = "unpack the Ouster LiDAR Split File of RELLIS-3D's README into this folder"
    scans: dict[str, _Scan] = {}
    for split in splits:
        path = root / f"pt_{split}.lst"
        for number, line in listed_lines(path, remedy).items():
            match = _LINE.fullmatch(line)
            if not match:
                raise CleverError(
                    f"{path} line {number} is not SEQUENCE/os1_cloud_node_kitti_bin/NUMBER.bin and "
                    "the path of its labels; restore the file"
                )
            sequence, frame, labels = match.groups()
            frame_id = f"{sequence}/{frame}"
            if frame_id in scans:
                raise CleverError(
                    f"{path} line {number}: frame {frame_id} is listed twice; restore the lists"
                )
            cloud = line.split()[0].replace("/os1_", f"/{prefix}_", 1)
            scans[frame_id] = _Scan(cloud, labels.replace("/os1_", f"/{prefix}_", 1), split)
    return scans


def _images(folder: Path) -> dict[int, list[str]]:
    """Names of images by the frame number in them; empty where there is no folder."""
    names: dict[int, list[str]] = {}
    for path in sorted(folder.glob("frame*.jpg")):
        if match := _IMAGE.fullmatch(path.name):
            names.setdefault(int(match[1]), []).append(path.name)
    return names
