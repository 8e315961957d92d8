"""Tiny datasets in their official layouts, written from a seed, and the real frames where they are
at hand."""

import os

# Threads that wait for each other in a spin make small networks ten times slower on a machine that
# is busy otherwise.
os.environ.setdefault("OMP_NUM_THREADS", "1")


import dataclasses
import gc
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pyquaternion import Quaternion
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from clever.pipeline.drives.tables import CATEGORIES

KITTI_RAW_IDS = (0, 1, 10, 11, 13, 15, 16, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 52, 60, 70,
71, 72, 80, 81, 99,
                 252, 253, 254, 255, 256, 257, 258, 259)  # fmt: skip
KITTI_CALIBRATION = """P0: 72 0 60 0 0 72 20 0 0 0 1 0
P2: 72 0 60 4.5 0 72 20 0.2 0 0 1 0.003
Tr: 0 -1 0 -0.01 0 0 -1 -0.08 1 0 0 -0.27
"""
NUSCENES_YAW = {
    "CAM_FRONT": 0,
    "CAM_FRONT_LEFT": 55,
    "CAM_BACK_LEFT": 110,
    "CAM_BACK": 180,
    "CAM_BACK_RIGHT": -110,
    "CAM_FRONT_RIGHT": -55,
}
NUSCENES_SIZE = (160, 90)
SIZED_BY_VALUES = {
    "_local_scalar_dense", "_unique", "_unique2", "bincount", "equal", "is_nonzero",
    "masked_select", "multinomial",
    "nonzero", "unique_consecutive", "unique_dim", "unique_dim_consecutive",
}  # fmt: skip
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
EMPTY_TABLES = ("attribute", "visibility", "instance", "sample_annotation")


def pytest_configure(config: pytest.Config) -> None:
    """Several workers take files in their order, not by their number of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with many slow tests first, so that in the end no worker waits for another's."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """What the imports left is for good: without it a collection takes a hundredth of the time, and
    the tests an eighth less."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the program remembers of files goes to a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache_home")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real frames; the test is skipped where it is not there."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real frames are not at ../shared/data")
    return folder


def _cloud(rng: np.random.Generator, points: int) -> np.ndarray:
    """(points, 4) float32 around the sensor: x, y, z in metres, intensity in [0, 1]."""
    return rng.uniform([-40, -40, -2, 0], [40, 40, 3, 1], (points, 4)).astype(np.float32)


def _image(rng: np.random.Generator, path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def _kitti_pose(number: int) -> np.ndarray:
    """(3, 4) world <- camera 0: one metre forward a frame, turning."""
    pose = Quaternion(axis=(0, 1, 0), radians=0.02 * number).transformation_matrix
    pose[:3, 3] = (0.1 * number, 0.0, number)
    return pose[:3]


def _kitti_writer(parent: Path) -> Callable[..., Path]:
    """Writes sequences (name to number of frames) in the KITTI odometry layout below `parent`;
    returns the root."""

    def write(
        sequences: Mapping[str, int],
        *,
        points: int = 400,
        images: bool = True,
        labels: bool = True,
        poses: bool = False,
        seed: int = 0,
        folder: str = "kitti",
    ) -> Path:
        rng = np.random.default_rng(seed)
        for name, frames in sequences.items():
            place = parent / folder / "sequences" / name
            for part in ("velodyne", "labels"):
                (place / part).mkdir(parents=True)
            (place / "calib.txt").write_text(KITTI_CALIBRATION)
            (place / "times.txt").write_text(
                "".join(f"{0.2 * number:.6e}\n" for number in range(frames))
            )
            if poses:
                np.savetxt(
                    place / "poses.txt", [_kitti_pose(number).ravel() for number in range(frames)]
                )
            for number in range(frames):
                _cloud(rng, points).tofile(place / "velodyne" / f"{number:06}.bin")
                if labels:  # an instance id fills the upper 16 bits
                    raw = rng.choice(KITTI_RAW_IDS, points) | rng.integers(0, 9, points) << 16
                    raw.astype("<u4").tofile(place / "labels" / f"{number:06}.label")
                if images:
                    _image(rng, place / "image_2" / f"{number:06}.png", (124, 38))
        return parent / folder

    return write


@pytest.fixture
def write_kitti(tmp_path: Path) -> Callable[..., Path]:
    """Writes sequences (name to number of frames) in the KITTI odometry layout; returns the
    root."""
    return _kitti_writer(tmp_path)


@pytest.fixture(scope="module")
def write_kitti_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """As `write_kitti`, for a drive that the tests of a file share."""
    return _kitti_writer(tmp_path_factory.mktemp("kitti"))


@pytest.fixture
def kitti_root(write_kitti: Callable[..., Path]) -> Path:
    """Sequences 00 (3 frames, train) and 08 (2 frames, val) with images, labels and times."""
    return write_kitti({"00": 3, "08": 2})


def _ego_pose(seconds: float) -> tuple[list[float], list[float]]:
    """Translation and rotation of a car that drives at 10 m/s and turns."""
    rotation = Quaternion(axis=(0, 0, 1), radians=0.3 + 0.1 * seconds)
    return [1000 + 10 * seconds, 600.0, 0.5], list(rotation.elements)


def _sensor_tables() -> dict[str, list[dict[str, Any]]]:
    width, height = NUSCENES_SIZE
    intrinsics = [[126.0, 0, width / 2 + 1.5], [0, 126.0, height / 2 - 2.5], [0, 0, 1]]
    sensors = [{"token": "LIDAR_TOP", "channel": "LIDAR_TOP", "modality": "lidar"}]
    facing = Quaternion(axis=(0, 0, 1), degrees=-90)
    calibrated = [
        {"translation": [0.9, 0, 1.8], "rotation": list(facing.elements), "camera_intrinsic": []}
    ]
    for channel, yaw in NUSCENES_YAW.items():
        sensors.append({"token": channel, "channel": channel, "modality": "camera"})
        turn = Quaternion(axis=(0, 0, 1), degrees=yaw)
        rotation = turn * Quaternion(0.5, -0.5, 0.5, -0.5)
        place = np.asarray(turn.rotate(np.array([0.8, 0, 0]))) + np.array([0.7, 0, 1.5])
        calibrated.append(
            {
                "translation": place.tolist(),
                "rotation": list(rotation.elements),
                "camera_intrinsic": intrinsics,
            }
        )
    for sensor, calibration in zip(sensors, calibrated, strict=True):
        calibration.update(token=f"calibrated-{sensor['channel']}", sensor_token=sensor["token"])
    return {"sensor": sensors, "calibrated_sensor": calibrated}


def _add_keyframe(
    tables: dict[str, list[dict[str, Any]]], root: Path, version: str, scene: str, number: int,
    labels: bool,
    points: int, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Append the rows of one keyframe and write its files."""
    key = f"{scene}-{number}"
    start = int(scene.split("-")[1]) * 10_000_000 + number * 500_000
    tables["sample"].append(
        {"token": key, "timestamp": start, "scene_token": scene, "prev": "", "next": ""}
    )
    for position, channel in enumerate(("LIDAR_TOP", *NUSCENES_YAW)):
        lidar = channel == "LIDAR_TOP"
        timestamp = start if lidar else start + 10_000 * (position - 5)
        token, file = f"{key}-{channel}", f"samples/{channel}/{key}.{'pcd.bin' if lidar else 'jpg'}"
        translation, rotation = _ego_pose((timestamp - start) / 1e6 + number / 2)
        tables["ego_pose"].append(
            {
                "token": token,
                "timestamp": timestamp,
                "translation": translation,
                "rotation": rotation,
            }
        )
        tables["sample_data"].append({
            "token": token, "sample_token": key, "ego_pose_token": token, "timestamp": timestamp,
            "calibrated_sensor_token": f"calibrated-{channel}", "is_key_frame": True,
            "filename": file,
            "width": 0 if lidar else NUSCENES_SIZE[0], "height": 0 if lidar else NUSCENES_SIZE[1],
            "fileformat": "pcd" if lidar else "jpg", "prev": "", "next": "",
        })  # fmt: skip
        if not lidar:
            _image(rng, root / file, NUSCENES_SIZE)
    cloud = _cloud(rng, points)
    cloud[:, 3] = np.floor(cloud[:, 3] * 256)
    sweep = root / f"samples/LIDAR_TOP/{key}.pcd.bin"
    sweep.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([cloud, rng.integers(0, 32, points)]).astype(np.float32).tofile(sweep)
    if labels:
        file = f"lidarseg/{version}/{key}_lidarseg.bin"
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        rng.integers(0, 32, points, np.uint8).tofile(root / file)
        token = f"{key}-LIDAR_TOP"
        tables["lidarseg"].append({"token": token, "sample_data_token": token, "filename": file})


@pytest.fixture
def write_nuscenes(tmp_path: Path) -> Callable[..., Path]:
    """Writes scenes (name to number of keyframes) in the nuScenes schema; returns the root.

    Keyframe n of ``scene-0061`` has the sample token ``scene-0061-n``; the car moves between the
    seven timestamps.
    """

    def write(
        scenes: Mapping[str, int],
        *,
        version: str = "v1.0-mini",
        labels: bool = True,
        splits: Mapping[str, list[str]] | None = None,
        points: int = 400,
        seed: int = 0,
        folder: str = "nuscenes",
    ) -> Path:
        rng, root = np.random.default_rng(seed), tmp_path / folder
        names = enumerate(CATEGORIES)
        tables: dict[str, list[dict[str, Any]]] = {
            name: [] for name in EMPTY_TABLES
        } | _sensor_tables()
        tables |= {"sample": [], "sample_data": [], "ego_pose": []} | (
            {"lidarseg": []} if labels else {}
        )
        tables["category"] = [
            {"token": name, "name": name, "index": index, "description": ""}
            for index, name in names
        ]
        tables["log"] = [
            {"token": "log", "logfile": "log", "vehicle": "", "date_captured": "", "location": ""}
        ]
        tables["map"] = [
            {"token": "map", "log_tokens": ["log"], "category": "", "filename": "maps/blank.png"}
        ]
        tables["scene"] = [
            {"token": name, "name": name, "log_token": "log", "nbr_samples": frames,
            "description": "",
             "first_sample_token": f"{name}-0", "last_sample_token": f"{name}-{frames - 1}"}
            for name, frames in scenes.items()
        ]  # fmt: skip
        for name, frames in scenes.items():
            for number in range(frames):
                _add_keyframe(tables, root, version, name, number, labels, points, rng)
        _image(rng, root / "maps/blank.png", (4, 4))
        (root / version).mkdir()
        for name, rows in tables.items():
            (root / version / f"{name}.json").write_text(json.dumps(rows))
        if splits is not None:
            (root / version / "splits.json").write_text(json.dumps(splits))
        return root

    return write


@pytest.fixture
def nuscenes_root(write_nuscenes: Callable[..., Path]) -> Path:
    """v1.0-mini with scene-0061 (3 keyframes, train) and scene-0103 (2 keyframes, val),
    labelled."""
    return write_nuscenes({"scene-0061": 3, "scene-0103": 2})


class _Device(TorchDispatchMode):
    """Which tensors would lie on a GPU, and the operations on them that the host would wait for.

    A tensor's place is that of its storage: on the device, on the host (unless noted), or `either`,
    where it was made on the device of another tensor. What is computed from a tensor on the device
    lies there too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._places: dict[
            int, tuple[str, torch.UntypedStorage]
        ] = {}  # held, so that no address is used twice

    def put(self, value: Any, place: str) -> Any:
        for tensor in _tensors(value):
            storage = tensor.untyped_storage()
            self._places[storage._cdata] = place, storage
        return value

    def places(self, value: Any) -> set[str]:
        """Of all the tensors in `value`; a number of the host is at home anywhere."""
        places = set()
        for tensor in _tensors(value):
            default = "host" if tensor.ndim else "either"
            places.add(self._places.get(tensor.untyped_storage()._cdata, (default,))[0])
        return places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        places = self.places((args, kwargs))
        if "device" in places and _is_wait(func.overloadpacket.__name__, args, kwargs):
            self.waits.append(func.overloadpacket.__name__)
        out = func(*args, **kwargs)
        if "device" in places or places == {"either"}:
            self.put(out, "device" if "device" in places else "either")
        return out


class _Transfers(TorchFunctionMode):
    """Copies between host and device. On a machine without a GPU they do nothing, so only the calls
    tell.

    The host is called "cpu"; a torch.device is that of another tensor.
    """

    def __init__(self, device: _Device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, places = getattr(func, "__name__", ""), self.device.places((args, kwargs))
        targets = [
            value for value in (*args, *kwargs.values()) if isinstance(value, str | torch.device)
        ]
        to_host = name in ("tolist", "numpy", "cpu") or "cpu" in targets
        to_device = any(isinstance(value, torch.device) for value in targets)
        if to_host and "device" in places:
            self.device.waits.append(name)
            out = func(*args, **kwargs)
            return self.device.put(out.clone(), "host") if isinstance(out, Tensor) else out
        if name in ("tensor", "as_tensor", "new_tensor") and (to_device or "device" in places):
            self.device.waits.append(name)
        if (
            name == "to"
            and "device" not in self.device.places(args[:1])
            and (to_device or "device" in places)
        ):
            if not kwargs.get("non_blocking"):
                self.device.waits.append(name)
            return self.device.put(func(*args, **kwargs).clone(), "device")
        assert name == "copy_" or not {"host", "device"} <= places, (
            f"{name} mixes tensors of host and device"
        )
        out = func(*args, **kwargs)
        return self.device.put(out, "either") if to_device and "device" not in places else out


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(value):
        yield from _tensors([getattr(value, field.name) for field in dataclasses.fields(value)])


def _is_wait(name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
    if name in INDEXED:
        return any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in SIZED_BY_VALUES


@pytest.fixture
def host_reads() -> Callable[..., list[str]]:
    """Runs a function and names whatever in it would make the host wait for a GPU, in order; none
    is needed for it.

    After the function come the tensors that would lie on the GPU, or modules, dataclasses and
    containers of them. Where the tensors lie that the function makes is told by what they are made
    from, not by their size: the host may read its own at will, large or small, and mixing them with
    those of the GPU fails. Operations inside spconv are not seen.
    """

    def run(function: Callable[[], object], *on_device: object) -> list[str]:
        device = _Device()
        device.put(on_device, "device")
        with device, _Transfers(device):
            function()
        return device.waits

    return run
