"""Corruption error and resilience rate (Robo3D, Sec. 4), and what they are relative to.

    CE_i = sum over severities (1 - mIoU) / the same sum of the baseline
    RR_i = sum over severities mIoU / (3 * mIoU of clean frames)

mCE and mRR are their means over the eight corruptions. Baselines are published as means over the
severities, which is all that the sums need.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import CleverError
from ..settings.shared.choices import CorruptionName

Percent = Annotated[float, Field(ge=0, le=100)]


class Baseline(BaseModel):
    """mIoU of the network that corruption errors are relative to, percent.

    Attributes:
        name: what it is, in words.
        clean: of clean frames.
        miou: by corruption, the mean over the severities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    clean: Percent
    miou: dict[CorruptionName, Percent]


PUBLISHED: tuple[CorruptionName, ...] = (
    "fog", "wet_ground", "snow", "motion_blur", "beam_missing", "crosstalk", "incomplete_echo",
    "cross_sensor",
)  # fmt: skip
"""Robo3D's, in its order: baselines have a figure of each, mCE and mRR are means over them all."""


def _baseline(name: str, clean: float, miou: Sequence[float]) -> Baseline:
    return Baseline(name=name, clean=clean, miou=dict(zip(PUBLISHED, miou, strict=True)))


BASELINES = {
    "nuscenes-c": _baseline(
        "MinkUNet-18 on nuScenes-C, Robo3D",
        75.76,
        (53.64, 73.91, 40.35, 73.39, 68.54, 26.58, 63.83, 50.95),
    ),
    "semantickitti-c": _baseline(
        "MinkUNet-18 on SemanticKITTI-C, Robo3D",
        62.76,
        (55.87, 53.99, 53.28, 32.92, 56.32, 58.34, 54.43, 46.05),
    ),
    "wod-c": _baseline(
        "MinkUNet-18 on WOD-C, Robo3D",
        69.06,
        (66.99, 60.99, 57.75, 68.92, 64.15, 65.37, 63.36, 56.44),
    ),
}
"""By name."""
OF_DATASET = {
    "nuscenes": "nuscenes-c",
    "semantickitti": "semantickitti-c",
    "scribblekitti": "semantickitti-c",
    "waymo": "wod-c",
}
"""Baseline of a dataset."""


def read_baseline(name: str) -> Baseline:
    """A baseline by its name, or of a JSON file with ``name``, ``clean`` and ``miou`` by
    corruption, all in percent.

    Raises:
        CleverError: neither, or a damaged file.
    """
    if name in BASELINES:
        return BASELINES[name]
    path = Path(name)
    if not path.is_file():
        raise CleverError(
            f"`baseline={name}` is neither {', '.join(BASELINES)} nor a file; choose one"
        )
    try:
        return Baseline.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = _wrong_fields(error) if isinstance(error, ValidationError) else str(error)
        raise CleverError(
            f"{path} is no baseline: {reason}; it should hold name, clean and miou by corruption"
        ) from error


def _wrong_fields(error: ValidationError) -> str:
    """Every field that is wrong, with what it should be."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'the whole'}: {detail['msg']}"
        for detail in error.errors(include_url=False)
    )


@dataclass(frozen=True, slots=True)
class Score:
    """One corruption of one network, in percent; None where it cannot be told.

    Attributes:
        miou: mean over the severities.
        error: corruption error.
        resilience: resilience rate.
    """

    miou: float | None
    error: float | None
    resilience: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """All corruptions of one network, in percent.

    Attributes:
        clean: mIoU of clean frames.
        by_corruption: what was measured.
        mce, mrr, miou: means over the eight corruptions; None unless all are there.
    """

    clean: float | None
    by_corruption: Mapping[CorruptionName, Score]
    mce: float | None
    mrr: float | None
    miou: float | None


def scores(
    levels: Mapping[CorruptionName, Sequence[float | None]],
    clean: float | None,
    baseline: Baseline | None,
) -> Scores:
    """Scores of a network.

    Args:
        levels: mIoU in percent by corruption, of the three severities; None for one that was not
            measured, without which the corruption has no score.
        clean: mIoU in percent of clean frames.
        baseline: what errors are relative to.
    """
    by_corruption: dict[CorruptionName, Score] = {
        name: _score(values, clean, baseline.miou.get(name) if baseline else None)
        for name, values in levels.items()
    }
    whole = [by_corruption[name] for name in PUBLISHED if name in by_corruption]
    return Scores(
        clean,
        by_corruption,
        _mean([score.error for score in whole]),
        _mean([score.resilience for score in whole]),
        _mean([score.miou for score in whole]),
    )


def _score(values: Sequence[float | None], clean: float | None, base: float | None) -> Score:
    measured = [value for value in values if value is not None]
    if len(measured) < len(values) or not measured:
        return Score(None, None, None)
    miou = statistics.fmean(measured)
    error = None if base is None or base >= 100 else 100 * (100 - miou) / (100 - base)
    return Score(miou, error, 100 * miou / clean if clean else None)


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of a value for each corruption; None where one is lacking."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if len(present) == len(PUBLISHED) else None
