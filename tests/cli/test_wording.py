"""Settings in messages become flags."""

import pytest

from clever.cli.wording import with_flags
from clever.pipeline.settings.base import JobSettings


class Settings(JobSettings):
    points: str = ""
    data_root: str = ""
    train_split: str = ""
    val_split: str = ""
    memory: bool = True
    plan: bool | None = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pass `data_root` or stop", "pass --data-root or stop"),
        ("pass `data_root=/a b`", "pass --data-root /a b"),
        ("take `memory=no`, `plan=yes`", "take --no-memory, --plan"),
        ("without `plan`", "without --plan"),
        ("choose `split=all`", "choose --train-split all or --val-split all"),
        ("choose another `cache`", "choose another cache"),
        ("try `precision=fp32`", "try precision=fp32"),
        ("name `points`", "name POINTS"),
        ("run `clever cache repair`", "run `clever cache repair`"),
        ("`Data`, ``, `data-root`", "`Data`, ``, `data-root`"),
    ],
)
def test_settings_become_flags(text: str, expected: str) -> None:
    assert with_flags(text, Settings, ("points",)) == expected


def test_a_field_is_named_by_its_alias() -> None:
    from clever.pipeline.settings.care import InfoSettings

    assert with_flags("`json` or `path`", InfoSettings, ("path",)) == "--json or PATH"
