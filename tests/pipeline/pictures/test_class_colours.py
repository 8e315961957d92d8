"""Colours of classes."""

import numpy as np

from clever.pipeline.datasets.nuscenes import CLASSES as NUSCENES
from clever.pipeline.datasets.semantickitti import CLASSES as KITTI
from clever.pipeline.pictures.class_colours import ERROR_RED, class_colours


def test_the_same_thing_has_one_colour_in_both_datasets() -> None:
    kitti = dict(zip(KITTI, class_colours(KITTI).tolist(), strict=True))
    nuscenes = dict(zip(NUSCENES, class_colours(NUSCENES).tolist(), strict=True))
    for one, other in (
        ("car", "car"),
        ("road", "driveable_surface"),
        ("person", "pedestrian"),
        ("vegetation", "vegetation"),
    ):
        assert kitti[one] == nuscenes[other]
    assert kitti["car"] == [0x2F, 0x7E, 0xD8]


def test_colours_differ_within_a_dataset() -> None:
    many = [f"class {number}" for number in range(60)]
    for names in (KITTI, NUSCENES, many, ["road", "driveable_surface", "x", "car", "y"]):
        colours = class_colours(names)
        assert (colours.shape, colours.dtype) == ((len(names), 3), np.uint8)
        assert len({tuple(colour) for colour in colours.tolist()}) == len(names)
    assert class_colours([]).shape == (0, 3)


def test_no_class_has_the_red_of_errors() -> None:
    for names in (KITTI, NUSCENES, [f"class {number}" for number in range(40)]):
        colours = class_colours(names) / 255
        assert np.linalg.norm(colours - ERROR_RED, axis=1).min() > 0.4
        if len(names) < 20:
            distances = np.linalg.norm(colours[:, None] - colours, axis=2)
            assert distances[~np.eye(len(names), dtype=bool)].min() > 0.1
