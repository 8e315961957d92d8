"""The downstream measurements of a grid, resolved before the first of them is made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import CleverError
from ..results.ablation_table import Column
from ..results.run_names import digest, folder_name
from ..settings.ablate import AblateSettings
from ..settings.finetune import FinetuneSettings
from ..settings.robustness import RobustnessSettings
from ..settings.shared.base import JobSettings
from ..settings.shared.grid import Grid, Values
from .identities import Memo
from .measure import Figure, Measure
from .measures import MEASURES
from .shared_strengths import refuse_idle_strengths


@dataclass(frozen=True, slots=True)
class Measurement:
    """A downstream measurement of every cell.

    Attributes:
        name: in the grid.
        verb: whose settings it takes, see `MEASURES`.
        key: name and digest of what decides it beside seed and student: its folder in a cell's.
        settings: of that verb, without what the cell decides.
        of: the measurement whose fine-tuned student is measured; None: the pre-trained one.
    """

    name: str
    verb: str
    key: str
    settings: JobSettings
    of: "Measurement | None" = None

    @property
    def measure(self) -> Measure[Any]:
        """How it is made."""
        return MEASURES[self.verb]

    @property
    def columns(self) -> dict[str, Column]:
        """Its columns of the table, by the name of the figure."""
        figures = self.measure.figures(self.settings)
        return {figure.name: self._column(figure) for figure in figures}

    def _column(self, figure: Figure) -> Column:
        return Column(
            key=f"{self.key} {figure.name}".rstrip(),
            title=f"{self.name} {figure.title}",
            places=2,
            marked=True,
            lower=figure.lower,
            measurement=self.name,
            figure=figure.name,
            stage=self.key if figure.name else "",
        )


def resolve_measurements(
    grid: Grid, settings: AblateSettings, dataset: str, memo: Memo
) -> tuple[Measurement, ...]:
    """The measurements of a grid, those of fine-tuned students after all others; on `dataset`
    unless the grid says another.

    Raises:
        CleverError: an unknown or wrong setting, or what the command itself would report of its
            dataset; the line names the measurement.
    """
    measurements: dict[str, Measurement] = {}
    for late in (False, True):
        for name, own in grid.measure.items():
            where = f"grid {settings.grid}, measurement {name}"
            verb = own.get("verb", next(iter(MEASURES)))
            if verb not in MEASURES:
                raise CleverError(f"{where}: verb is {verb!r}; there are {', '.join(MEASURES)}")
            if MEASURES[verb].segmenter != late:
                continue
            try:
                measurements[name] = _measurement(grid, name, settings, dataset, memo, measurements)
            except CleverError as error:
                raise CleverError(f"{where}: {error}") from error
    if not settings.measure:  # else what is left out may have it
        _refuse_idle_strengths(grid, settings, measurements.values())
    return tuple(measurements.values())


def _refuse_idle_strengths(
    grid: Grid, settings: AblateSettings, measurements: Iterable[Measurement]
) -> None:
    """Raise CleverError for a shared strength that no measurement by `clever robustness` has."""
    own = [one.settings for one in measurements if isinstance(one.settings, RobustnessSettings)]
    try:
        refuse_idle_strengths(grid.robustness if own else {}, own)
    except CleverError as error:
        raise CleverError(f"grid {settings.grid}, robustness: {error}") from error


def _measurement(
    grid: Grid,
    name: str,
    settings: AblateSettings,
    dataset: str,
    memo: Memo,
    done: Mapping[str, Measurement],
) -> Measurement:
    own = dict(grid.measure[name])
    verb = own.pop("verb", next(iter(MEASURES)))
    measure = MEASURES[verb]
    of = own.pop("of", None)
    basis = _basis(of, done) if measure.segmenter else None
    if of is not None and basis is None:
        raise CleverError(f"of is {of!r}, but {verb} is of the pre-trained student; leave it out")
    place = _place(basis) if basis else {"dataset": dataset, "data_root": settings.data_root}
    values = {**place, **measure.shared(getattr(grid, verb), own), **own}
    for setting in sorted(values.keys() & measure.decided):
        raise CleverError(f"{setting} is that of the row; leave it out")
    decided = {**measure.placeholder(), "device": settings.device}
    resolved = measure.settings.resolve(None, {**values, **decided})
    mark = measure.digest(resolved, memo)
    if basis:
        mark = digest(mark, basis.key.rpartition("-")[2])
    return Measurement(name, verb, f"{folder_name(name)}-{mark}", resolved, basis)


def _basis(of: str | None, done: Mapping[str, Measurement]) -> Measurement:
    """The measurement whose student is measured: the one named, else the first fine-tuning."""
    choices = {name: one for name, one in done.items() if one.verb == "finetune"}
    if not choices:
        raise CleverError("there is no fine-tuned student; add a measurement by finetune")
    if of is not None and of not in choices:
        raise CleverError(f"of is {of!r}; there are {', '.join(choices)}")
    return choices[of] if of is not None else next(iter(choices.values()))


def _place(basis: Measurement) -> Values:
    """Settings of the frames that a fine-tuning is measured on."""
    own = basis.settings
    assert isinstance(own, FinetuneSettings)
    part = own.val_part
    fields = ("data_root", "version", "cameras", "dataset_option", "split", "sequences")
    return {"dataset": own.dataset, "mean": own.mean} | {
        name: getattr(part, name) for name in fields
    }
