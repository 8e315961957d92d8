"""Borders of regions, and the colours of the points in them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clever.cache import CachedFrame
from clever.cache.store.layers import NO_REGION
from clever.cache.store.records.models import RegionInfo, RegionSettings
from clever.pipeline.pictures.class_colours import class_colours
from clever.pipeline.pictures.features import UNSEEN, FrameFeatures
from clever.pipeline.pictures.regions import (
    borders,
    region_colours,
    region_panels,
    regions_of_pairs,
)

MAPS = np.array([[[0, 0, 1], [0, 2, NO_REGION]], [[7, 7, 7], [7, 300, 7]]], np.uint16)


def frame(uv: list[tuple[float, float]], cameras: list[int]) -> FrameFeatures:
    """Pairs at some places of two images of 30x20 pixels."""
    count = len(uv)
    points = torch.zeros(count, 4)
    cached = CachedFrame(
        id="f", scene="s", timestamp=0, points=points, pair_point=torch.arange(count),
        pair_camera=torch.tensor(cameras), pair_uv=torch.tensor(uv),
        image_size=torch.tensor([[30, 20]] * 2), tokens=torch.zeros(2, 1, 1, 1),
        calibration=None, global_from_lidar=torch.eye(4),
    )  # fmt: skip
    empty = torch.zeros(count, 1)
    return FrameFeatures(cached, ("left", "right"), None, empty, {}, {})


def test_borders_lie_where_the_next_pixel_is_another_region() -> None:
    assert borders(MAPS[0]).tolist() == [[False, True, True], [True, True, False]]
    assert borders(np.full((3, 4), 5, np.uint16)).sum() == 0


def test_a_point_has_the_region_under_its_pixel() -> None:
    places = [(0.0, 0.0), (0.34, 0.99), (0.67, 0.1), (1.0, 1.0), (0.5, 0.6), (0.5, 0.4)]
    regions = regions_of_pairs(frame(places, [0, 0, 0, 0, 1, 1]), MAPS)
    assert regions.tolist() == [0, 2, 1, NO_REGION, 300, 7]


def test_classes_have_their_colours_and_segments_one_each() -> None:
    regions = np.array([1, 0, NO_REGION, 1], np.uint16)
    colours = region_colours(regions, ("road", "car"))
    road, car = class_colours(("road", "car")) / 255
    np.testing.assert_allclose(colours, [car, road, [UNSEEN] * 3, car])
    segments = region_colours(np.array([65534, 3, 9, 3], np.uint16), ())
    assert len({tuple(colour) for colour in segments.tolist()}) == 3
    np.testing.assert_array_equal(segments[1], segments[3])
    assert region_colours(np.array([NO_REGION], np.uint16), ()).tolist() == [[UNSEEN] * 3]


def test_borders_are_drawn_at_their_place(tmp_path: Path) -> None:
    """A map of two halves: one upright line in the middle of the camera's panel."""
    halves = np.zeros((2, 40, 60), np.uint16)
    halves[:, :, 30:] = 1
    settings = RegionSettings(kind="class", source="files", size=(40, 60), classes=("road", "car"))
    info = RegionInfo("regions/a", settings)
    region_panels(frame([(0.1, 0.5), (0.9, 0.5)], [0, 0]), halves, info, [0], "t", tmp_path / "a")
    picture = np.array(Image.open(tmp_path / "a").convert("RGB")).astype(int)
    yellow = (picture[..., 0] > 200) & (picture[..., 1] > 180) & (picture[..., 2] < 120)
    columns = np.flatnonzero(yellow.sum(0) > 50)
    ground = np.flatnonzero((picture == 0x11).all(2).sum(0) > 50)
    middle = (len(picture[0]) - 1) / 2
    panel = ground[ground < middle]
    assert abs(columns.mean() - (panel[0] + panel[-1]) / 2) < 0.03 * np.ptp(panel)
    assert np.ptp(columns) < 0.05 * np.ptp(panel)
