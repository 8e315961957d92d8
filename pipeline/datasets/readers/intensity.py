"""Intensity scales: the one rule by which a wrong one is noticed, and the words for it."""

from collections.abc import Sequence

import numpy as np

from ....cache.store.point_statistics import is_dark
from ....errors import CleverError, FrameError
from ....words import quantity
from ..base import LidarDataset

SAMPLE = 16
"""Sweeps of a dataset that are looked at before a job begins."""


def scale_option(value: str | float) -> float:
    """The option ``intensity_scale`` of a dataset: the files' value of full intensity.

    Raises:
        CleverError: it is no positive number.
    """
    try:
        scale = float(value)
    except ValueError:
        scale = -1.0
    if not 0 < scale < float("inf"):
        raise CleverError(
            f"`dataset_option=intensity_scale={value}` is no positive number; give the files' "
            "value of full intensity, such as 1 or 255"
        )
    return scale


def dark_sweeps(dataset: LidarDataset, indices: Sequence[int]) -> str:
    """What is doubtful about the intensities of some frames, by a sample of `SAMPLE` of them spread
    evenly; empty where nothing is. Frames that cannot be read are left to those who need them."""
    places = np.unique(np.linspace(0, len(indices) - 1, SAMPLE).round().astype(int))
    brightest: list[float] = []
    for place in places.tolist() if len(indices) else ():
        try:
            brightest.append(float(dataset.points(indices[place])[:, 3].max()))
        except FrameError:
            continue
    dark = [value for value in brightest if is_dark(value)]
    if not dark:
        return ""
    scale = getattr(dataset, "intensity_scale", None)
    setting = getattr(dataset, "intensity_setting", "dataset_option")
    sweeps = f"{len(dark)} of {quantity(len(brightest), 'sweep')} looked at"
    return dark_words(f"{dataset.name}: in {sweeps}", max(dark), scale, setting)


def dark_words(where: str, brightest: float, scale: float | None, setting: str) -> str:
    """The notice about a doubtful scale.

    Args:
        where: the file or sweeps, in words.
        brightest: highest intensity, share of full intensity.
        scale: the files' value of full intensity; None where it is not known.
        setting: the setting that corrects it.
    """
    if scale is None:
        return f"{where} the brightest point has {brightest:.3g} of full intensity"
    option = "`dataset_option=intensity_scale=VALUE`"
    remedy = option if setting == "dataset_option" else f"`{setting}`"
    return (
        f"{where} the brightest point has {brightest:.3g} of full intensity; if the file's full "
        f"intensity is not {scale:g}, give it with {remedy}"
    )
