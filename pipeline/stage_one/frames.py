"""Frames off the disk, checked, with their pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.frame import Frame
from ...cache.projection import Correspondences, visible_pairs
from ...cache.sampling import sample_tokens, tap_mask
from ...cache.store.contents import Contents
from ...cache.store.layout import normalised_uv, pair_cameras, quantise_uv
from ...errors import CleverError, FrameError
from ..datasets import LidarDataset, positions
from ..datasets.readers.sweep_checks import sweep_fault


@dataclass(frozen=True, slots=True)
class LoadedFrame:
    """A frame off the disk, or why it is not.

    Attributes:
        row: row of the store.
        frame, pairs: None when the frame failed.
        hit: (M, h, w) bool by grid (h, w), the tokens within reach of a point; of those layers
            that store them alone.
        images: (M, 3, H, W) uint8, resized for the teacher; None when they failed or were not asked
            for.
        reason: why the frame is skipped in both layers.
        image_reason: why it is skipped in the teacher's layer alone.
    """

    row: int
    frame: Frame | None = None
    pairs: Correspondences | None = None
    hit: Mapping[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict)
    images: Tensor | None = None
    reason: str = ""
    image_reason: str = ""


class FrameReader:
    """The frames of a store's rows, read from the dataset that it was made from."""

    def __init__(self, store: Contents, dataset: LidarDataset) -> None:
        self.store, self.dataset = store, dataset
        self._positions = positions(dataset)

    def __contains__(self, frame: str) -> bool:
        return frame in self._positions

    def read(self, row: int) -> tuple[Frame, Correspondences]:
        """The frame of a row and its pairs.

        Raises:
            FrameError: the frame is bad.
            CleverError: the dataset does not hold it.
        """
        frame_id, base = self.store.ids[row], self.store.base
        if frame_id not in self:
            raise CleverError(
                f"frame {frame_id} shares a shard with the frames asked for but is not among them; "
                "use the `sequences` or `split` of the run that began this cache"
            )
        frame = self.dataset.frame(self._positions[frame_id])
        _check(frame, self.store.cameras)
        return frame, visible_pairs(frame, base.min_depth_m, base.margin_px, base.occlusion)


def hit_tokens(frame: Frame, pairs: Correspondences, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """(M, h, w) bool: the tokens that sampling at the stored pixels of `pairs` will read."""
    size, camera = frame.image_size, pair_cameras(pairs.offsets.tolist())
    uv = torch.from_numpy(normalised_uv(quantise_uv(pairs.uv, size[camera])))
    return tap_mask(torch.from_numpy(camera), uv, torch.from_numpy(size), grid).numpy()


def interpolated(grid: Tensor, frame: Frame, pairs: Correspondences, align_corners: bool) -> Tensor:
    """(K, C) float32: what sampling a grid (M, h, w, C) of floats gives at the stored pixels of
    `pairs`."""
    size, camera = frame.image_size, pair_cameras(pairs.offsets.tolist())
    uv = torch.from_numpy(normalised_uv(quantise_uv(pairs.uv, size[camera])))
    view, place, sizes = (
        part.to(grid.device) for part in (torch.from_numpy(camera), uv, torch.from_numpy(size))
    )
    return sample_tokens(grid.float(), view, place, sizes, None, align_corners)


def _check(frame: Frame, cameras: Sequence[str]) -> None:
    """Raise FrameError for what would be stored but could not be used."""
    names = [camera.name for camera in frame.cameras]
    if names != list(cameras):
        raise FrameError(
            frame.id, f"has the cameras {', '.join(names)}, the store has {', '.join(cameras)}"
        )
    if not np.isfinite(frame.points).all():
        raise FrameError(frame.id, "its points hold NaN or infinite values; restore the sweep")
    if fault := sweep_fault(frame.points[:, :3]):
        raise FrameError(frame.id, f"its sweep {fault}; restore it or leave the frame out")
