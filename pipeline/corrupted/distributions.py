"""What a corruption does to a sweep, in shares, beside what its publication says it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..corruptions.cross_sensor import EVERY, lost_rings
from ..corruptions.incomplete_echo import FEWEST
from ..corruptions.registry import Dose
from ..corruptions.sweep import FULL, Corrupted, Sweep
from ..results.tables import markdown_table
from ..settings.shared.choices import CorruptionName

EDGES = (0, 2, 4, 8, 16, 32, 64, 128, 255.5)
"""Edges of the histogram of intensities in [0, 255]; below and above lie two more bins."""
SHARES = 5
"""Columns of shares in percent, after the name and the points."""
MOVED = 1e-4
"""Metres from which a point counts as moved."""
CHANGED = 0.01 / FULL
"""Difference in intensity from which a point counts as dimmer or brighter."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One sweep under one corruption; shares are of its clean points.

    Attributes:
        dose: what was done.
        clean, points: points before and after.
        removed, inserted: share of points that are gone, and that show no surface any more.
        moved: share that lies elsewhere, inserted ones among them.
        dimmer, brighter: share of surfaces whose intensity is lower or higher.
        histogram: (B,) points after by intensity, see `EDGES`; the first bin lies below 0, the last
            above 255.
        before: (B,) the same of the clean sweep.
        described: whether it is as published, see `DESCRIPTIONS`.
    """

    dose: Dose
    clean: int
    points: int
    removed: float
    inserted: float
    moved: float
    dimmer: float
    brighter: float
    histogram: tuple[int, ...]
    before: tuple[int, ...]
    described: bool

    @property
    def words(self) -> str:
        """Points and shares in a line."""
        parts = [f"{self.points} points"]
        for name in ("removed", "inserted", "moved"):
            share = getattr(self, name)
            if share and (name != "moved" or share != self.inserted):
                parts.append(f"{100 * share:.1f} % {name}")
        return ", ".join(parts)


def distribution(sweep: Sweep, result: Corrupted, dose: Dose) -> Distribution:
    """Count what became of a sweep."""
    before = sweep.points[result.pulse]
    count = max(len(sweep), 1)
    shift = np.linalg.norm(result.points[:, :3] - before[:, :3], axis=1)
    surface = ~result.inserted
    brightness = (result.points[:, 3] - before[:, 3])[surface]
    return Distribution(
        dose,
        len(sweep),
        len(result),
        1 - len(result) / count,
        float(result.inserted.sum() / count),
        float((shift > MOVED).sum() / count),
        float((brightness < -CHANGED).sum() / count),
        float((brightness > CHANGED).sum() / count),
        _histogram(result.points),
        _histogram(sweep.points),
        DESCRIPTIONS[dose.name][1](sweep, result, dose),
    )


def _histogram(points: NDArray[np.float32]) -> tuple[int, ...]:
    edges = np.array([-np.inf, *EDGES, np.inf])
    counts, _ = np.histogram(FULL * points[:, 3].astype(np.float64), edges)
    return tuple(counts.tolist())


def _surfaces_stay(sweep: Sweep, result: Corrupted) -> bool:
    """Whether no point but the inserted ones has moved."""
    rows = ~result.inserted
    return bool((result.points[rows, :3] == sweep.points[result.pulse[rows], :3]).all())


def _same_intensity(sweep: Sweep, result: Corrupted) -> bool:
    rows = ~result.inserted
    return bool((result.points[rows, 3] == sweep.points[result.pulse[rows], 3]).all())


def _no_brighter(sweep: Sweep, result: Corrupted, slack: float) -> bool:
    rows = ~result.inserted
    before = sweep.points[result.pulse[rows], 3]
    return bool((result.points[rows, 3] <= before + slack / FULL).all())


def _fog(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    # Rounded to whole intensities: half a unit up at most.
    whole = len(result) == len(sweep)
    return whole and _surfaces_stay(sweep, result) and _no_brighter(sweep, result, 0.501)


def _wet_ground(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    gone = np.setdiff1d(np.arange(len(sweep)), result.pulse)
    off = ~sweep.ground[result.pulse]
    dry = bool((result.points[off] == sweep.points[result.pulse[off]]).all())
    dimmed = _no_brighter(sweep, result, 1e-3) and not result.inserted.any()
    return dry and dimmed and _surfaces_stay(sweep, result) and bool(sweep.ground[gone].all())


def _snow(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    before = np.linalg.norm(sweep.points[result.pulse, :3], axis=1)
    after = np.linalg.norm(result.points[:, :3], axis=1)
    nearer = bool((after[result.inserted] < before[result.inserted] + 0.2).all())
    return nearer and _surfaces_stay(sweep, result)


def _motion_blur(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    whole = len(result) == len(sweep) and not result.inserted.any()
    return whole and _same_intensity(sweep, result)


def _beam_missing(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    gone = np.setdiff1d(np.arange(len(sweep)), result.pulse)
    lost = np.unique(sweep.ring[gone])
    disjoint = not np.isin(sweep.ring[result.pulse], lost).any()
    return disjoint and len(lost) <= dose.strength["beams"] and _untouched(sweep, result)


def _crosstalk(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    inserted = int(dose.strength["share"] * len(sweep))
    exact = len(result) == len(sweep) and int(result.inserted.sum()) == inserted
    return exact and _surfaces_stay(sweep, result) and _same_intensity(sweep, result)


def _incomplete_echo(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    classes, before = np.unique(sweep.vehicle[sweep.vehicle >= 0], return_counts=True)
    after = [int((sweep.vehicle[result.pulse] == number).sum()) for number in classes]
    expected = [
        count - int(dose.strength["share"] * count) if count > FEWEST else count
        for count in before.tolist()
    ]
    others = int((sweep.vehicle < 0).sum()) == int((sweep.vehicle[result.pulse] < 0).sum())
    return after == expected and others and _untouched(sweep, result)


def _cross_sensor(sweep: Sweep, result: Corrupted, dose: Dose) -> bool:
    lost = lost_rings(dose.strength["beams"], dose.strength["step"])
    remainder = int((~np.isin(sweep.ring, lost)).sum())
    return len(result) == -(-remainder // EVERY) and _untouched(sweep, result)


def _untouched(sweep: Sweep, result: Corrupted) -> bool:
    """Whether all points that are left are as they were."""
    return not result.inserted.any() and bool((result.points == sweep.points[result.pulse]).all())


DESCRIPTIONS: dict[CorruptionName, tuple[str, Callable[[Sweep, Corrupted, Dose], bool]]] = {
    "fog": ("none removed; echoes of fog inserted, surfaces dimmer", _fog),
    "wet_ground": ("ground alone dimmer or removed", _wet_ground),
    "snow": ("flakes inserted before surfaces, weak echoes removed", _snow),
    "motion_blur": ("all moved, none removed, intensities as they were", _motion_blur),
    "beam_missing": ("whole lasers removed, no more than drawn", _beam_missing),
    "crosstalk": ("the share inserted, to the point", _crosstalk),
    "incomplete_echo": ("the share of each class of vehicles removed", _incomplete_echo),
    "cross_sensor": ("lasers removed, then every second point", _cross_sensor),
}
"""What the publication says, in words and as a test of a sweep."""


class DistributionTable(BaseModel):
    """What corruptions did to a frame, in figures.

    Attributes:
        title: the frame, and how its lasers and ground were told.
        header: of the columns.
        rows: the clean sweep, then one for each corruption and severity: shares in percent, then
            points by intensity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    header: list[str]
    rows: list[list[str]]

    @property
    def key(self) -> str:
        """What its headings mean."""
        return (
            f"from {self.header[SHARES + 2]} on: points by intensity, of 255, each column up to "
            "the next; published: what the publication says the corruption does; so it is: whether "
            "this sweep shows it"
        )

    def __str__(self) -> str:
        return f"{self.title}\n{markdown_table(self.header, self.rows)}\n{self.key}"


def distribution_table(title: str, distributions: Sequence[Distribution]) -> DistributionTable:
    """A row a corruption and severity."""
    bins = ["I<0", *(f"{low:g}-" for low in EDGES[:-1]), ">255"]
    rows = [
        [
            f"{entry.dose.name} {entry.dose.severity}",
            str(entry.points),
            *(
                f"{100 * share:.1f}"
                for share in (
                    entry.removed,
                    entry.inserted,
                    entry.moved,
                    entry.dimmer,
                    entry.brighter,
                )
            ),
            *map(str, entry.histogram),
            DESCRIPTIONS[entry.dose.name][0],
            "yes" if entry.described else "NO",
        ]
        for entry in distributions
    ]
    first = distributions[0]
    rows.insert(0, ["clean", str(first.clean), *["0.0"] * SHARES, *map(str, first.before), "", ""])
    header = ["", "points", "removed %", "inserted %", "moved %", "dimmer %", "brighter %"]
    return DistributionTable(
        title=title, header=[*header, *bins, "published", "so it is"], rows=rows
    )
