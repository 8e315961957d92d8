"""SemanticKITTI and every drive in the KITTI odometry layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...cache.frame import Camera, Frame
from ...errors import CleverError, FrameError
from .base import IGNORE
from .point_files import count_points, label_table, read_labels, read_sweep

SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{number}" for number in range(11, 22)),
}
"""Sequences of the benchmark's splits; those of ``test`` have no published labels."""
_SPLIT_OF = {sequence: split for split, sequences in SPLITS.items() for sequence in sequences}

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


@dataclass(frozen=True, slots=True)
class _Sequence:
    folder: Path
    times: NDArray[np.float64] | None
    """(F,) seconds by frame number, from times.txt."""
    poses: NDArray[np.float64] | None
    """(F, 3, 4) world <- camera 0 by frame number, from poses.txt."""


class SemanticKittiDataset:
    """Sequences of colour camera 2 and a Velodyne HDL-64 in the KITTI odometry layout.

    Format, under ``root`` or ``root/sequences``, one folder a sequence, any number as its name:

    - ``velodyne/NNNNNN.bin``: float32 x, y, z in metres (x forward, y left, z up), reflectance in
      [0, 1];
    - ``image_2/NNNNNN.png``: rectified colour images of any size; may be missing, then `frame`
      raises;
    - ``calib.txt``: ``P2`` (3x4 projection of camera 2) and ``Tr`` (3x4, velodyne to rectified
      camera 0); only `frame` needs it;
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
        sequences: sequence numbers ("8" and "08" are the same); they win over `split`.
        split: ``train``, ``val``, ``test`` or ``all`` (every sequence folder there is).

    Raises:
        CleverError: unknown split, a sequence that is not there or holds no sweeps, a malformed
            times.txt or poses.txt.
    """

    name: str = "semantickitti"
    cameras: tuple[str, ...] = ("image_2",)
    class_names: tuple[str, ...] = CLASSES

    def __init__(
        self, root: Path | str, sequences: Sequence[str] | None = None, split: str = "train"
    ) -> None:
        folders = _sequence_folders(Path(root))
        chosen = _choose(folders, sequences, split, Path(root))
        self._sequences = {name: _open_sequence(folders[name]) for name in chosen}
        self.frame_ids: Sequence[str] = [
            f"{name}/{stem}" for name in chosen for stem in _frame_numbers(folders[name])
        ]
        self.scenes: Sequence[str] = [frame_id.split("/")[0] for frame_id in self.frame_ids]

    def __len__(self) -> int:
        return len(self.frame_ids)

    def frame(self, index: int) -> Frame:
        frame_id = self.frame_ids[index]
        sequence, number = self._locate(index)
        intrinsics, camera_from_lidar, camera0_from_lidar = _read_calibration(
            frame_id, sequence.folder / "calib.txt"
        )
        image = sequence.folder / "image_2" / f"{number}.png"
        width, height = _image_size(frame_id, image)
        pose = np.eye(4)
        if sequence.poses is not None:
            pose = (
                _square(_row(frame_id, sequence.poses, sequence.folder / "poses.txt", number))
                @ camera0_from_lidar
            )
        seconds = int(number) / 10
        if sequence.times is not None:
            seconds = float(_row(frame_id, sequence.times, sequence.folder / "times.txt", number))
        return Frame(
            id=frame_id,
            scene=self.scenes[index],
            timestamp=round(seconds * 1e6),
            points=self.points(index),
            global_from_lidar=pose,
            cameras=(Camera(self.cameras[0], image, width, height, intrinsics, camera_from_lidar),),
            split=_SPLIT_OF.get(self.scenes[index], ""),
        )

    def points(self, index: int) -> NDArray[np.float32]:
        sequence, number = self._locate(index)
        return read_sweep(
            self.frame_ids[index], sequence.folder / "velodyne" / f"{number}.bin", _COLUMNS, 1.0
        )

    def has_labels(self, index: int) -> bool:
        return self._label_file(index).is_file()

    def labels(self, index: int) -> NDArray[np.uint8]:
        frame_id = self.frame_ids[index]
        sequence, number = self._locate(index)
        count = count_points(frame_id, sequence.folder / "velodyne" / f"{number}.bin", _COLUMNS)
        return read_labels(frame_id, self._label_file(index), "<u4", _TABLE, count)

    def _locate(self, index: int) -> tuple[_Sequence, str]:
        scene, number = self.frame_ids[index].split("/")
        return self._sequences[scene], number

    def _label_file(self, index: int) -> Path:
        sequence, number = self._locate(index)
        return sequence.folder / "labels" / f"{number}.label"


def _sequence_folders(root: Path) -> dict[str, Path]:
    """Sequence folders by name, in order of name."""
    parent = root / "sequences" if (root / "sequences").is_dir() else root
    folders = {path.parent.name: path.parent for path in sorted(parent.glob("*/velodyne"))}
    if not folders:
        raise CleverError(
            f"{parent} holds no KITTI sequence (NN/velodyne/*.bin); pass another `data_root`"
        )
    return folders


def _choose(
    folders: dict[str, Path], sequences: Sequence[str] | None, split: str, root: Path
) -> list[str]:
    there = f"{root} holds sequences {', '.join(folders)}"
    if sequences:
        chosen = list(dict.fromkeys(str(number).zfill(2) for number in sequences))
        missing = [number for number in chosen if number not in folders]
        if missing:
            raise CleverError(
                f"no sequence {', '.join(missing)}: {there}; choose among them with `sequences`"
            )
    elif split == "all":
        chosen = list(folders)
    elif split in SPLITS:
        chosen = [number for number in SPLITS[split] if number in folders]
    else:
        raise CleverError(
            f"semantickitti has no split {split!r}; choose {', '.join(SPLITS)} or all"
        )
    if not chosen:
        raise CleverError(
            f"no sequence of split {split!r}: {there}; choose with `sequences` or `split=all`"
        )
    return chosen


def _frame_numbers(folder: Path) -> list[str]:
    numbers = sorted(path.stem for path in (folder / "velodyne").glob("*.bin"))
    if not numbers:
        raise CleverError(
            f"{folder / 'velodyne'} holds no .bin file; restore it or leave the sequence out"
        )
    for number in numbers:
        if not number.isdecimal():
            raise CleverError(
                f"{folder / 'velodyne' / number}.bin: the name is no frame number; rename or "
                "remove it"
            )
    return numbers


def _open_sequence(folder: Path) -> _Sequence:
    times = _read_rows(folder / "times.txt", 1)
    poses = _read_rows(folder / "poses.txt", 12)
    return _Sequence(
        folder,
        None if times is None else times[:, 0],
        None if poses is None else poses.reshape(-1, 3, 4),
    )


def _read_rows(path: Path, columns: int) -> NDArray[np.float64] | None:
    if not path.is_file():
        return None
    try:
        rows = np.array(
            [line.split() for line in path.read_text().splitlines() if line.strip()], np.float64
        )
    except ValueError as error:
        raise CleverError(f"{path} is no table of numbers; restore or remove it") from error
    if rows.ndim != 2 or rows.shape[1] != columns or not np.isfinite(rows).all():
        raise CleverError(f"{path} must hold {columns} finite numbers a line; restore or remove it")
    return rows


def _row(frame: str, rows: NDArray[np.float64], path: Path, number: str) -> NDArray[np.float64]:
    if int(number) >= len(rows):
        raise FrameError(
            frame, f"{path} has {len(rows)} lines, none for this frame; restore or remove it"
        )
    return rows[int(number)]


def _square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 4) to (4, 4)."""
    return np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])


def _read_calibration(
    frame: str, path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Intrinsics (3, 3) of camera 2, camera 2 <- LiDAR (4, 4) and camera 0 <- LiDAR (4, 4).

    P2 = K [I | t] is taken apart exactly: its last column is K t, the offset of camera 2 from
    camera 0.
    """
    try:
        lines = [line.partition(":") for line in path.read_text().splitlines()]
        entries = {
            key.strip(): np.array(values.split(), np.float64) for key, _, values in lines if values
        }
        projection, camera0_from_lidar = (
            entries["P2"].reshape(3, 4),
            _square(entries["Tr"].reshape(3, 4)),
        )
    except OSError as error:
        raise FrameError(
            frame, f"cannot read calibration {path}: {error.strerror}; restore the file"
        ) from error
    except (KeyError, ValueError) as error:
        raise FrameError(
            frame, f"calibration {path} lacks P2 or Tr with 12 numbers; restore the file"
        ) from error
    intrinsics = np.ascontiguousarray(projection[:, :3])
    finite = np.isfinite(projection).all() and np.isfinite(camera0_from_lidar).all()
    if (
        not finite
        or intrinsics[0, 0] <= 0
        or intrinsics[1, 1] <= 0
        or intrinsics[2].tolist() != [0, 0, 1]
    ):
        raise FrameError(
            frame, f"calibration {path}: P2 or Tr is no camera matrix; restore the file"
        )
    camera2_from_camera0 = np.eye(4)
    camera2_from_camera0[:3, 3] = np.linalg.solve(intrinsics, projection[:, 3])
    return intrinsics, camera2_from_camera0 @ camera0_from_lidar, camera0_from_lidar


def _image_size(frame: str, path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise FrameError(
            frame, f"no image {path}; restore it, or leave this sequence out"
        ) from error
    except OSError as error:
        raise FrameError(frame, f"cannot read image {path}; restore the file") from error
