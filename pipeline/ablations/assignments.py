"""What the command line says of a grid's settings: it wins over all that the grid says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import CleverError
from ..settings.ablate import AblateSettings
from ..settings.shared.grid import CELL_SETTINGS, Grid, Values
from .measures import MEASURES

PRETRAIN = "pretrain"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A setting that the command line gives.

    Attributes:
        text: as it is given.
        group: `PRETRAIN`, a command that measures, or a measurement of the grid.
    """

    text: str
    group: str
    setting: str
    value: str

    @classmethod
    def of(cls, text: str) -> "Assignment":
        """Read ``NAME=VALUE`` or ``GROUP.NAME=VALUE``."""
        place, _, value = (part.strip() for part in text.partition("="))
        group, _, setting = place.rpartition(".")
        return cls(text, group or PRETRAIN, setting.replace("-", "_"), value)


def with_assignments(grid: Grid, settings: AblateSettings) -> Grid:
    """The grid with what the command line says of it; of a measurement this wins over what it says
    of all measurements by the command.

    Raises:
        CleverError: a measurement that the grid does not have, a setting that each cell has of its
            own, or one in which alone rows or measurements differ.
    """
    for name in settings.measure or ():
        if name not in grid.measure:
            raise CleverError(
                f"`measure={name}`: the grid has no such measurement; there are "
                f"{', '.join(grid.measure) or 'none'}"
            )
    if settings.cache is not None:
        grid = grid.model_copy(update={PRETRAIN: {**grid.pretrain, "cache": settings.cache}})
    assignments = list(map(Assignment.of, settings.set))
    for one in sorted(assignments, key=lambda one: one.group in grid.measure):
        grid = _with_assignment(grid, one)
    own = {name: grid.measure[name] for name in settings.measure or grid.measure}
    return grid.model_copy(update={"measure": own})


def _check_free(grid: Grid, one: Assignment) -> None:
    """Raise CleverError where each cell has the setting of its own; corruptions have one seed for
    all cells, which is free."""
    verb = grid.measure.get(one.group, {}).get("verb", one.group)
    if one.setting in CELL_SETTINGS and (verb, one.setting) != ("robustness", "seed"):
        advice = "`seeds` chooses them" if one.setting == "seed" else "leave it out"
        raise CleverError(f"`set={one.text}`: {one.setting} is decided for every cell; {advice}")


def _with_assignment(grid: Grid, one: Assignment) -> Grid:
    _check_free(grid, one)
    changes: dict[str, Any] = {}
    if one.group in grid.measure:
        own = {**grid.measure[one.group], one.setting: one.value}
        return grid.model_copy(update={"measure": {**grid.measure, one.group: own}})
    if one.group == PRETRAIN:
        if len(grid.vary.get(one.setting, [])) > 1:
            raise CleverError(
                f"`set={one.text}`: the grid varies {one.setting}, and its rows would be the same "
                "run; leave it out, or change `vary` in a grid of your own"
            )
        if one.setting in grid.vary:
            changes["vary"] = {**grid.vary, one.setting: [one.value]}
        if one.setting == "teacher":
            changes["caches"] = {
                name: choice.model_copy(update={"teacher": None})
                for name, choice in grid.caches.items()
            }
        changes["rows"] = _without(grid.rows, one, "rows")
    elif one.group in MEASURES:
        first = next(iter(MEASURES))
        mine = {n: own for n, own in grid.measure.items() if own.get("verb", first) == one.group}
        changes["measure"] = {**grid.measure, **_without(mine, one, "measurements")}
    else:
        groups = (PRETRAIN, *MEASURES, *grid.measure)
        raise CleverError(
            f"`set={one.text}`: the grid has no measurement {one.group}; there are "
            f"{', '.join(groups)}"
        )
    shared = {**getattr(grid, one.group), one.setting: one.value}
    return grid.model_copy(update={**changes, one.group: shared})


def _without(parts: Mapping[str, Values], one: Assignment, kind: str) -> dict[str, Values]:
    """Rows or measurements without a setting of their own that the command line gives.

    Raises:
        CleverError: two that differ in it alone.
    """
    remainders = {
        name: {key: value for key, value in own.items() if key != one.setting}
        for name, own in parts.items()
    }
    names = list(remainders)
    for number, name in enumerate(names):
        for other in names[:number]:
            if remainders[other] == remainders[name] and parts[other] != parts[name]:
                raise CleverError(
                    f"`set={one.text}`: the {kind} {other!r} and {name!r} of the grid differ in "
                    f"{one.setting} alone and would be the same run; leave it out, or give a grid "
                    "of your own"
                )
    return remainders
