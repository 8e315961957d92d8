"""Cycles of a run's schedule: a finished run that is asked for more passes gets another one.

The added passes follow the schedule once more, warm-up and all, from the last weights and with a
new optimiser: the first cycle has ended at a rate at which nothing is learnt any more.

::

    result-50.json      the result after 50 passes, when the run was prolonged
    result.json         the present one
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...words import quantity
from ..settings.shared.base import SETTINGS_FILE, JobSettings

RESULT_FILE = "result.json"
EARLIER_RESULT = "result-{}.json"


@dataclass(frozen=True, slots=True)
class Cycle:
    """The present cycle of a run.

    Attributes:
        earlier: passes that were done when each earlier cycle had ended, rising.
        begins: the run is finished, and this cycle is yet to begin.
    """

    earlier: tuple[int, ...] = ()
    begins: bool = False

    @property
    def passes_before(self) -> int:
        """Passes done when the cycle began."""
        return max(self.earlier, default=0)

    def lengths(self, epochs: int) -> list[int]:
        """Passes of every cycle of a run of `epochs` passes."""
        ends = [*self.earlier, epochs]
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def cycle_words(epochs: int, cycles: Sequence[int], draws: float | None = None) -> str:
    """``50 epochs``, or ``80 epochs (50 + 30, a cycle each)``, or ``5.3 epochs (2 asked for, but a
    step draws more)``.

    Args:
        draws: how often a frame was drawn. Every step draws a whole batch, which of few frames is
            several passes.
    """
    if draws is not None and draws >= epochs + 1:
        return f"{draws:.1f} epochs ({epochs} asked for, but a step draws more)"
    parts = " + ".join(map(str, cycles))
    return f"{quantity(epochs, 'epoch')}" + (f" ({parts}, a cycle each)" if len(cycles) > 1 else "")


def passes_to_prolong(
    folder: Path, settings: JobSettings, own: JobSettings, ignore: frozenset[str]
) -> int:
    """Passes of the finished run in `folder`, whose settings are `own`, where `settings` ask for
    more and for nothing else; 0 otherwise."""
    epochs, passes = (part.model_dump().get("epochs") for part in (settings, own))
    if not epochs or not passes or epochs <= passes:
        return 0
    if settings.differences(own, ignore | {"epochs"}):
        return 0
    # Without the first of these files the second one is that of a process that was killed between
    # the two steps of `Run.begin_cycle`.
    files = (RESULT_FILE, EARLIER_RESULT.format(passes))
    return passes if any((folder / name).exists() for name in files) else 0


def longer_hint(
    folder: Path, settings: JobSettings, own: JobSettings, ignore: frozenset[str]
) -> str:
    """What to do about a run of fewer passes: an unfinished one whose other settings are the same,
    or a finished one whose other settings are not."""
    epochs, passes = (part.model_dump().get("epochs") for part in (settings, own))
    fewer = epochs and passes and passes < epochs
    if not fewer:
        return ""
    if settings.differences(own, ignore | {"epochs"}):
        finished = (folder / RESULT_FILE).exists()
        return "; more `epochs` alone would prolong it" if finished else ""
    return f", or finish it with `epochs={passes}`; a finished run can be prolonged"


def present_cycle(folder: Path, settings: JobSettings, ignore: frozenset[str]) -> Cycle:
    """The cycle in which a training of `settings` in `folder` is, or that it begins."""
    earlier = _earlier_ends(folder, settings.model_dump()["epochs"])
    settings_file = folder / SETTINGS_FILE
    if settings_file.exists():
        own = type(settings).recorded(settings_file)
        passes = passes_to_prolong(folder, settings, own, ignore)
        if passes:
            return Cycle(tuple(sorted({*earlier, passes})), begins=True)
    return Cycle(earlier)


def _earlier_ends(folder: Path, epochs: int) -> tuple[int, ...]:
    """Passes after which the run in `folder` was finished before, fewer than `epochs`."""
    begin, end = EARLIER_RESULT.split("{}")
    names = [path.name for path in folder.glob(EARLIER_RESULT.format("*"))]
    numbers = [name.removeprefix(begin).removesuffix(end) for name in names]
    ends = sorted(int(number) for number in numbers if number.isdigit())
    return tuple(number for number in ends if number < epochs)
