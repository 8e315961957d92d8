"""Distributions by hand, and the pictures of a frame."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clever.pipeline.corrupted.distributions import (
    DESCRIPTIONS,
    Distribution,
    distribution,
    distribution_table,
)
from clever.pipeline.corrupted.gallery import corruption_gallery
from clever.pipeline.corruptions.registry import CORRUPTIONS, SEVERITIES, corrupt, dose_of
from clever.pipeline.corruptions.sweep import Corrupted, Sweep, unchanged
from clever.pipeline.datasets import IGNORE, LidarDataset, build_dataset
from clever.pipeline.pictures.class_colours import ERROR_RED
from clever.pipeline.pictures.corruptions import DrawnSweep

FOG = dose_of("fog", "light", "nuscenes")


def little_sweep() -> Sweep:
    points = np.array(
        [[1, 0, 0, 0.0], [2, 0, 0, 0.1], [3, 0, 0, 0.2], [4, 0, 0, 0.5], [5, 0, 0, 1.0]],
        np.float32,
    )
    ring = np.arange(5)
    return Sweep(points, ring, ring < 2, np.full(5, -1, np.int16))


def test_shares_and_histograms_by_hand() -> None:
    sweep = little_sweep()
    points = sweep.points[[0, 1, 2, 4]].copy()
    points[1, 3] = 0.05  # dimmer
    points[2, 3] = 0.3  # brighter
    points[3] = [2.5, 0, 0, 2.0]  # an echo before the last
    result = Corrupted(points, np.array([0, 1, 2, 4]), np.array([False, False, False, True]))
    own = distribution(sweep, result, FOG)
    assert (own.clean, own.points) == (5, 4)
    shares = (own.removed, own.inserted, own.moved, own.dimmer, own.brighter)
    assert shares == pytest.approx((0.2, 0.2, 0.2, 0.2, 0.2))
    # 0, 12.75, 76.5 and 510 of 255; before 0, 25.5, 51, 127.5 and 255.
    assert own.histogram == (0, 1, 0, 0, 1, 0, 0, 1, 0, 1)
    assert own.before == (0, 1, 0, 0, 0, 1, 1, 1, 1, 0)
    assert own.described is False
    assert own.words == "4 points, 20.0 % removed, 20.0 % inserted"
    table = distribution_table("a frame", [own])
    assert table.rows[0][:3] == ["clean", "5", "0.0"]
    assert table.rows[1][-1] == "NO"
    assert len({len(row) for row in (table.header, *table.rows)}) == 1
    assert str(table).splitlines()[0] == "a frame"


def test_descriptions_hold_for_what_is_done_and_fail_for_something_else(
    make_sweep: Callable[..., Sweep],
) -> None:
    sweep = make_sweep(azimuths=100)
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            dose = dose_of(name, severity, "nuscenes")
            result = corrupt(sweep, dose, seed=0, frame="a")
            assert distribution(sweep, result, dose).described, dose
            test = DESCRIPTIONS[name][1]
            fewer = result.part(np.arange(1, len(result)))
            if name in ("fog", "motion_blur", "crosstalk", "incomplete_echo", "cross_sensor"):
                assert not test(sweep, fewer, dose), f"{dose}: a point too few"
            if name != "motion_blur":
                shifted = replace(result, points=result.points + np.float32(0.5))
                assert not test(sweep, shifted, dose), f"{dose}: all points elsewhere"
            else:
                brighter = result.points * np.array([1, 1, 1, 1.5], np.float32)
                assert not test(sweep, replace(result, points=brighter), dose)


@pytest.mark.parametrize("name", ["wet_ground", "beam_missing"])
def test_points_that_must_stay_are_missed(make_sweep: Callable[..., Sweep], name: str) -> None:
    sweep = make_sweep(azimuths=100)
    dose = dose_of(name, "light", "nuscenes")  # type: ignore[arg-type]
    test = DESCRIPTIONS[dose.name][1]
    whole = unchanged(sweep)
    assert test(sweep, whole, dose)
    above = int(np.flatnonzero(~sweep.ground)[0])
    assert not test(sweep, whole.part(np.arange(len(sweep)) != above), dose)


@pytest.fixture
def labelled(write_kitti: Callable[..., Path]) -> LidarDataset:
    root = write_kitti({"08": 1}, points=2000, images=False)
    return build_dataset("semantickitti", root, split="val")


def test_a_gallery_of_a_frame(labelled: LidarDataset, tmp_path: Path) -> None:
    many = {"crosstalk.share": (0.3, 0.3, 0.3)}
    names = ("crosstalk", "incomplete_echo")
    gallery = corruption_gallery(
        labelled, 0, "semantickitti", tmp_path, corruptions=names, levels=many
    )
    assert list(gallery.pictures) == ["crosstalk", "incomplete_echo"]
    assert gallery.left_out == []
    assert len(gallery.distributions) == 6
    assert "ground from labels" in gallery.title
    red: dict[str, int] = {}
    for path in (gallery.overview, *gallery.pictures.values()):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels.shape[1] > 1000
        near = np.abs(pixels - np.round(255 * np.array(ERROR_RED))) < 12
        red[path.stem] = int(near.all(2).sum())
    # Of the echoes that are lost the legend alone is red.
    assert red["crosstalk"] > 10 * red["incomplete_echo"]
    assert red["overview"] > 3 * red["incomplete_echo"]
    assert gallery.table.read_text().count("\n| ") >= 8
    assert gallery.notes() == [f"pictures: {gallery.overview} and 2 beside it"]


def test_labels_can_be_given_and_are_missed(
    write_kitti: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_kitti({"08": 1}, points=2000, images=False, labels=False)
    dataset = build_dataset("semantickitti", root, split="val")
    bare = corruption_gallery(
        dataset, 0, "semantickitti", tmp_path, corruptions=("incomplete_echo", "crosstalk")
    )
    assert bare.left_out == ["incomplete_echo"]
    assert bare.notes()[-1] == "incomplete_echo is left out: the frame has no labels"
    cars = np.where(np.arange(2000) < 500, 0, IGNORE).astype(np.uint8)
    told = corruption_gallery(
        dataset,
        0,
        "semantickitti",
        tmp_path,
        corruptions=("incomplete_echo",),
        severities=("heavy",),
        labels=cars,
    )
    (own,) = told.distributions
    assert isinstance(own, Distribution)
    assert own.removed == pytest.approx(int(0.95 * 500) / 2000)


def test_few_removed_points_are_drawn_and_many_are_not() -> None:
    points = np.zeros((10, 4), np.float32)
    drawn = DrawnSweep(points, np.zeros(10, bool), points[:1], 0.5, "")
    assert len(drawn.lost) == 1
    assert len(replace(drawn, removed=points[:2]).lost) == 0
    colours = replace(drawn, inserted=np.arange(10) == 3).colours()
    np.testing.assert_allclose(colours[3], ERROR_RED)
    assert (colours[4] != colours[3]).any()
    points[:3, 3] = 0.1, 0.5, 9.0
    scale = replace(drawn, points=points).colours()
    np.testing.assert_allclose(scale[1], scale[2])
    assert (scale[0] != scale[1]).any()
