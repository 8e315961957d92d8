"""SemanticKITTI and every drive in the KITTI odometry layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...errors import CleverError
from ..settings.choices import ClassMean
from .base import IGNORE
from .intensity import scale_option
from .kitti_layout import (
    Drive,
    frame_numbers,
    image_size,
    read_calibration,
    same_number,
    sequence_folders,
)
from .sweep_files import count_points, label_table, read_labels, read_sweep

SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{number}" for number in range(11, 22)),
}
"""Sequences of the benchmark's splits; those of ``test`` have no published labels."""

_RAW_IDS = {
    "car": (10, 252),
    "bicycle": (11,),
    "motorcycle": (15,),
    "truck": (18, 258),
    "other-vehicle": (13, 16, 20, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 253),
    "motorcyclist": (32, 255),
    "road": (40, 60),
    "parking": (44,),
    "sidewalk": (48,),
    "other-ground": (49,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "terrain": (72,),
    "pole": (80,),
    "traffic-sign": (81,),
}
"""Raw ids of each class; moving objects (252-259) join their class, lane markings (60) the road."""
CLASSES = tuple(_RAW_IDS)
_UNLABELLED = (0, 1, 52, 99)
_TABLE = label_table(
    dict.fromkeys(_UNLABELLED, IGNORE)
    | {raw: label for label, ids in enumerate(_RAW_IDS.values()) for raw in ids}
)
_COLUMNS = 4


class SemanticKittiDataset:
    """Sequences of colour camera 2 and a Velodyne HDL-64 in the KITTI odometry layout.

    Format, under ``root`` or ``root/sequences``, one folder a sequence, any number as its name:

    - ``velodyne/NNNNNN.bin``: float32 x, y, z in metres (x forward, y left, z up), reflectance in
      [0, 1];
    - ``image_2/NNNNNN.png``: rectified colour images of any size; may be missing, then `frame`
      raises;
    - ``calib.txt``: ``P2`` (3x4 projection of camera 2) and ``Tr`` (3x4, velodyne to rectified
      camera 0), or what `kitti_layout.read_calibration` takes for them; only `frame` needs it;
    - ``labels/NNNNNN.label``: uint32, class in the lower 16 bits; may be missing;
    - ``times.txt``: seconds, one line a frame number; without it frames lie 0.1 s apart;
    - ``poses.txt``: 3x4 world <- camera 0, one line a frame number; without it the pose is the
      identity.

    Classes: the 19 of the benchmark (`CLASSES`); moving and static objects share a class;
        unlabelled, outlier,
    other-structure and other-object are ignored. Splits: train 00-07, 09, 10; val 08; test 11-21
    (without labels); other sequences belong to none.

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
    class_mean: ClassMean = "all"

    def __init__(
        self,
        root: Path | str,
        sequences: Sequence[str] | None = None,
        split: str = "train",
        intensity_scale: str | float = 1.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        folders = sequence_folders(Path(root))
        names = _sequence_names(list(folders), sequences, split, Path(root))
        self._drives = {name: Drive.open(folders[name]) for name in names}
        self.frame_ids: Sequence[str] = [
            f"{name}/{number}" for name in names for number in frame_numbers(folders[name])
        ]
        self.scenes: Sequence[str] = [frame_id.split("/")[0] for frame_id in self.frame_ids]

    def __len__(self) -> int:
        return len(self.frame_ids)

    def frame(self, index: int) -> Frame:
        frame_id = self.frame_ids[index]
        drive, number = self._locate(index)
        calibration = read_calibration(frame_id, drive.folder / "calib.txt")
        image = drive.image(number)
        width, height = image_size(frame_id, image)
        intrinsics, camera_from_lidar = calibration.camera2(frame_id, image, width, height)
        world_from_camera0 = drive.world_from_camera0(frame_id, number)
        return Frame(
            id=frame_id,
            scene=self.scenes[index],
            timestamp=drive.timestamp(frame_id, number),
            points=self.points(index),
            global_from_lidar=np.eye(4)
            if world_from_camera0 is None
            else world_from_camera0 @ calibration.camera0_from_lidar,
            cameras=(Camera(self.cameras[0], image, width, height, intrinsics, camera_from_lidar),),
            split=_split_of(self.scenes[index]),
        )

    def points(self, index: int) -> NDArray[np.float32]:
        drive, number = self._locate(index)
        return read_sweep(
            self.frame_ids[index], drive.sweep(number), _COLUMNS, self.intensity_scale
        )

    def has_labels(self, index: int) -> bool:
        drive, number = self._locate(index)
        return drive.labels(number).exists()

    def labels(self, index: int) -> NDArray[np.uint8]:
        frame_id = self.frame_ids[index]
        drive, number = self._locate(index)
        count = count_points(frame_id, drive.sweep(number), _COLUMNS)
        return read_labels(frame_id, drive.labels(number), "<u4", _TABLE, count)

    def _locate(self, index: int) -> tuple[Drive, str]:
        scene, number = self.frame_ids[index].split("/")
        return self._drives[scene], number


def _split_of(sequence: str) -> str:
    """The benchmark's split of a sequence; empty where it is in none."""
    return next((split for split, names in SPLITS.items() if same_number(sequence, names)), "")


def _sequence_names(
    folders: Sequence[str], sequences: Sequence[str] | None, split: str, root: Path
) -> list[str]:
    """Folders of the sequences asked for, each once; `sequences` win over `split`.

    Raises:
        CleverError: a sequence that is not there, or that several folders may be; an unknown split,
            or one without a folder.
    """
    contents = f"{root} holds sequences {', '.join(folders)}"
    if sequences:
        places = {name: same_number(name, folders) for name in sequences}
        if missing := [name for name, candidates in places.items() if not candidates]:
            raise CleverError(
                f"no sequence {', '.join(missing)}: {contents}; choose among them with `sequences`"
            )
        for name, candidates in places.items():
            if len(candidates) > 1:
                raise CleverError(
                    f"sequence {name} may be {' or '.join(candidates)}: {contents}; write it as "
                    "its folder is called"
                )
        return list(
            dict.fromkeys(folder for candidates in places.values() for folder in candidates)
        )
    if split == "all":
        return list(folders)
    if split not in SPLITS:
        choices = ", ".join(SPLITS)
        raise CleverError(f"semantickitti has no split {split!r}; choose {choices} or all")
    names = [folder for name in SPLITS[split] for folder in _of_number(name, folders)]
    if not names:
        raise CleverError(
            f"no sequence of split {split!r}: {contents}; choose with `sequences` or `split=all`"
        )
    return names


def _of_number(name: str, folders: Sequence[str]) -> list[str]:
    """All folders that are a sequence of the benchmark, padded or not."""
    return [folder for folder in folders if folder.isdecimal() and int(folder) == int(name)]
