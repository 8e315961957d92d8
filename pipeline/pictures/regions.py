"""Pictures of regions: their borders on the images, and the points in their colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.store.layers import NO_REGION
from ...cache.store.records.models import RegionInfo
from .class_colours import class_colours
from .features import UNSEEN, FrameFeatures
from .figures import camera_grid, class_legend, draw_camera, save_figure, write_title

BORDER = (255, 230, 40, 255)
"""RGBA of a border."""


def borders(regions: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """(h, w): pixels whose neighbour to the right or below is of another region."""
    edges = np.zeros(regions.shape, bool)
    edges[:, :-1] |= regions[:, :-1] != regions[:, 1:]
    edges[:-1] |= regions[:-1] != regions[1:]
    return edges


def region_colours(regions: NDArray[np.uint16], classes: Sequence[str]) -> NDArray[np.float64]:
    """(K, 3) in [0, 1] of regions (K,): a class has its colour of all pictures, each segment
    another; grey where there is no region."""
    inside = regions != NO_REGION
    colours = np.full((len(regions), 3), UNSEEN)
    if classes:
        colours[inside] = class_colours(classes)[regions[inside]] / 255
    else:
        numbers, rank = np.unique(regions[inside], return_inverse=True)
        colours[inside] = class_colours([str(number) for number in numbers])[rank] / 255
    return colours


def regions_of_pairs(frame: FrameFeatures, maps: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(K,) region under every pair of the frame in maps (M, h, w)."""
    height, width = maps.shape[1:]
    cached = frame.cached
    column, row = (
        (cached.pair_uv[:, axis].double() * size).long().clamp(0, size - 1).numpy()
        for axis, size in enumerate((width, height))
    )
    return maps[cached.pair_camera.numpy(), row, column]


def region_panels(
    frame: FrameFeatures,
    maps: NDArray[np.uint16],
    info: RegionInfo,
    cameras: Sequence[int],
    title: str,
    path: Path,
) -> None:
    """For some cameras of a frame: the borders of its regions on the image, and its points in their
    regions' colours.

    Args:
        maps: (M, h, w) uint16 of all cameras.
        info: their layer.
    """
    classes, at_pairs = info.settings.classes, regions_of_pairs(frame, maps)
    figure, grid = camera_grid([frame.size(camera) for camera in cameras], 2, width=6.5)
    for row, camera in zip(grid, cameras, strict=True):
        size, own = frame.size(camera), maps[camera]
        count = len(np.unique(own[own != NO_REGION]))
        draw_camera(row[0], frame.image(camera), size, f"{frame.names[camera]}: {count} regions")
        overlay = np.zeros((*own.shape, 4), np.uint8)
        overlay[borders(own)] = BORDER
        row[0].imshow(
            overlay,
            extent=(-0.5, size[0] - 0.5, size[1] - 0.5, -0.5),
            interpolation="nearest",
        )
        mine, pixels = frame.pixels(camera)
        values = at_pairs[mine.numpy()]
        hit = len(np.unique(values[values != NO_REGION]))
        label = f"{len(values)} points in {hit} regions"
        draw_camera(
            row[1], frame.image(camera), size, label, pixels, region_colours(values, classes)
        )
    if classes:
        class_legend(figure, classes, np.unique(at_pairs[at_pairs != NO_REGION]).tolist())
    write_title(figure, f"{title}\n{info.id}")
    save_figure(figure, path)
