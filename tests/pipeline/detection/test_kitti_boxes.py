"""KITTI's objects in the LiDAR frame and back; rectangles in the image."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from clever.pipeline.datasets.readers.kitti_layout import KittiCalibration
from clever.pipeline.datasets.readers.kitti_objects import read_objects, write_objects
from clever.pipeline.detection.boxes import Boxes, wrapped
from clever.pipeline.detection.kitti_average_precision import average_precisions
from clever.pipeline.detection.kitti_boxes import camera_boxes, kitti_objects, lidar_boxes

from .box_samples import box, random_boxes
from .kitti_samples import objects, random_objects

AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Camera x right, y down, z ahead <- LiDAR x ahead, y left, z up."""
PROJECTION = np.array([[700.0, 0, 600, 45], [0, 700, 180, 0.2], [0, 0, 1, 0.003]])


def calibration(turn: tuple[float, float, float] = (0, 0, 0)) -> KittiCalibration:
    """Euler angles in radians about the camera's axes."""
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler("xyz", turn).as_matrix()
    rotation[:3, 3] = (0.1, -0.3, 0.4)
    return KittiCalibration(Path("calib.txt"), PROJECTION, rotation @ AXES)


def test_an_aligned_camera_gives_the_usual_formula() -> None:
    one = objects("Car", [3.0])  # x = 3, y = 1 (lower side), z = 20, two metres high
    one.rotations[:] = 0.4
    ours = lidar_boxes(one, calibration().camera0_from_lidar).rows[0].tolist()
    yaw = -(0.4 + math.pi / 2)
    assert ours == pytest.approx([19.6, -2.9, -0.3, 4, 2, 2, yaw], abs=1e-12)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.02, 0.01, -0.03), (0.1, 1.2, 0.1)])
def test_there_and_back(turn: tuple[float, float, float]) -> None:
    place = calibration(turn)
    boxes = random_boxes(20, 0)
    boxes = Boxes(boxes.rows + torch.tensor([20.0, 0, 0, 0, 0, 0, 0]))
    results = kitti_objects(boxes, ["Car"] * 20, torch.rand(20), place, (1242, 375))
    back = lidar_boxes(results, place.camera0_from_lidar)
    torch.testing.assert_close(back.rows[:, :6], boxes.rows[:, :6])
    torch.testing.assert_close(wrapped(back.yaws - boxes.yaws), torch.zeros(20).double())
    # The box's own corners, but for the lean of one vertical axis against the other.
    corners = torch.cat([boxes.corners(), torch.ones(20, 8, 1).double()], 2)
    inside = corners @ torch.tensor(place.camera0_from_lidar).T
    ours = camera_boxes(results).corners()[..., [0, 2, 1]] * torch.tensor([1.0, -1, 1]).double()
    lean = math.acos(min(-place.camera0_from_lidar[1, 2], 1.0))
    assert (ours - inside[..., :3]).abs().max() <= 1.2 * 4 * lean + 1e-9
    angles = results.rotations - np.arctan2(results.bottoms[:, 0], results.bottoms[:, 2])
    np.testing.assert_allclose(np.exp(1j * results.alpha), np.exp(1j * angles))


def test_rectangles_are_around_the_projected_corners_in_the_image() -> None:
    place = calibration()
    boxes = Boxes(torch.cat([box(20, 1, 0, 4, 2, 1.5, 0.3).rows, box(12, 11, 0, 4, 2, 2, 0).rows]))
    ours = kitti_objects(boxes, ["Car", "Car"], torch.ones(2), place, (1242, 375)).image_boxes
    for row, corners in zip(ours, boxes.corners().numpy(), strict=True):
        pixels = np.concatenate([corners, np.ones((8, 1))], 1) @ place.camera0_from_lidar.T
        pixels = pixels @ np.hstack([PROJECTION[:, :3], PROJECTION[:, 3:]]).T
        pixels = pixels[:, :2] / pixels[:, 2:]
        low, high = pixels.min(0).clip(0), np.minimum(pixels.max(0), (1241, 374))
        np.testing.assert_allclose(row, [*low, *high])
    assert ours[1, 0] == 0
    assert ours[0, 0] > 0


def test_a_box_that_reaches_behind_the_camera_and_one_out_of_the_image() -> None:
    place = calibration()
    rows = [box(1, 0, -1.5, 4, 2, 1, 0), box(-9, 0, 0, 4, 2, 2, 0), box(12, 40, 0, 4, 2, 2, 0)]
    boxes = Boxes(torch.cat([one.rows for one in rows]))
    results = kitti_objects(boxes, ["Car"] * 3, torch.ones(3), place, (1242, 375))
    around, behind, aside = results.image_boxes
    # The box lies below and passes under the camera: both sides and the lower edge are cut; its
    # far upper edge is seen at depth 3.4 + 0.003, 0.7 m below camera 0.
    assert around[0] == 0
    assert around[2:].tolist() == [1241, 374]
    assert around[1] == pytest.approx((700 * 0.7 + 180 * 3.4 + 0.2) / 3.403)
    assert behind.tolist() == [0, 0, 0, 0]
    assert (aside[2] - aside[0]) * (aside[3] - aside[1]) == 0
    assert results.names == ("Car",) * 3
    assert results.truncated.tolist() == results.occluded.tolist() == [-1] * 3


def test_no_boxes() -> None:
    results = kitti_objects(Boxes(torch.zeros(0, 7)), [], torch.zeros(0), calibration(), (9, 9))
    assert len(results) == len(lidar_boxes(results, AXES)) == 0
    crowd = random_objects(np.random.default_rng(0), 8, True)
    assert len(lidar_boxes(crowd, AXES)) == 8


def test_result_files_of_the_truth_measure_100(tmp_path: Path) -> None:
    """Boxes in the LiDAR frame go to result files and are read back by the matching rules."""
    place, generator = calibration((0.02, 0.01, -0.03)), torch.manual_seed(0)
    x, y = torch.meshgrid(torch.arange(10.0, 30, 5), torch.arange(-6.0, 7, 3), indexing="ij")
    rows = torch.tensor([0.0, 0, -0.5, 3.9, 1.6, 1.5, 0]).repeat(20, 1)
    rows[:, 0], rows[:, 1] = x.flatten(), y.flatten()
    truth, results = [], []
    for frame in range(4):
        rows[:, 6] = 0.2 * torch.rand(20, generator=generator)
        scores = torch.rand(20, generator=generator)
        ours = kitti_objects(Boxes(rows.clone()), ["Car"] * 20, scores, place, (1242, 375))
        path = tmp_path / f"{frame:06}.txt"
        write_objects(path, ours)
        results.append(read_objects(f"{frame}", path, scored=True))
        visible = replace(ours, truncated=np.zeros(20), occluded=np.zeros(20), scores=None)
        truth.append(visible)
        back = lidar_boxes(results[-1], place.camera0_from_lidar)
        torch.testing.assert_close(back.rows.float(), rows, atol=1e-5, rtol=0)
    table = average_precisions(truth, results, ("Car",))
    moderate = [row for row in table if row.difficulty == "moderate"]
    assert [row.objects for row in moderate] == [80] * 6
    assert [row.r40 for row in moderate] == pytest.approx([100] * 6)
