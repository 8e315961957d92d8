"""Datasets for measuring: generated camera frames, and any dataset over and over."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...cache.frame import Camera, Frame
from ..datasets import IGNORE, LidarDataset
from .random_frames import IMAGE_SIZE

POINTS = 34688
"""Of a nuScenes sweep."""


class GeneratedFrames:
    """Frames of random images and random points on disk, as large as those of nuScenes; all are the
    same.

    Images are noise at all scales, so that JPEG has as much to do as with a street.

    Args:
        folder: where the images and the points are written.
        cameras: images of the frame.
    """

    name = "generated"
    class_names: tuple[str, ...] = ()

    def __init__(self, folder: Path, cameras: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.cameras = tuple(f"camera{number}" for number in range(cameras))
        self.frame_ids: Sequence[str] = ["generated/0"]
        self.scenes: Sequence[str] = ["generated"]
        self._folder = folder
        focal = 1266.0
        intrinsics = np.array(
            [[focal, 0, IMAGE_SIZE[0] / 2], [0, focal, IMAGE_SIZE[1] / 2], [0, 0, 1]]
        )
        self._cameras = []
        for number, name in enumerate(self.cameras):
            Image.fromarray(_picture(rng)).save(folder / f"{name}.jpg", quality=70)
            turn = 2 * np.pi * number / cameras
            forward, left = (np.cos(turn), np.sin(turn), 0), (-np.sin(turn), np.cos(turn), 0)
            pose = np.eye(4)
            pose[:3, :3] = np.array([np.negative(left), (0, 0, -1), forward])
            self._cameras.append(
                Camera(name, folder / f"{name}.jpg", *IMAGE_SIZE, intrinsics, pose)
            )
        cloud = rng.uniform([-50, -50, -2, 0], [50, 50, 4, 1], (POINTS, 4)).astype(np.float32)
        cloud.tofile(folder / "points.bin")

    def __len__(self) -> int:
        return 1

    def frame(self, index: int) -> Frame:
        return Frame(
            self.frame_ids[index],
            "generated",
            0,
            self.points(index),
            np.eye(4),
            tuple(self._cameras),
        )

    def points(self, index: int) -> NDArray[np.float32]:
        return np.fromfile(self._folder / "points.bin", np.float32).reshape(-1, 4)

    def has_labels(self, index: int) -> bool:
        return False

    def labels(self, index: int) -> NDArray[np.uint8]:
        return np.full(POINTS, IGNORE, np.uint8)


class RepeatedFrames:
    """The first `frames` frames of a dataset that begins anew whenever it ends; every repetition
    has ids of its own."""

    def __init__(self, dataset: LidarDataset, frames: int) -> None:
        self.name, self.cameras, self.class_names = (
            dataset.name,
            dataset.cameras,
            dataset.class_names,
        )
        self._dataset = dataset
        self.frame_ids: Sequence[str] = [f"{number:06}" for number in range(frames)]
        self.scenes: Sequence[str] = ["repeated"] * frames

    def __len__(self) -> int:
        return len(self.frame_ids)

    def frame(self, index: int) -> Frame:
        return replace(
            self._dataset.frame(index % len(self._dataset)),
            id=self.frame_ids[index],
            scene="repeated",
        )

    def points(self, index: int) -> NDArray[np.float32]:
        return self._dataset.points(index % len(self._dataset))

    def has_labels(self, index: int) -> bool:
        return self._dataset.has_labels(index % len(self._dataset))

    def labels(self, index: int) -> NDArray[np.uint8]:
        return self._dataset.labels(index % len(self._dataset))


def _picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) noise with as much contrast at every scale."""
    width, height = IMAGE_SIZE
    total = np.zeros((height, width, 3))
    for cell in (400, 200, 100, 50, 25, 12, 6):
        small = rng.integers(0, 256, (-(-height // cell), -(-width // cell), 3), dtype=np.uint8)
        total += (
            np.asarray(
                Image.fromarray(small).resize(IMAGE_SIZE, Image.Resampling.BILINEAR), np.float64
            )
            - 128
        )
    return (128 + total / 4).clip(0, 255).astype(np.uint8)
