"""How a match of layer and stage is written."""

import pytest

from clever.errors import CleverError
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.shared.matches import Match


@pytest.mark.parametrize(
    ("text", "match", "again"),
    [
        ("pre-norm=last", ("pre-norm", 0, 1), "pre-norm=last"),
        ("block:-2=last-1:0.50", ("block:-2", 1, 0.5), "block:-2=last-1:0.5"),
        ("vits14-224x448-7ddc=last-0:1", ("vits14-224x448-7ddc", 0, 1), "vits14-224x448-7ddc=last"),
        ("a=last:0.1234567", ("a", 0, 0.1234567), "a=last:0.1234567"),
        ("stride:16=last-12:3e2", ("stride:16", 12, 300), "stride:16=last-12:300"),
    ],
)
def test_a_match_reads_and_writes(text: str, match: tuple[str, int, float], again: str) -> None:
    parsed = Match.parse(text)
    assert (parsed.layer, parsed.stage, parsed.weight) == match
    assert str(parsed) == again
    assert Match.parse(again) == parsed


@pytest.mark.parametrize(
    "text",
    ["pre-norm", "=last", "a=first", "a=last-", "a=last+1", "a=last:0", "a=last:-1", "a=last:inf",
     "a=last:x", "a=last:nan"],
)  # fmt: skip
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(CleverError, match=r"`match` is .* should be LAYER=STAGE or"):
        PretrainSettings.resolve(None, {"cache": "x", "match": text})


def test_several_come_as_a_list_or_with_commas() -> None:
    one = PretrainSettings.resolve(None, {"cache": "x", "match": "a=last, b=last-1:2"})
    two = PretrainSettings.resolve(None, {"cache": "x", "match": ["a=last", "b=last-1:2.0"]})
    assert one.match == two.match == ("a=last", "b=last-1:2")
