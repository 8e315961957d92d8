"""nuScenes, through nuscenes-devkit, and generated drives, which share its schema."""

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Camera, Frame
from ...errors import CleverError, FrameError
from .base import IGNORE
from .point_files import count_points, label_table, read_labels, read_sweep

if TYPE_CHECKING:
    from nuscenes import NuScenes

CAMERAS = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
)
_RAW_IDS = {
    "barrier": (9,),
    "bicycle": (14,),
    "bus": (15, 16),
    "car": (17,),
    "construction_vehicle": (18,),
    "motorcycle": (21,),
    "pedestrian": (2, 3, 4, 6),
    "traffic_cone": (12,),
    "trailer": (22,),
    "truck": (23,),
    "driveable_surface": (24,),
    "other_flat": (25,),
    "sidewalk": (26,),
    "terrain": (27,),
    "manmade": (28,),
    "vegetation": (30,),
}
CLASSES = tuple(_RAW_IDS)
_TABLE = label_table(
    dict.fromkeys(range(32), IGNORE)
    | {raw: label for label, ids in enumerate(_RAW_IDS.values()) for raw in ids}
)
_COLUMNS = 5
SPLITS_FILE = "splits.json"


@dataclass(frozen=True, slots=True)
class _Keyframe:
    """What one keyframe needs of the tables; paths are relative to the root."""

    token: str
    scene: str
    split: str
    timestamp: int
    sweep: str
    labels: str | None
    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    intrinsics: NDArray[np.float64]
    """(M, 3, 3)"""
    camera_from_lidar: NDArray[np.float64]
    """(M, 4, 4)"""
    global_from_lidar: NDArray[np.float64]
    """(4, 4)"""


class NuScenesDataset:
    """Keyframes of six cameras and a 32-beam LiDAR, in the order of the split's scenes, then of
    time.

    Format, under ``root``:

    - ``<version>/*.json``: the tables of the nuScenes schema, with ``lidarseg.json`` where there
      are labels;
    - ``samples/LIDAR_TOP/*.pcd.bin``: float32 x, y, z in metres, intensity 0-255, ring (dropped);
    - ``samples/CAM_*/*.jpg``: images; their sizes come from the ``sample_data`` table;
    - ``lidarseg/<version>/*_lidarseg.bin``: uint8, one of 32 raw categories a point;
    - ``<version>/splits.json``, optional: ``{"train": [scene names], "val": [...]}`` instead of the
      official splits.

    Classes: the 16 of the lidarseg challenge (`CLASSES`); the other raw categories are ignored.
    LiDAR points at the LiDAR's timestamp go into each camera at the camera's own timestamp through
    both ego poses.

    The tables are read once, here; what the keyframes need of them is kept (2 kB a keyframe), so
    that the dataset is cheap to pickle and to fork.

    Args:
        root: dataset folder.
        version: ``v1.0-mini``, ``v1.0-trainval``, ``v1.0-test`` or another folder of tables; None:
            see `find_version`.
        split: ``train``, ``val``, ``test`` or ``all`` (every scene of the version, by name).

    Raises:
        CleverError: tables missing, damaged or inconsistent; unknown split; no scene of the split
            is there.
    """

    name: str = "nuscenes"
    cameras: tuple[str, ...] = CAMERAS
    class_names: tuple[str, ...] = CLASSES

    def __init__(self, root: Path | str, version: str | None = None, split: str = "train") -> None:
        self._root = Path(root)
        version = version or find_version(self._root)
        devkit = _load_tables(self._root, version)
        scenes = _scene_splits(devkit, self._root / version, split)
        try:
            self._keyframes = _extract(devkit, scenes)
        except (KeyError, TypeError, ValueError) as error:
            raise CleverError(
                f"a record in {self._root / version} is damaged: {error!r}; restore the tables"
            ) from error
        del devkit
        gc.collect()  # the devkit refers to itself, and its tables can take gigabytes
        self.frame_ids: Sequence[str] = [keyframe.token for keyframe in self._keyframes]
        self.scenes: Sequence[str] = [keyframe.scene for keyframe in self._keyframes]

    def __len__(self) -> int:
        return len(self._keyframes)

    def frame(self, index: int) -> Frame:
        keyframe = self._keyframes[index]
        return Frame(
            id=keyframe.token,
            scene=keyframe.scene,
            timestamp=keyframe.timestamp,
            points=self.points(index),
            global_from_lidar=keyframe.global_from_lidar,
            cameras=tuple(self._camera(keyframe, m) for m in range(len(CAMERAS))),
            split=keyframe.split,
        )

    def points(self, index: int) -> NDArray[np.float32]:
        keyframe = self._keyframes[index]
        return read_sweep(keyframe.token, self._root / keyframe.sweep, _COLUMNS, 255.0)

    def has_labels(self, index: int) -> bool:
        return self._keyframes[index].labels is not None

    def labels(self, index: int) -> NDArray[np.uint8]:
        keyframe = self._keyframes[index]
        if keyframe.labels is None:
            raise FrameError(
                keyframe.token,
                "lidarseg.json lists no labels for this keyframe; choose a labelled split",
            )
        count = count_points(keyframe.token, self._root / keyframe.sweep, _COLUMNS)
        return read_labels(keyframe.token, self._root / keyframe.labels, "u1", _TABLE, count)

    def _camera(self, keyframe: _Keyframe, m: int) -> Camera:
        image = self._root / keyframe.images[m]
        if not image.is_file():
            raise FrameError(keyframe.token, f"no image {image}; restore it")
        return Camera(
            CAMERAS[m],
            image,
            *keyframe.sizes[m],
            keyframe.intrinsics[m],
            keyframe.camera_from_lidar[m],
        )


def find_version(root: Path) -> str:
    """The folder of tables to take when none is named: ``v1.0-trainval`` where it is there, else
    the only one.

    Raises:
        CleverError: no ``v1.0-*`` folder with tables, or several.
    """
    there = sorted({path.parent.name for path in root.glob("v1.0-*/*.json")})
    if "v1.0-trainval" in there:
        return "v1.0-trainval"
    if len(there) != 1:
        found = ", ".join(there) or "no v1.0-* folder with tables"
        raise CleverError(
            f"{root} holds {found}; "
            + ("choose one with `version`" if there else "pass `data_root`")
        )
    return there[0]


def _load_tables(root: Path, version: str) -> "NuScenes":
    from nuscenes import NuScenes

    folder = root / version
    if not folder.is_dir():
        there = (
            ", ".join(sorted(path.parent.name for path in root.glob("*/scene.json"))) or "no tables"
        )
        raise CleverError(
            f"{root} has no folder {version} (it holds {there}); pass another `version` or "
            "`data_root`"
        )
    try:
        return NuScenes(version, str(root), verbose=False)
    except OSError as error:
        raise CleverError(
            f"nuScenes needs {error.filename}: {error.strerror}; restore it"
        ) from error
    except json.JSONDecodeError as error:
        damaged = next(
            (path for path in folder.glob("*.json") if path.read_text() == error.doc), folder
        )
        raise CleverError(
            f"{damaged} is no JSON ({error.msg}, line {error.lineno}); restore it"
        ) from error
    except AssertionError as error:
        raise CleverError(
            f"nuscenes-devkit refuses {folder}: {error}; restore the dataset"
        ) from error
    except KeyError as error:
        raise CleverError(f"the tables in {folder} lack {error}; restore them") from error


def _scene_splits(devkit: "NuScenes", folder: Path, split: str) -> dict[str, str]:
    """The scenes of `split` that are there, in the split's order, and the split that each belongs
    to: `split` itself where it names the scene, else the first that does, else none (empty)."""
    there = sorted(scene["name"] for scene in devkit.scene)
    splits = _splits(folder)
    if split == "all":
        split_of = {name: part for part in reversed(splits) for name in splits[part]}
        return {name: split_of.get(name, "") for name in there}
    if split not in splits:
        raise CleverError(f"{folder} has no split {split!r}; choose {', '.join(splits)} or all")
    unknown = [name for name in splits[split] if name not in there]
    if unknown and (folder / SPLITS_FILE).is_file():
        raise CleverError(
            f"{folder / SPLITS_FILE} names scenes that scene.json lacks: {', '.join(unknown)}; "
            "correct it"
        )
    names = [name for name in splits[split] if name in there]
    if not names:
        held = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")
        raise CleverError(
            f"{folder} has no scene of split {split!r}: it holds {held}; choose `split=all`"
        )
    return dict.fromkeys(names, split)


def _splits(folder: Path) -> dict[str, list[str]]:
    """Scene names by split: those of splits.json where it is there, else the official ones of this
    version."""
    if (folder / SPLITS_FILE).is_file():
        return _own_splits(folder / SPLITS_FILE)
    from nuscenes.utils.splits import create_splits_scenes

    official = create_splits_scenes()
    if folder.name.endswith("mini"):
        return {"train": official["mini_train"], "val": official["mini_val"]}
    if folder.name.endswith("test"):
        return {"test": official["test"]}
    return {"train": official["train"], "val": official["val"]}


def _own_splits(path: Path) -> dict[str, list[str]]:
    try:
        splits = json.loads(path.read_text()).items()
        return {str(split): [str(name) for name in names] for split, names in splits}
    except (ValueError, AttributeError, TypeError) as error:
        raise CleverError(
            f"{path} must map split names to lists of scene names; restore or remove it"
        ) from error


def _extract(devkit: "NuScenes", scenes: dict[str, str]) -> list[_Keyframe]:
    """The keyframes of `scenes` (name to split), scene by scene, in order of time."""
    order = {name: position for position, name in enumerate(scenes)}
    names = {scene["token"]: scene["name"] for scene in devkit.scene if scene["name"] in order}
    samples = [sample for sample in devkit.sample if sample["scene_token"] in names]
    samples.sort(key=lambda sample: (order[names[sample["scene_token"]]], sample["timestamp"]))
    labels = {row["sample_data_token"]: row["filename"] for row in getattr(devkit, "lidarseg", [])}
    calibration = cache(lambda token: _transform(devkit.get("calibrated_sensor", token)))

    def global_from_sensor(data: dict[str, Any]) -> NDArray[np.float64]:
        ego = _transform(devkit.get("ego_pose", data["ego_pose_token"]))
        return ego @ calibration(data["calibrated_sensor_token"])

    def keyframe(sample: dict[str, Any]) -> _Keyframe:
        missing = {"LIDAR_TOP", *CAMERAS} - sample["data"].keys()
        if missing:
            raise CleverError(
                f"sample_data.json has no {min(missing)} of keyframe {sample['token']}; restore it"
            )
        lidar = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        images = [devkit.get("sample_data", sample["data"][channel]) for channel in CAMERAS]
        sensors = [
            devkit.get("calibrated_sensor", image["calibrated_sensor_token"]) for image in images
        ]
        global_from_lidar = global_from_sensor(lidar)
        global_from_camera = np.stack([global_from_sensor(image) for image in images])
        return _Keyframe(
            token=sample["token"],
            scene=names[sample["scene_token"]],
            split=scenes[names[sample["scene_token"]]],
            timestamp=lidar["timestamp"],
            sweep=lidar["filename"],
            labels=labels.get(lidar["token"]),
            images=tuple(image["filename"] for image in images),
            sizes=tuple((image["width"], image["height"]) for image in images),
            intrinsics=np.array([sensor["camera_intrinsic"] for sensor in sensors], float).reshape(
                len(CAMERAS), 3, 3
            ),
            camera_from_lidar=np.linalg.inv(global_from_camera) @ global_from_lidar,
            global_from_lidar=global_from_lidar,
        )

    return [keyframe(sample) for sample in samples]


def _transform(record: dict[str, Any]) -> NDArray[np.float64]:
    """(4, 4) float64 of a pose or calibration record: parent <- child."""
    from nuscenes.utils.geometry_utils import transform_matrix
    from pyquaternion import Quaternion

    return transform_matrix(record["translation"], Quaternion(record["rotation"]))
