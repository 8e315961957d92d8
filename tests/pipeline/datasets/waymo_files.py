"""Writes segments of the Waymo Open Dataset, version 2, with the columns of the real files."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

pa = pytest.importorskip("pyarrow", reason="pyarrow is not usable here", exc_type=ImportError)
pq = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)

SEGMENT = "10017090168044687777_6380_000_6400_000"
SIZE = (64, 48)
INTRINSICS = {
    "f_u": 50.0, "f_v": 52.0, "c_u": 33.0, "c_v": 23.5,
    "k1": 0.1, "k2": -0.02, "p1": 0.003, "p2": -0.002, "k3": 0.004,
}  # fmt: skip
SHAPES = {1: (4, 36), 2: (3, 20), 3: (3, 20), 4: (3, 20), 5: (3, 20)}
TOP_INCLINATIONS = [-0.3, -0.12, -0.05, 0.04]
EDGES = (-0.5, 0.4)


def pose(euler: Sequence[float], place: Sequence[float]) -> NDArray[np.float64]:
    """(4, 4) from yaw, pitch, roll in radians and metres."""
    result = np.eye(4)
    result[:3, :3] = Rotation.from_euler("ZYX", euler).as_matrix()
    result[:3, 3] = place
    return result


LASER_POSES = {
    1: pose([0.02, 0.01, -0.015], [1.4, 0.1, 2.1]),
    2: pose([0.1, 0.0, 0.0], [4.0, 0.0, 0.7]),
    3: pose([1.6, 0.03, 0.02], [3.2, 1.0, 0.9]),
    4: pose([-1.5, 0.0, 0.05], [3.2, -1.0, 0.9]),
    5: pose([3.1, -0.02, 0.0], [-1.1, 0.0, 0.5]),
}
CAMERA_POSES = {
    number: pose([yaw, 0.02 * number, -0.01], [1.5, 0.1 * number, 2.0])
    for number, yaw in enumerate((0.0, 0.8, -0.8, 1.6, -1.6), 1)
}


@dataclass
class Scripted:
    """What is written of a frame; images are (H, W, channels), None for no return."""

    time: int
    world_from_vehicle: NDArray[np.float64]
    ranges: dict[int, list[NDArray[Any] | None]]
    pixel_poses: NDArray[np.float32]
    projections: dict[int, list[NDArray[Any] | None]]
    image_poses: dict[int, NDArray[np.float64]]
    segmentation: dict[int, list[NDArray[Any] | None]] = field(default_factory=dict)


def scripted_frame(rng: np.random.Generator, number: int, labelled: bool = True) -> Scripted:
    """A frame of a car that drives and turns; about half of the pixels have a return."""
    vehicle = pose([0.3 + 0.02 * number, 0.01, 0.0], [200.0 + number, -50.0, 10.0])
    ranges, projections = {}, {}
    for laser, (height, width) in SHAPES.items():
        ranges[laser], projections[laser] = [], []
        for echo in range(2):
            image = rng.uniform([0.5, 0, 0, 0], [40, 4, 2, 1], (height, width, 4))
            image[rng.random((height, width)) < (0.4, 0.9)[echo], 0] = -1
            ranges[laser].append(image.astype(np.float32))
            cameras = np.sort(rng.permuted(np.tile(range(6), (height, width, 1)), axis=2)[..., :2])
            pixels = rng.integers(0, [*SIZE, *SIZE], (height, width, 4))
            parts = [cameras[..., :1], pixels[..., :2], cameras[..., 1:], pixels[..., 2:]]
            projections[laser].append(np.concatenate(parts, 2).astype(np.float32))
    height, width = SHAPES[1]
    poses = np.empty((height, width, 6), np.float32)
    share = np.linspace(-1, 1, width)
    poses[..., :3] = np.array([0.0, 0.01, 0.3 + 0.02 * number]) + 0.02 * share[:, None]
    poses[..., 3:] = np.array([200.0 + number, -50.0, 10.0]) + 0.5 * share[:, None]
    moved = {camera: vehicle @ pose([0.001, 0, 0], [0.1 * camera, 0, 0]) for camera in range(1, 6)}
    segmentation: dict[int, list[NDArray[Any] | None]] = {
        1: [
            np.stack([rng.integers(0, 9, SHAPES[1]), rng.integers(0, 23, SHAPES[1])], 2)
            for _ in range(2)
        ]
    }
    time = 1550083467346370 + 100_000 * number
    labels = segmentation if labelled else {}
    return Scripted(time, vehicle, ranges, poses, projections, moved, labels)


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _list_column(values: Sequence[Any], kind: Any) -> Any:
    return pa.array([None if value is None else np.ravel(value) for value in values], kind)


def _image_columns(
    component: str, rows: Sequence[Sequence[NDArray[Any] | None]], kind: Any
) -> dict[str, Any]:
    columns = {}
    for echo in range(len(rows[0])):
        name = f"[{component}].range_image_return{echo + 1}"
        images = [row[echo] for row in rows]
        columns[f"{name}.values"] = _list_column(images, pa.list_(kind))
        shapes = [[0, 0, 0] if image is None else image.shape for image in images]
        columns[f"{name}.shape"] = pa.array(shapes, pa.list_(pa.int32(), 3))
    return columns


def write_table(path: Path, columns: Mapping[str, Any], group: int = 7) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, row_group_size=group, compression="zstd")


def change_column(path: Path, name: str, values: Any) -> None:
    """Write a file again with another column, or without it."""
    table = pq.read_table(path)
    position = table.column_names.index(name)
    table = table.remove_column(position)
    if values is not None:
        table = table.add_column(position, name, [values])
    pq.write_table(table, path)


def write_segment(
    root: Path, frames: Sequence[Scripted], name: str = SEGMENT, folder: str = "training"
) -> Path:
    """Write all components of a segment; rows of sensors are in no particular order."""

    def write(component: str, columns: dict[str, Any]) -> None:
        path = root / folder / component / f"{name}.parquet"
        rows = len(next(iter(columns.values())))
        write_table(path, {"key.segment_context_name": [name] * rows, **columns})

    def keyed(of: str, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        times = pa.array([time for time, _ in keys], pa.int64())
        sensors = pa.array([sensor for _, sensor in keys], pa.int8())
        return {"key.frame_timestamp_micros": times, f"key.{of}_name": sensors}

    for component, prefix, part, kind in (
        ("lidar", "LiDARComponent", "ranges", pa.float32()),
        ("lidar_camera_projection", "LiDARCameraProjectionComponent", "projections", pa.float32()),
        ("lidar_segmentation", "LiDARSegmentationLabelComponent", "segmentation", pa.int32()),
    ):
        keys = [(each.time, n) for each in frames for n in reversed(getattr(each, part))]
        rows = [getattr(each, part)[n] for each in frames for n in reversed(getattr(each, part))]
        if keys:
            write(component, {**keyed("laser", keys), **_image_columns(prefix, rows, kind)})
    write(
        "lidar_pose",
        {
            **keyed("laser", [(each.time, 1) for each in frames]),
            **_image_columns(
                "LiDARPoseComponent", [[each.pixel_poses] for each in frames], pa.float32()
            ),
        },
    )
    transforms = pa.list_(pa.float64())
    write(
        "vehicle_pose",
        {
            "key.frame_timestamp_micros": [each.time for each in frames],
            "[VehiclePoseComponent].world_from_vehicle.transform": _list_column(
                [each.world_from_vehicle for each in frames], transforms
            ),
        },
    )
    beams = "[LiDARCalibrationComponent].beam_inclination"
    write(
        "lidar_calibration",
        {
            "key.laser_name": pa.array(list(LASER_POSES), pa.int8()),
            "[LiDARCalibrationComponent].extrinsic.transform": _list_column(
                list(LASER_POSES.values()), transforms
            ),
            f"{beams}.min": [TOP_INCLINATIONS[0], *[EDGES[0]] * 4],
            f"{beams}.max": [TOP_INCLINATIONS[-1], *[EDGES[1]] * 4],
            f"{beams}.values": _list_column([TOP_INCLINATIONS, None, None, [], None], transforms),
        },
    )
    keys = [(each.time, camera) for each in frames for camera in (3, 1, 5, 2, 4)]
    write(
        "camera_image",
        {
            **keyed("camera", keys),
            "[CameraImageComponent].image": [jpeg(time % 97 + camera) for time, camera in keys],
            "[CameraImageComponent].pose.transform": _list_column(
                [each.image_poses[camera] for each in frames for camera in (3, 1, 5, 2, 4)],
                transforms,
            ),
        },
    )
    prefix = "[CameraCalibrationComponent]"
    write(
        "camera_calibration",
        {
            "key.camera_name": pa.array(list(CAMERA_POSES), pa.int8()),
            **{f"{prefix}.intrinsic.{word}": [x] * 5 for word, x in INTRINSICS.items()},
            f"{prefix}.extrinsic.transform": _list_column(list(CAMERA_POSES.values()), transforms),
            f"{prefix}.width": [SIZE[0]] * 5,
            f"{prefix}.height": [SIZE[1]] * 5,
        },
    )
    return root
