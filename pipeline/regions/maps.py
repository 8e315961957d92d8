"""The maps of a frame's regions, from its images or from files of masks."""

from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cache.frame import Frame
from ...cache.images import load_image
from ...cache.store.contents import Contents
from ...cache.store.layers import NO_REGION
from ...cache.store.records.models import FrameRecord, RegionInfo
from ...errors import CleverError, FrameError
from ..datasets import LidarDataset, positions
from ..datasets.base import image_tokens
from .mask_files import read_mask
from .superpixels import slic_segments

PLACES = ("id", "scene", "camera", "image", "token")
"""What a pattern of file names may hold: frame id, scene, camera, name of the image's file, token
of the image in its dataset."""
IMAGE_PLACES = {"image", "token"}
"""Those that the dataset tells, not the store."""
SAME_SHAPE = 0.02
"""Largest relative difference of a mask's aspect ratio from its image's."""


class RegionMaps(NamedTuple):
    """Of a frame with M cameras.

    Attributes:
        maps: (M, h, w) uint16, `NO_REGION` where there is none.
        sources: crc32c of each mask's file; empty for superpixels.
    """

    maps: NDArray[np.uint16]
    sources: tuple[int, ...] = ()


class RegionReader:
    """Makes the maps of a store's rows.

    Args:
        store: points and pairs of it are there.
        info: the layer to fill.
        dataset: where the images lie; None for masks whose pattern names no image.
        folder: of the masks; None for superpixels.
    """

    def __init__(
        self,
        store: Contents,
        info: RegionInfo,
        dataset: LidarDataset | None,
        folder: Path | None = None,
    ) -> None:
        self.store, self.info, self.dataset, self.folder = store, info, dataset, folder
        self._positions = positions(dataset) if dataset else {}

    def read(self, row: int, record: FrameRecord) -> RegionMaps:
        """The maps of a row.

        Args:
            record: of the row in points and pairs, where it is stored.

        Raises:
            FrameError: an image or a mask is missing or damaged.
            CleverError: the dataset does not hold the frame.
        """
        try:
            if self.info.settings.source == "slic":
                return self._superpixels(self._frame(row))
            return self._masks(row, record)
        except FrameError:
            raise
        except CleverError as error:
            if self.dataset and self.store.ids[row] not in self._positions:
                raise
            raise FrameError(self.store.ids[row], str(error)) from error

    def _frame(self, row: int) -> Frame:
        dataset, index = self._place(row)
        return dataset.frame(index)

    def _tokens(self, row: int) -> Sequence[str]:
        """Of the images of a row, by the store's cameras."""
        dataset, index = self._place(row)
        by_camera = dict(zip(dataset.cameras, image_tokens(dataset, index), strict=True))
        return [by_camera[camera] for camera in self.store.cameras]

    def _place(self, row: int) -> tuple[LidarDataset, int]:
        """The dataset, and the place of a row's frame in it."""
        frame, dataset = self.store.ids[row], self.dataset
        assert dataset is not None
        if frame not in self._positions:
            raise CleverError(
                f"{dataset.name} has no frame {frame}, which the store holds; give the "
                "`data_root`, `version`, `split` or `sequences` that it was made from"
            )
        return dataset, self._positions[frame]

    def _superpixels(self, frame: Frame) -> RegionMaps:
        settings = self.info.settings
        assert settings.segments is not None
        assert settings.compactness is not None
        assert settings.sigma is not None
        maps = [
            resize_map(
                slic_segments(
                    load_image(camera.image, camera.width, camera.height),
                    settings.segments,
                    settings.compactness,
                    settings.sigma,
                ),
                settings.size,
            )
            for camera in frame.cameras
        ]
        return RegionMaps(np.stack(maps))

    def _masks(self, row: int, record: FrameRecord) -> RegionMaps:
        settings, maps, sources = self.info.settings, [], []
        for path, (width, height) in zip(self._files(row), record.image_size, strict=True):
            regions, source = read_mask(path, settings.empty)
            ratio = regions.shape[1] * height / (regions.shape[0] * width)
            if abs(ratio - 1) > SAME_SHAPE:
                raise CleverError(
                    f"mask {path}: {regions.shape[1]}x{regions.shape[0]} pixels have another shape "
                    f"than the image's {width}x{height}; make it of the whole image"
                )
            classes = len(settings.classes)
            if classes and ((regions >= classes) & (regions != NO_REGION)).any():
                worst = regions[regions != NO_REGION].max()
                raise CleverError(
                    f"mask {path}: class {worst} of {classes} in `classes`; name them all, or give "
                    "the number of no class by `empty`"
                )
            maps.append(resize_map(regions, settings.size))
            sources.append(source)
        return RegionMaps(np.stack(maps), tuple(sources))

    def _files(self, row: int) -> list[Path]:
        """Where the masks of a row lie, by camera."""
        pattern, store = self.info.settings.pattern, self.store
        assert pattern is not None
        assert self.folder is not None
        values = {"id": store.ids[row], "scene": store.scenes[row]}
        places = pattern_places(pattern)
        images = tokens = [""] * len(store.cameras)
        if "image" in places:
            images = [_stem(camera.image) for camera in self._frame(row).cameras]
        if "token" in places:
            tokens = self._tokens(row)
        return [
            self.folder / pattern.format(**values, camera=camera, image=image, token=token)
            for camera, image, token in zip(store.cameras, images, tokens, strict=True)
        ]


def pattern_places(pattern: str) -> set[str]:
    """What a pattern of file names holds between braces.

    Raises:
        CleverError: it is no pattern, or names something else than `PLACES`.
    """
    try:
        fields = [field[1:] for field in Formatter().parse(pattern) if field[1] is not None]
    except ValueError as error:
        raise CleverError(f"`pattern={pattern}`: {error}; write {{id}} or {{image}}") from error
    names = {name for name, _, _ in fields if name is not None}
    offered = ", ".join(f"{{{name}}}" for name in PLACES)
    if unknown := sorted(names - set(PLACES)):
        raise CleverError(f"`pattern={pattern}`: unknown {{{unknown[0]}}}; there are {offered}")
    if forms := [name for name, form, conversion in fields if form or conversion]:
        raise CleverError(
            f"`pattern={pattern}`: {{{forms[0]}}} takes no ! and no : of its own; leave them out"
        )
    if not names & {"id", *IMAGE_PLACES}:
        raise CleverError(
            f"`pattern={pattern}` is the same for all frames; use {{id}} or {{image}}"
        )
    return names


def needs_dataset(pattern: str | None) -> bool:
    """Whether maps are made from the dataset's images (no pattern), or named after them."""
    return pattern is None or bool(pattern_places(pattern) & IMAGE_PLACES)


def resize_map(regions: NDArray[np.uint16], size: tuple[int, int]) -> NDArray[np.uint16]:
    """(h, w): of every pixel the region under its centre in the map (H, W)."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size, regions.shape, strict=True)
    )
    return regions[rows[:, None], columns[None]]


def _stem(image: object) -> str:
    """Name of an image's file without its ending."""
    return Path(str(image)).stem
