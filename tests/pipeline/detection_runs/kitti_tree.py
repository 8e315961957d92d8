"""A tree in the layout of KITTI's object benchmark with a car and a pedestrian in every frame."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clever.pipeline.datasets.readers.kitti_layout import read_calibration
from clever.pipeline.datasets.readers.kitti_objects import KittiObjects, write_objects
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.kitti_boxes import kitti_objects

SIZE = (600, 200)
CALIBRATION = """P2: 300 0 300 0 0 300 100 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.3
"""


def rows_of(number: int) -> np.ndarray:
    """A car and a pedestrian, (2, 7), in the LiDAR frame."""
    side = (-1) ** number
    return np.array(
        [
            [9 + number % 3, 2.0 * side, -0.9, 3.9, 1.6, 1.56, 0.3 * side],
            [7 + number % 2, -1.5 * side, -0.8, 0.8, 0.6, 1.73, 0.0],
        ]
    )


def make_tree(root: Path, train: int, val: int) -> Path:
    """Frames 0, 1, ... of which the first are to train on; some 500 points each."""
    training = root / "training"
    for part in ("velodyne", "image_2", "calib", "label_2"):
        (training / part).mkdir(parents=True)
    (root / "ImageSets").mkdir()
    for number in range(train + val):
        _write_frame(training, number)
    for name, numbers in (("train", range(train)), ("val", range(train, train + val))):
        lines = "".join(f"{number:06}\n" for number in numbers)
        (root / "ImageSets" / f"{name}.txt").write_text(lines)
    return root


def _write_frame(training: Path, number: int) -> None:
    name, rng, rows = f"{number:06}", np.random.default_rng(number), rows_of(number)
    ground = rng.uniform([1, -12, -1.8, 0], [25, 12, -1.7, 0.2], (300, 4))
    behind = ground[:40] * [-1, 1, 1, 1]
    parts = [ground, behind]
    for row in rows:
        inside = rng.uniform(-0.49, 0.49, (100, 3)) * row[3:6]
        c, s = np.cos(row[6]), np.sin(row[6])
        inside[:, :2] = inside[:, :2] @ np.array([[c, s], [-s, c]])
        parts.append(np.concatenate([inside + row[:3], rng.uniform(0.5, 1, (100, 1))], 1))
    cloud = np.concatenate(parts).astype("<f4")
    cloud.tofile(training / "velodyne" / f"{name}.bin")
    Image.new("RGB", SIZE).save(training / "image_2" / f"{name}.png")
    path = training / "calib" / f"{name}.txt"
    path.write_text(CALIBRATION)
    found = kitti_objects(
        Boxes(torch.from_numpy(rows)),
        ("Car", "Pedestrian"),
        torch.zeros(2),
        read_calibration(name, path),
        SIZE,
    )
    labels = KittiObjects(
        found.names, np.zeros(2), np.zeros(2), found.alpha, found.image_boxes, found.sizes,
        found.bottoms, found.rotations,
    )  # fmt: skip
    write_objects(training / "label_2" / f"{name}.txt", labels)
    if number == 0:  # a region that nobody labelled
        with (training / "label_2" / f"{name}.txt").open("a") as file:
            file.write("DontCare -1 -1 -10 0 0 9 9 -1 -1 -1 -1000 -1000 -1000 -10\n")
