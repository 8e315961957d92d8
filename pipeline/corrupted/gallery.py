"""A frame under every corruption and severity: pictures, and what was done to it in figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...files import atomic_write
from ..corruptions.registry import CORRUPTIONS, SEVERITIES, Levels, corrupt, dose_of
from ..corruptions.sweep import Corrupted, Sweep, unchanged
from ..datasets.base import LidarDataset
from ..pictures.corruptions import DrawnSweep, corruption_overview, severity_panels
from ..results.tables import markdown_table
from ..settings.shared.choices import CorruptionName, SensorName, Severity
from .clean_sweeps import clean_sweep
from .distributions import (
    Distribution,
    DistributionTable,
    distribution,
    distribution_table,
)

BRIGHT = 95
"""Percentile of the clean sweep's intensities that has the brightest colour."""
OVERVIEW, TABLE_FILE = "overview.png", "distributions.md"


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures of one frame.

    Attributes:
        title: the frame, and how its lasers and ground were told.
        overview: picture of all corruptions at their heaviest severity drawn.
        pictures: picture of every corruption at all severities, beside the clean sweep.
        distributions: what was done, in figures.
        table: file of the figures as a table.
        left_out: corruptions that the frame lacks labels for.
    """

    title: str
    overview: Path
    pictures: Mapping[CorruptionName, Path]
    distributions: Sequence[Distribution]
    table: Path
    left_out: Sequence[CorruptionName]

    @property
    def figures(self) -> DistributionTable:
        """`distributions` as a table."""
        return distribution_table(self.title, self.distributions)

    def notes(self) -> list[str]:
        """Where the pictures are, and what is lacking."""
        lines = [f"pictures: {self.overview} and {len(self.pictures)} beside it"]
        return lines + [f"{name} is left out: the frame has no labels" for name in self.left_out]


def corruption_gallery(
    dataset: LidarDataset,
    index: int,
    sensor: SensorName,
    folder: Path,
    *,
    seed: int = 0,
    corruptions: Sequence[CorruptionName] = tuple(CORRUPTIONS),
    severities: Sequence[Severity] = SEVERITIES,
    levels: Mapping[str, Levels] | None = None,
    labels: NDArray[np.uint8] | None = None,
) -> Gallery:
    """Draw a frame under corruptions and count what they do to it.

    Args:
        sensor: whose published strengths, see `sensor_of`.
        folder: of the pictures and the table.
        levels: other strengths, see `dose_of`.
        labels: (N,) training labels instead of the dataset's own.

    Raises:
        FrameError: the frame cannot be read.
        CleverError: a picture cannot be written.
    """
    if labels is None and dataset.has_labels(index):
        labels = dataset.labels(index)
    sweep, words = clean_sweep(dataset, index, sensor, seed, labels)
    frame = dataset.frame_ids[index]
    title = f"{dataset.name} {frame}, as of {sensor}, seed {seed}; {words}"
    clean = _drawn(sweep, unchanged(sweep), f"{len(sweep)} points")
    pictures: dict[CorruptionName, Path] = {}
    heaviest: dict[str, DrawnSweep] = {"clean": clean}
    distributions: list[Distribution] = []
    left_out: list[CorruptionName] = [
        name for name in corruptions if CORRUPTIONS[name].labels and labels is None
    ]
    for name in corruptions:
        if name in left_out:
            continue
        panels = {"clean": clean}
        for severity in severities:
            dose = dose_of(name, severity, sensor, levels)
            result = corrupt(sweep, dose, seed=seed, frame=frame)
            distributions.append(distribution(sweep, result, dose))
            panels[severity] = _drawn(sweep, result, distributions[-1].words)
            heaviest[f"{name}, {severity}"] = panels[severity]
        for severity in severities[:-1]:
            del heaviest[f"{name}, {severity}"]
        pictures[name] = folder / f"{name}.png"
        severity_panels(panels, f"{name}: {title}", pictures[name])
    overview, table = folder / OVERVIEW, folder / TABLE_FILE
    corruption_overview(heaviest, title, overview)
    gallery = Gallery(title, overview, pictures, distributions, table, left_out)
    figures = gallery.figures
    table_text = markdown_table(figures.header, figures.rows)
    atomic_write(table, f"{title}\n\n{table_text}\n\n{figures.key}\n")
    return gallery


def _drawn(sweep: Sweep, result: Corrupted, words: str) -> DrawnSweep:
    gone = np.setdiff1d(np.arange(len(sweep)), result.pulse)
    bright = max(float(np.percentile(sweep.points[:, 3], BRIGHT)), 1e-6)
    return DrawnSweep(result.points, result.inserted, sweep.points[gone], bright, words)
