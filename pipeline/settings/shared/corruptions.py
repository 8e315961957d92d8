"""Settings of what corrupts sweeps: which corruptions, how strong, for whose sensor."""

from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ....errors import CleverError
from .base import JobSettings
from .choices import CorruptionName, SensorName, Severity

_LEVELS = get_args(Severity)


def _list(value: object) -> object:
    """Accept ``"fog,snow"`` for a list, given once or several times."""
    values = [value] if isinstance(value, str | int) else value
    if not isinstance(values, list | tuple):
        return values
    return [part.strip() for text in values for part in str(text).split(",") if part.strip()]


def _severities(value: object) -> object:
    """Also 1, 2 and 3."""
    parts = _list(value)
    if not isinstance(parts, list):
        return parts
    numbers = {str(number): level for number, level in enumerate(_LEVELS, 1)}
    return [numbers.get(part, part) for part in parts]


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} is given {values.count(value)} times; give it once")
    return values


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _levels(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no ``corruption.parameter=A,B,C``."""
    for text in values:
        name, equals, numbers = text.partition("=")
        try:
            count = len([float(number) for number in numbers.split(",")])
        except ValueError:
            count = 0
        if not equals or "." not in name or count != len(_LEVELS):
            raise ValueError(f"{text!r} should be CORRUPTION.PARAMETER=A,B,C, a number a severity")
    _once(tuple(text.partition("=")[0].strip() for text in values))
    return values


Corruptions = Annotated[
    tuple[CorruptionName, ...], BeforeValidator(_list), AfterValidator(_once), Field(min_length=1)
]
Severities = Annotated[
    tuple[Severity, ...], BeforeValidator(_severities), AfterValidator(_once), Field(min_length=1)
]
StrengthTexts = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), AfterValidator(_levels)]


class CorruptionSettings(JobSettings):
    """Which corruptions."""

    corruptions: Corruptions = Field(default_factory=lambda: get_args(CorruptionName))
    """Corruptions, with commas: fog, wet_ground, snow, motion_blur, beam_missing, crosstalk,
    incomplete_echo, cross_sensor; default: all of them."""
    severities: Severities = Field(default_factory=lambda: _LEVELS)
    """Severities, with commas: light, moderate, heavy, or 1,2,3; default: all three."""
    sensor: SensorName | None = None
    """Whose published strengths; default: the dataset's own."""
    strength: StrengthTexts = ()
    """NAME=A,B,C: other values of a corruption's parameter than the published ones, for light,
    moderate and heavy, as in crosstalk.share=0.03,0.04,0.05; may repeat."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of all draws; what a frame draws depends on its id besides, not on other frames."""

    @model_validator(mode="after")
    def _every_strength_counts(self) -> Self:
        for name in self.levels:
            corruption = name.partition(".")[0]
            if corruption in get_args(CorruptionName) and corruption not in self.corruptions:
                raise CleverError(
                    f"`strength={name}` changes nothing: {corruption} is not among the "
                    "`corruptions`"
                )
        return self

    @property
    def levels(self) -> dict[str, tuple[float, float, float]]:
        """Values of `strength` by ``corruption.parameter``."""
        pairs = [text.partition("=") for text in self.strength]
        levels: dict[str, tuple[float, float, float]] = {}
        for name, _, numbers in pairs:
            light, moderate, heavy = map(float, numbers.split(","))
            levels[name.strip()] = light, moderate, heavy
        return levels
