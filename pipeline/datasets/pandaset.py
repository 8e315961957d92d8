"""PandaSet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...errors import CleverError, FrameError
from .readers.cameras import choose_cameras
from .readers.frame_errors import errors_of
from .readers.intensity import scale_option
from .readers.json_files import number_list, pose_of, read_json
from .readers.kitti_layout import image_size
from .readers.pickled_tables import NumberTable, read_number_table
from .readers.sequences import choose_sequences, split_of
from .readers.sweep_files import class_table, scaled_sweep, training_labels

CAMERAS = (
    "back_camera",
    "front_camera",
    "front_left_camera",
    "front_right_camera",
    "left_camera",
    "right_camera",
)
SENSORS: dict[str, tuple[int, ...]] = {"pandar64": (0,), "pandargt": (1,), "both": (0, 1)}
"""Numbers in the column ``d`` of the sweeps' rows of each choice."""
NORTH = 37.6
"""Degrees of latitude: scenes that begin north of it (San Francisco) are for training, the others
(El Camino Real) for validation, as ScaLR splits them."""
_RAW_IDS = {
    "road": (7,),
    "traffic-sign": (36, 38),
    "barrier": (35, 39),
    "pedestrian": (30, 31),
    "vegetation": (5,),
    "road-marking": (8, 9, 10),
    "sidewalk": (11,),
    "manmade": (41, 42),
    "traffic-cone": (34, 37),
    "car": (13,),
    "motorcycle": (18,),
    "truck": (14, 15, 16),
    "bus": (23,),
    "bicycle": (26,),
    "other-vehicle": (17, 19, 20, 21, 27, 28, 29),
    "ground": (6,),
    "driveway": (12,),
}
CLASSES = tuple(_RAW_IDS)
_TABLE = class_table(_RAW_IDS.values(), ignored=(0, 1, 2, 3, 4, 22, 24, 25, 32, 33, 40))


class PandaSetDataset:
    """Scenes of six cameras, a spinning Pandar64 and a PandarGT to the front, 80 frames of 0.1 s.

    Format, under ``root``, one folder a scene, ``NNN/``; lists hold one entry a frame:

    - ``lidar/NN.pkl.gz``: a pickled table ``x y z i t d``: metres in the world, intensity 0-255,
      time, LiDAR (0 Pandar64, 1 PandarGT), read by `pickled_tables`, which runs nothing that a
      pickle names and needs no pandas; ``lidar/poses.json``: world <- LiDAR; ``timestamps.json``;
    - ``camera/<camera>/NN.jpg``, ``poses.json``: world <- camera (x right, y down, z forward) when
      the image was taken, ``intrinsics.json``: ``fx fy cx cy``. The authors' code has lens
      coefficients and does not use them: images are taken as pinhole images, as it does;
    - ``annotations/semseg/NN.pkl.gz``: a pickled table ``class`` with the sweep's row labels;
    - ``meta/gps.json``: ``lat`` of every frame; only labelled scenes need it.

    Points are carried from the world to the LiDAR's frame in float64; one frame of reference, that
    of ``lidar/poses.json``, serves both LiDARs. It stands on the ground; ScaLR lowers its points by
    1.6 m to where other sensors see them.

    Classes: the 17 of ScaLR (`CLASSES`) from 42; smoke, exhaust, spray, reflection, emergency
    vehicles, personal mobility, animals and rolling containers are ignored. Splits, as ScaLR's: the
    labelled scenes north of 37.6 degrees are ``train`` (49), the others ``val`` (27); 27 scenes
    without labels are in none: choose ``all`` or name them. Licence: CC BY 4.0 [R].

    Checked on real files: 52 frames of scene 002, which the authors' code once had among its tests.
    Scripted: all of it. [R]: remembered, not verified.

    Args:
        root: dataset folder. Opening lists the sweeps and reads ``meta/gps.json`` of labelled
            scenes.
        split: ``train``, ``val`` or ``all``.
        sequences: scenes by name or number; they win over `split`.
        cameras: cameras to read, in this order; None: the six.
        sensor: one of `SENSORS`.
        intensity_scale: full intensity in the sweeps, a positive number.

    Raises:
        CleverError: unknown split, scene, camera or sensor, a scene without sweeps or position.
    """

    name: str = "pandaset"
    cameras: tuple[str, ...] = CAMERAS
    class_names: tuple[str, ...] = CLASSES

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        sequences: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        sensor: str = "pandar64",
        intensity_scale: str | float = 255.0,
    ) -> None:
        self.intensity_scale = scale_option(intensity_scale)
        self._root, self.cameras = Path(root), choose_cameras(self.name, cameras, CAMERAS)
        if sensor not in SENSORS:
            raise CleverError(
                f"`dataset_option=sensor={sensor}` is no LiDAR; choose {', '.join(SENSORS)}"
            )
        self._sensors = SENSORS[sensor]
        names = sorted(path.parent.name for path in self._root.glob("*/lidar"))
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for name in names:
            if (self._root / name / "annotations" / "semseg").is_dir():
                splits["train" if _latitude(self._root / name) > NORTH else "val"].append(name)
        names = choose_sequences(self.name, names, sequences, split, splits, self._root)
        self._splits = {name: split_of(name, splits) for name in names}
        self._frames = [(name, number) for name in names for number in self._numbers(name)]
        self.frame_ids: Sequence[str] = [f"{name}/{number}" for name, number in self._frames]
        self.scenes: Sequence[str] = [name for name, _ in self._frames]

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int) -> Frame:
        scene, number = self._frames[index]
        frame_id, lidar = self.frame_ids[index], self._root / scene / "lidar"
        with errors_of(frame_id):
            world_from_lidar = self._pose(index, lidar)
            path = lidar / "timestamps.json"
            seconds = number_list(path, _entry(path, int(number)), 1, f"entry {int(number)}")
            return Frame(
                id=frame_id,
                scene=scene,
                timestamp=round(float(seconds[0]) * 1e6),
                points=self._points(index, world_from_lidar),
                global_from_lidar=world_from_lidar,
                cameras=tuple(self._camera(index, name, world_from_lidar) for name in self.cameras),
                split=self._splits[scene],
            )

    def points(self, index: int) -> NDArray[np.float32]:
        with errors_of(self.frame_ids[index]):
            pose = self._pose(index, self._root / self._frames[index][0] / "lidar")
            return self._points(index, pose)

    def has_labels(self, index: int) -> bool:
        return self._label_file(index).exists()

    def labels(self, index: int) -> NDArray[np.uint8]:
        frame_id, path = self.frame_ids[index], self._label_file(index)
        with errors_of(frame_id):
            sweep, labels = self._sweep(index), read_number_table(path, ("class",))
        # Rows of both tables that have one row label belong together.
        order = np.argsort(labels.index, kind="stable")
        places = np.searchsorted(labels.index[order], sweep.index)
        rows = order[np.minimum(places, len(order) - 1)] if len(order) else places
        if not len(order) or (labels.index[rows] != sweep.index).any():
            raise FrameError(
                frame_id, f"{path} has no label for some points of the sweep; restore the pair"
            )
        return training_labels(frame_id, path, labels.columns["class"][rows], _TABLE)

    def _numbers(self, scene: str) -> list[str]:
        """Names of a scene's frames, ascending."""
        folder, ending = self._root / scene / "lidar", ".pkl.gz"
        numbers = sorted(path.name.removesuffix(ending) for path in folder.glob(f"[!.]*{ending}"))
        if wrong := [number for number in numbers if not number.isdecimal()]:
            raise CleverError(
                f"{folder / wrong[0]}{ending}: the name is no frame number; rename or remove it"
            )
        return sorted(numbers, key=int)

    def _label_file(self, index: int) -> Path:
        scene, number = self._frames[index]
        return self._root / scene / "annotations" / "semseg" / f"{number}.pkl.gz"

    def _sweep_file(self, index: int) -> Path:
        scene, number = self._frames[index]
        return self._root / scene / "lidar" / f"{number}.pkl.gz"

    def _sweep(self, index: int) -> NumberTable:
        """Rows of the LiDARs asked for."""
        table = read_number_table(self._sweep_file(index), ("x", "y", "z", "i", "d"))
        own = np.isin(table.columns["d"], self._sensors)
        columns = {name: column[own] for name, column in table.columns.items()}
        return NumberTable(table.index[own], columns)

    def _points(self, index: int, world_from_lidar: NDArray[np.float64]) -> NDArray[np.float32]:
        columns = self._sweep(index).columns
        world = np.column_stack([columns[axis] for axis in "xyz"]).astype(np.float64)
        points = (world - world_from_lidar[:3, 3]) @ world_from_lidar[:3, :3]
        rows = np.column_stack([points, columns["i"]]).astype(np.float32)
        path = self._sweep_file(index)
        return scaled_sweep(self.frame_ids[index], path, rows, self.intensity_scale)

    def _pose(self, index: int, folder: Path) -> NDArray[np.float64]:
        """(4, 4) float64 world <- sensor of a frame, from the sensor's folder."""
        number, path = int(self._frames[index][1]), folder / "poses.json"
        entry = _entry(path, number)
        values = [
            part.get(word) if isinstance(part := _part(entry, name), dict) else None
            for name, words in (("heading", "wxyz"), ("position", "xyz"))
            for word in words
        ]
        return pose_of(path, number_list(path, values, 7, f"entry {number}"), f"entry {number}")

    def _camera(self, index: int, name: str, world_from_lidar: NDArray[np.float64]) -> Camera:
        scene, number = self._frames[index]
        folder = self._root / scene / "camera" / name
        image, path = folder / f"{number}.jpg", folder / "intrinsics.json"
        content = read_json(path, dict)
        words = ("fx", "fy", "cx", "cy")
        fx, fy, cx, cy = number_list(path, [content.get(word) for word in words], 4, str(words))
        return Camera(
            name,
            image,
            *image_size(self.frame_ids[index], image),
            np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            np.linalg.inv(self._pose(index, folder)) @ world_from_lidar,
        )


def _part(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def _entry(path: Path, number: int) -> Any:
    """Entry of a frame in a list; raises CleverError where there is none."""
    entries = read_json(path, list)
    if number >= len(entries):
        raise CleverError(
            f"{path} has {len(entries)} entries, none for frame {number}; restore the file"
        )
    return entries[number]


def _latitude(scene: Path) -> float:
    """Degrees where a scene begins."""
    path = scene / "meta" / "gps.json"
    return float(number_list(path, _part(_entry(path, 0), "lat"), 1, "`lat` of entry 0")[0])
