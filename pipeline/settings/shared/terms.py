"""Which losses a pre-training adds up, as a user writes it."""

import math
from typing import Annotated, get_args

from pydantic import BeforeValidator

from ....student.choices import LossTerm

TERMS: tuple[LossTerm, ...] = get_args(LossTerm)
WHOLE_SCENES: tuple[LossTerm, ...] = ("flow", "d2s", "d2s-cosine", "temporal")
"""Terms that compare a scene with itself at another time or density, so that no other scene may be
mixed in."""
REGION_TERMS: tuple[LossTerm, ...] = (
    "regions", "class-pairs", "prototypes", "flow", "d2s", "d2s-cosine",
)  # fmt: skip
CLASS_TERMS: tuple[LossTerm, ...] = ("class-pairs", "prototypes", "flow")
"""Terms whose regions have to be classes, which mean the same in all images."""


def parse_term(text: str) -> tuple[LossTerm, float]:
    """Name and weight of ``NAME`` or ``NAME=WEIGHT``; raises ValueError where it is neither."""
    name, equals, number = text.partition("=")
    try:
        weight = float(number) if equals else 1.0
    except ValueError:
        weight = math.nan
    for term in TERMS:
        if term == name.strip() and 0 < weight < math.inf:
            return term, weight
    raise ValueError(
        f"{text!r} should be NAME or NAME=WEIGHT with a positive number; the names are "
        f"{', '.join(TERMS)}"
    )


def _terms(value: object) -> object:
    """Accept one text with commas for a list, and check each part."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    parts = [part.strip() for text in texts for part in str(text).split(",") if part.strip()]
    if not parts:
        raise ValueError("names nothing; give a value or leave it out")
    names = [parse_term(part)[0] for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given {names.count(name)} times")
    return parts


Terms = Annotated[tuple[str, ...], BeforeValidator(_terms)]
"""Texts that `parse_term` takes: a list, or one string with commas."""
