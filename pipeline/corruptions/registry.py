"""Names of corruptions, the functions behind them and their published strengths: one table.

Strengths are those of Robo3D's generators; where these leave one open, `Corruption.open` says so
and what stands here instead.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from ...errors import CleverError
from ...student.draws import key
from ..settings.shared.choices import CorruptionName, SensorName, Severity
from .beam_missing import beam_missing
from .cross_sensor import cross_sensor
from .crosstalk import crosstalk
from .fog import fog
from .incomplete_echo import incomplete_echo
from .motion_blur import motion_blur
from .snow import snow
from .sweep import Corrupted, Sweep
from .wet_ground import wet_ground

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
LASERS: dict[SensorName, int] = {"nuscenes": 32, "semantickitti": 64}
"""Lasers of the sensor."""
_POSITIVE = frozenset({"rate", "velocity", "full", "step"})
"""Parameters by which something is divided."""

Levels = tuple[float, float, float]
"""A value for every severity."""
Strengths = Mapping[str, Levels]
"""Levels by the name of the function's parameter."""


def _always(value: float) -> Levels:
    return value, value, value


@dataclass(frozen=True, slots=True)
class OpenChoice:
    """What a publication does not say of a corruption, and what is done instead.

    Attributes:
        words: both.
        parameters: strengths that it is about; who gives them all has made the choice.
    """

    words: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption.

    Attributes:
        function: (sweep, generator, one float a strength) -> `Corrupted`.
        strengths: by sensor.
        open: by sensor, what the publication leaves open.
        labels: whether it cannot be without labels.
    """

    function: Callable[..., Corrupted]
    strengths: Mapping[SensorName, Strengths]
    open: Mapping[SensorName, tuple[OpenChoice, ...]] = field(default_factory=dict)
    labels: bool = False


def _both(strengths: Strengths) -> dict[SensorName, Strengths]:
    return {"nuscenes": strengths, "semantickitti": strengths}


_SNOW = (
    OpenChoice(
        "the sensor's file of focal distances and slopes is not ours to hand on: medians of "
        "another HDL-64E S3 (64e_s3-xiesc of the ROS driver velodyne) for all lasers",
        ("focal_distance", "focal_slope"),
    ),
    OpenChoice("flakes are drawn anew for every sweep"),
)
_BLUR = OpenChoice(
    "moderate and heavy sigma are not published: those of SemanticKITTI-C", ("sigma",)
)
_CROSSTALK = OpenChoice(
    "moderate and heavy share are not published: 0.05 and 0.07 are a guess", ("share",)
)
CORRUPTIONS: dict[CorruptionName, Corruption] = {
    "fog": Corruption(fog, _both({"beta": (0.008, 0.05, 0.2)})),
    "wet_ground": Corruption(
        wet_ground,
        {
            "nuscenes": {"water": (0.2, 1.0, 1.2), "noise_floor": (0.2, 0.3, 0.7)},
            "semantickitti": {"water": (0.2, 1.0, 1.2), "noise_floor": (0.3, 0.3, 0.7)},
        },
    ),
    "snow": Corruption(
        snow,
        _both(
            {
                "rate": (0.5, 1.0, 2.5),
                "velocity": (2.0, 1.6, 1.6),
                "focal_distance": _always(12.5),
                "focal_slope": _always(1.35),
            }
        ),
        {"nuscenes": _SNOW, "semantickitti": _SNOW},
    ),
    "motion_blur": Corruption(
        motion_blur,
        _both({"sigma": (0.2, 0.25, 0.3)}),
        {"nuscenes": (_BLUR,)},
    ),
    "beam_missing": Corruption(
        beam_missing,
        {
            "nuscenes": {"beams": (8, 16, 24), "first": _always(2), "last": _always(28)},
            "semantickitti": {"beams": (16, 32, 48), "first": _always(4), "last": _always(58)},
        },
    ),
    "crosstalk": Corruption(
        crosstalk,
        {
            "nuscenes": {"share": (0.03, 0.05, 0.07), "full": _always(255)},
            "semantickitti": {"share": (0.006, 0.008, 0.01), "full": _always(1)},
        },
        {"nuscenes": (_CROSSTALK,)},
    ),
    "incomplete_echo": Corruption(
        incomplete_echo, _both({"share": (0.75, 0.85, 0.95)}), labels=True
    ),
    "cross_sensor": Corruption(
        cross_sensor,
        {
            "nuscenes": {"beams": _always(32), "step": (4, 2, 1.33)},
            "semantickitti": {"beams": _always(64), "step": (4, 2, 1.33)},
        },
    ),
}
"""Every corruption, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class Dose:
    """A corruption of one severity, all told.

    Attributes:
        name: of the corruption.
        severity: its level.
        strength: value of every parameter.
    """

    name: CorruptionName
    severity: Severity
    strength: Mapping[str, float]

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:g}" for name, value in self.strength.items())
        return f"{self.name} {self.severity} ({values})"


def dose_of(
    name: CorruptionName,
    severity: Severity,
    sensor: SensorName,
    changes: Mapping[str, Levels] | None = None,
) -> Dose:
    """A corruption as it is published for a sensor.

    Args:
        changes: other levels by ``corruption.parameter``; those of other corruptions are passed
            over.

    Raises:
        CleverError: a change of something that is no parameter of its corruption, or to a value
            that means nothing.
    """
    changes = changes or {}
    levels = dict(CORRUPTIONS[name].strengths[sensor])
    for parameter, values in changes.items():
        corruption, _, part = parameter.partition(".")
        names = {
            f"{other}.{part}"
            for other, entry in CORRUPTIONS.items()
            for part in entry.strengths[sensor]
        }
        if parameter not in names:
            raise CleverError(
                f"`strength={parameter}`: there is no such parameter; there are "
                f"{', '.join(sorted(names))}"
            )
        if corruption == name:
            levels[part] = values
    place = SEVERITIES.index(severity)
    strength = {part: float(values[place]) for part, values in levels.items()}
    for part, value in strength.items():
        if fault := _fault(part, value, strength):
            raise CleverError(f"`strength={name}.{part}` is {value:g} for {severity}: {fault}")
    return Dose(name, severity, strength)


def _fault(part: str, value: float, strength: Mapping[str, float]) -> str:
    """What is wrong with the value of a parameter; empty where nothing is."""
    if not math.isfinite(value) or value < 0:
        return "should be a number, 0 or more"
    if part == "share" and value > 1:
        return "should be at most 1"
    if part in _POSITIVE and value == 0:
        return "should be above 0"
    if part == "first" and value > strength["last"]:
        return f"should be at most that of `last`, {strength['last']:g}"
    return ""


def corrupt(sweep: Sweep, dose: Dose, *, seed: int, frame: str) -> Corrupted:
    """Corrupt a sweep. What is drawn depends on seed, corruption, severity and the frame's id
    alone: not on other frames, nor on processes."""
    generator = stream(seed, dose.name, dose.severity, frame)
    return CORRUPTIONS[dose.name].function(sweep, generator, **dose.strength)


def stream(seed: int, *purpose: str) -> np.random.Generator:
    """Random numbers of `seed` and `purpose` alone; the same with the same release of NumPy."""
    return np.random.Generator(np.random.PCG64(key("corruption", seed, *purpose)))
