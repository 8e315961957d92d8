"""Write generated drives in the layout of KITTI's object benchmark, to try `clever detect` on it.

    clever make-drives --out drives --scenes 8
    python docs/kitti_from_drives.py drives kitti
    clever detect --dataset kitti --data-root kitti ...

The front camera becomes camera 2, the LiDAR's axes turn to KITTI's (x ahead). Cars, pedestrians
and bicycles get KITTI's names (a bicycle without a rider is no cyclist, but there is no other class
for it), everything else with a box becomes Misc. How far an object is hidden or cut is no human's
judgement as in KITTI: occluded is 0 from 30 points on, 1 from 10 on, else 2; truncated is 0 where
the centre is in the image, else 0.4.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clever.cache.frame import Camera
from clever.pipeline.datasets.boxes import LabelledBoxes
from clever.pipeline.datasets.nuscenes import NuScenesDataset
from clever.pipeline.datasets.readers.kitti_layout import KittiCalibration
from clever.pipeline.datasets.readers.kitti_objects import KittiObjects, write_objects
from clever.pipeline.detection.boxes import Boxes
from clever.pipeline.detection.kitti_boxes import kitti_objects

NAMES = {"car": "Car", "pedestrian": "Pedestrian", "bicycle": "Cyclist"}
VELO_FROM_LIDAR = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""KITTI's LiDAR is x ahead, y to the left; that of the drives x to the right, y ahead."""


def labels(boxes: LabelledBoxes, camera: Camera, calibration: KittiCalibration) -> KittiObjects:
    """Boxes with points of which something is in the image, as KITTI's labels."""
    assert boxes.points is not None
    boxes = boxes[boxes.points > 0]
    assert boxes.points is not None
    rows = boxes.rows.copy()
    rows[:, :3] = rows[:, :3] @ VELO_FROM_LIDAR[:3, :3].T
    rows[:, 6] -= np.pi / 2
    names = [NAMES.get(name, "Misc") for name in boxes.names]
    size = camera.width, camera.height
    scores = torch.zeros(len(rows))
    objects = kitti_objects(Boxes(torch.from_numpy(rows)), names, scores, calibration, size)
    centre = np.concatenate([objects.bottoms, np.ones((len(rows), 1))], 1)
    u, v, depth = calibration.projection @ centre.T
    inside = (depth > 0) & (u >= 0) & (v >= 0) & (u < size[0] * depth) & (v < size[1] * depth)
    occluded = np.where(boxes.points >= 30, 0.0, np.where(boxes.points >= 10, 1.0, 2.0))
    left, top, right, bottom = objects.image_boxes.T
    seen = (right - left > 1) & (bottom - top > 1)
    whole = KittiObjects(
        objects.names, np.where(inside, 0.0, 0.4), occluded, objects.alpha, objects.image_boxes,
        objects.sizes, objects.bottoms, objects.rotations,
    )  # fmt: skip
    return whole[seen]


def matrix_line(name: str, matrix: NDArray[np.float64]) -> str:
    """A line of a calibration file."""
    return f"{name}: {' '.join(f'{value:.12e}' for value in matrix.ravel())}\n"


def convert(drives: Path, out: Path) -> None:
    """Write every keyframe of both splits; those of ``val`` are ``test`` too."""
    training, number = out / "training", 0
    for part in ("velodyne", "image_2", "calib", "label_2"):
        (training / part).mkdir(parents=True, exist_ok=True)
    (out / "ImageSets").mkdir(exist_ok=True)
    for split in ("train", "val"):
        dataset = NuScenesDataset(drives, split=split, cameras=("CAM_FRONT",))
        ids = []
        for index in range(len(dataset)):
            name = f"{number:06}"
            frame = dataset.frame(index)
            (camera,) = frame.cameras
            assert isinstance(camera.image, Path)
            with Image.open(camera.image) as image:
                image.save(training / "image_2" / f"{name}.png")
            cloud = frame.points.copy()
            cloud[:, :3] = cloud[:, :3] @ VELO_FROM_LIDAR[:3, :3].T
            cloud.astype("<f4").tofile(training / "velodyne" / f"{name}.bin")
            projection = np.concatenate([camera.intrinsics, np.zeros((3, 1))], 1)
            camera_from_velo = camera.camera_from_lidar @ np.linalg.inv(VELO_FROM_LIDAR)
            path = training / "calib" / f"{name}.txt"
            path.write_text(
                matrix_line("P2", projection)
                + matrix_line("R0_rect", np.eye(3))
                + matrix_line("Tr_velo_to_cam", camera_from_velo[:3])
            )
            calibration = KittiCalibration(path, projection, camera_from_velo)
            objects = labels(dataset.boxes(index), camera, calibration)
            write_objects(training / "label_2" / f"{name}.txt", objects)
            ids.append(name)
            number += 1
        (out / "ImageSets" / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
    write_testing(out, ids)


def write_testing(out: Path, ids: Sequence[str]) -> None:
    """Frames of ``training`` once more as ``testing``, which has no labels."""
    for part, ending in (("velodyne", "bin"), ("image_2", "png"), ("calib", "txt")):
        folder = out / "testing" / part
        folder.mkdir(parents=True, exist_ok=True)
        for name in ids:
            copyfile(out / "training" / part / f"{name}.{ending}", folder / f"{name}.{ending}")
    (out / "ImageSets" / "test.txt").write_text("".join(f"{name}\n" for name in ids))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
