"""Colours of classes: the same for the same thing in every dataset."""

import colorsys
import math
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

_COLOURS = {
    "road": "#804080",
    "driveable_surface": "#804080",
    "parking": "#c87fc8",
    "sidewalk": "#e83fb4",
    "other-ground": "#5c3a5c",
    "other_flat": "#5c3a5c",
    "terrain": "#a6d96a",
    "vegetation": "#2e8b2e",
    "trunk": "#7a4a21",
    "building": "#e0c9a0",
    "manmade": "#e0c9a0",
    "fence": "#b5793b",
    "barrier": "#ff7f32",
    "pole": "#7d8ca3",
    "traffic-sign": "#ffe119",
    "traffic_cone": "#ffb000",
    "car": "#2f7ed8",
    "truck": "#1b3a8c",
    "bus": "#15b3a6",
    "trailer": "#7b68ee",
    "construction_vehicle": "#a08000",
    "other-vehicle": "#15b3a6",
    "bicycle": "#8be0ff",
    "motorcycle": "#00c8ff",
    "person": "#ffffff",
    "pedestrian": "#ffffff",
    "bicyclist": "#ff6f91",
    "motorcyclist": "#ffa8e8",
}
"""By name, for the classes of SemanticKITTI and nuScenes."""
ERROR_RED = (0.9, 0.1, 0.1)
"""RGB in [0, 1] in which pictures show what is wrong; no class has it, nor one near it."""
_NEAR_RED = 0.4
"""Distances in RGB below this look like errors."""
_GOLDEN = 0.6180339887498949
"""Steps of this size around the circle of hues never come close to one another."""


def class_colours(names: Sequence[str]) -> NDArray[np.uint8]:
    """(K, 3) uint8 RGB, all different; names that are not listed get hues around the circle. None
    is close to `ERROR_RED`."""
    hues, reserved = _hues(), {_rgb(text) for text in _COLOURS.values()}
    colours: list[tuple[int, int, int]] = []
    for name in names:
        colour = _rgb(_COLOURS[name]) if name in _COLOURS else None
        if colour is None or colour in colours:
            colour = next(hue for hue in hues if hue not in reserved and hue not in colours)
        colours.append(colour)
    return np.array(colours, np.uint8).reshape(-1, 3)


def _hues() -> Iterator[tuple[int, int, int]]:
    for step in count():
        rgb = colorsys.hsv_to_rgb(step * _GOLDEN % 1, 0.65, 0.9 - 0.3 * (step % 2))
        if math.dist(rgb, ERROR_RED) > _NEAR_RED:
            red, green, blue = (round(255 * part) for part in rgb)
            yield red, green, blue


def _rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
