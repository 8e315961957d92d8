"""ONCE (One Million Scenes)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...cache.lens import Lens
from ...errors import CleverError
from .readers.cameras import choose_cameras
from .readers.frame_errors import errors_of
from .readers.intensity import scale_option
from .readers.json_files import number_list, pose_of, read_json
from .readers.kitti_layout import image_size
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_dataset import SweepDataset
from .readers.sweep_files import sweep_names
from .readers.text_rows import listed_lines

CAMERAS = ("cam01", "cam03", "cam05", "cam06", "cam07", "cam08", "cam09")
SPLITS = {
    "train": ("train",),
    "val": ("val",),
    "test": ("test", "test_set"),
    "raw_small": ("raw_small",),
    "raw_medium": ("raw_medium",),
    "raw_large": ("raw_large",),
}
"""Names of the list of each split's sequences; the first that is there."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What a sequence's JSON file holds beside boxes.

    Attributes:
        calibrations: entry of each camera, unchecked.
        poses: entry of each frame by its name, unchecked; None where a frame has none.
    """

    calibrations: dict[str, Any]
    poses: dict[str, Any]


class OnceDataset(SweepDataset):
    """Sequences of seven cameras and a 40-beam LiDAR, two frames a second, a million without boxes.

    Format, under ``root``; names of sweeps and images are their common time in milliseconds:

    - ``data/<sequence>/lidar_roof/<ms>.bin``: float32 x, y, z in metres, intensity 0-255 [R];
    - ``data/<sequence>/<camera>/<ms>.jpg``: not rectified; its lens is applied to the points
      (OpenCV's radial-tangential model), so the images stay as they are;
    - ``data/<sequence>/<sequence>.json``: under ``calib`` for each camera ``cam_to_velo`` (4x4,
      LiDAR <- camera, which looks along z), ``cam_intrinsic`` (3x3) and ``distortion``; under
      ``frames`` for each ``frame_id`` its ``pose``, world <- LiDAR: quaternion x, y, z, w and a
      place in metres; a quaternion of zeros, or no entry, is a frame without a pose: the identity;
    - ``ImageSets/<split>.txt``: names of sequences; needed for a split alone.

    Classes: none, only boxes are labelled; the dataset serves pre-training. Splits: train, val and
    test of 6, 4 and 10 sequences, raw_small, raw_medium and raw_large without boxes; a frame is of
    the first that lists its sequence. `pretrain` trains on ``train`` where it is not told
    another. Licence: CC BY-NC-SA 4.0 [R].

    Checked on real files: nothing. Scripted: all of it, in the form that the authors' code reads.
    [R]: remembered, not verified.

    Args:
        root: dataset folder. Opening reads the lists and lists the sweeps of the chosen sequences.
        split: one of `SPLITS` that is there, or ``all``.
        sequences: sequences by name or number; they win over `split`.
        cameras: cameras to read, in this order; None: the seven.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: unknown split, sequence or camera, a split without a list.
    """

    name: str = "once"
    cameras: tuple[str, ...] = CAMERAS

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        sequences: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        intensity_scale: str | float = 255.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        self.cameras = choose_cameras(self.name, cameras, CAMERAS)
        self._data = Path(root) / "data"
        folders = sorted(path.parent.name for path in self._data.glob("*/lidar_roof"))
        splits = _listed_splits(Path(root) / "ImageSets")
        names = choose_sequences(self.name, folders, sequences, split, splits, Path(root))
        self._splits = {name: split_of(name, splits) for name in names}
        self._frames = [(name, time) for name in names for time in _times(self._data / name)]
        self.frame_ids: Sequence[str] = [f"{name}/{time}" for name, time in self._frames]
        self.scenes: Sequence[str] = [name for name, _ in self._frames]

    def sweep(self, index: int) -> Path:
        scene, time = self._frames[index]
        return self._data / scene / "lidar_roof" / f"{time}.bin"

    def split_of(self, index: int) -> str:
        return self._splits[self.scenes[index]]

    def frame(self, index: int) -> Frame:
        scene, time = self._frames[index]
        with errors_of(self.frame_ids[index]):
            path = self._data / scene / f"{scene}.json"
            record = _record(path)
            return Frame(
                id=self.frame_ids[index],
                scene=scene,
                timestamp=int(time) * 1000,
                points=self.points(index),
                global_from_lidar=_pose(path, time, record.poses.get(time)),
                cameras=tuple(
                    self._camera(index, name, path, record.calibrations.get(name))
                    for name in self.cameras
                ),
                split=self.split_of(index),
            )

    def _camera(self, index: int, name: str, path: Path, entry: Any) -> Camera:
        scene, time = self._frames[index]
        image = self._data / scene / name / f"{time}.jpg"
        if not isinstance(entry, dict):
            raise CleverError(f"{path} has no calibration of {name}; restore the file")
        pose, intrinsics = (
            number_list(path, entry.get(word), size * size, f"{word} of {name}").reshape(size, size)
            for word, size in (("cam_to_velo", 4), ("cam_intrinsic", 3))
        )
        coefficients = np.ravel(entry.get("distortion", ()))
        coefficients = number_list(path, coefficients, coefficients.size, f"distortion of {name}")
        # The pseudo-inverse takes a singular matrix too; the frame then refuses what is not rigid.
        camera_from_lidar = np.linalg.pinv(pose)
        return Camera(
            name,
            image,
            *image_size(self.frame_ids[index], image),
            intrinsics,
            camera_from_lidar,
            Lens("radial-tangential", tuple(coefficients.tolist())),
        )


def _listed_splits(folder: Path) -> dict[str, list[str]]:
    """Sequences of every split that has a list."""
    splits = {}
    for split, names in SPLITS.items():
        paths = [folder / f"{name}.txt" for name in names]
        if path := next((path for path in paths if path.is_file()), None):
            splits[split] = list(listed_lines(path, "restore the file").values())
    return splits


def _times(sequence: Path) -> list[str]:
    """Times of a sequence's sweeps in milliseconds, ascending."""
    names = sweep_names(sequence / "lidar_roof")
    if wrong := [name for name in names if not name.isdecimal()]:
        raise CleverError(
            f"{sequence / 'lidar_roof' / wrong[0]}.bin: the name is no time in milliseconds; "
            "rename or remove it"
        )
    return names


def _record(path: Path) -> _Record:
    try:
        status = path.stat()
    except OSError as error:
        raise CleverError(f"cannot read {path}: {error.strerror}; restore the file") from error
    return _read_record(path, status.st_mtime_ns, status.st_size)


@lru_cache(8)
def _read_record(path: Path, *_: int) -> _Record:
    """A sequence's file is long: its boxes are left, the rest is held for the frames that follow.

    Further arguments tell versions of a file apart.
    """
    content = read_json(path, dict)
    calibrations, frames = content.get("calib"), content.get("frames")
    if not isinstance(calibrations, dict) or not isinstance(frames, list):
        raise CleverError(f"{path} has no `calib` or no `frames`; restore the file")
    entries = [entry for entry in frames if isinstance(entry, dict)]
    poses = {str(entry.get("frame_id")): entry.get("pose") for entry in entries}
    return _Record(calibrations, poses)


def _pose(path: Path, time: str, entry: Any) -> NDArray[np.float64]:
    """(4, 4) float64 world <- LiDAR of a frame; the identity where it has none."""
    if entry is None:
        return np.eye(4)
    numbers = number_list(path, entry, 7, f"pose of {time}")
    if not numbers[:4].any():
        return np.eye(4)
    return pose_of(path, numbers[[3, 0, 1, 2, 4, 5, 6]], f"pose of {time}")
