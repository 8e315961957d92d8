"""Strengths of corruptions that the measurements of a grid share: each takes those of its own."""

from collections.abc import Sequence
from typing import get_args

from ...errors import CleverError
from ..settings.shared.choices import CorruptionName
from ..settings.shared.corruptions import CorruptionSettings
from ..settings.shared.grid import Values


def with_own_strengths(shared: Values, own: Values) -> Values:
    """`shared` with the strengths alone that concern a measurement of the settings `own`; what
    names no corruption stays, to be refused.

    Raises:
        CleverError: wrong corruptions or strengths.
    """
    if "strength" not in shared or "strength" in own:
        return shared
    choice = {name: value for name, value in {**shared, **own}.items() if name == "corruptions"}
    corruptions = CorruptionSettings.resolve(None, choice).corruptions
    others = set(get_args(CorruptionName)) - set(corruptions)
    texts = [text for text in _texts(shared) if _corruption(text) not in others]
    return {**shared, "strength": texts}


def refuse_idle_strengths(shared: Values, measurements: Sequence[CorruptionSettings]) -> None:
    """Refuse a strength of a corruption that no measurement has.

    Raises:
        CleverError: there is one.
    """
    if "strength" not in shared:
        return
    own_texts = {text for own in measurements for text in own.strength}
    for text in _texts(shared):
        if text not in own_texts:
            raise CleverError(
                f"`strength={text.partition('=')[0].strip()}` changes nothing: {_corruption(text)} "
                "is among the `corruptions` of no measurement that shares it"
            )


def _texts(shared: Values) -> tuple[str, ...]:
    return CorruptionSettings.resolve(None, {"strength": shared["strength"]}).strength


def _corruption(text: str) -> str:
    return text.partition(".")[0].strip()
