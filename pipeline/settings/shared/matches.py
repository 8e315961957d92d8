"""Which layer of a teacher teaches which stage of a student, as a user writes it."""

import math
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

_FORM = re.compile(r"(?P<layer>.+?)=last(?:-(?P<stage>\d{1,3}))?(?::(?P<weight>[^:=]+))?")


@dataclass(frozen=True, slots=True)
class Match:
    """A teacher's layer and the decoder stage that learns from it.

    Attributes:
        layer: as it was written: the name of a layer of the network (``block:-2``), or the id of a
            layer of the store or its beginning.
        stage: counted back from the last one, which is 0.
        weight: of its loss among those of all matches.
    """

    layer: str
    stage: int
    weight: float

    @classmethod
    def parse(cls, text: str) -> "Match":
        """Of ``LAYER=STAGE`` or ``LAYER=STAGE:WEIGHT``; raises ValueError where it is neither."""
        parts = _FORM.fullmatch(text)
        try:
            weight = float(parts["weight"] or 1) if parts else math.nan
        except ValueError:
            weight = math.nan
        if not parts or not 0 < weight < math.inf:
            raise ValueError(
                "should be LAYER=STAGE or LAYER=STAGE:WEIGHT, as in block:-2=last-1:0.5; the last "
                "stage is last, the weight a positive number"
            )
        return cls(parts["layer"], int(parts["stage"] or 0), weight)

    def __str__(self) -> str:
        short = f"{self.weight:g}"
        number = short if float(short) == self.weight else repr(self.weight)
        weight = "" if self.weight == 1 else f":{number}"
        return f"{self.layer}=last{f'-{self.stage}' if self.stage else ''}{weight}"


def _matches(value: object) -> object:
    """Accept one text with commas for a list, and check each part."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    parts = [part.strip() for text in texts for part in str(text).split(",") if part.strip()]
    if not parts:
        raise ValueError("names nothing; give a value or leave it out")
    return [str(Match.parse(part)) for part in parts]


Matches = Annotated[tuple[str, ...], BeforeValidator(_matches)]
"""Texts that `Match.parse` takes: a list, or one string with commas."""
