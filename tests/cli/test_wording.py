"""Settings in messages become flags."""

import io
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from clever.cli.diagnostics import diagnostics
from clever.cli.wording import with_flags
from clever.errors import CleverError
from clever.pipeline.settings.shared.base import JobSettings


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_file_on_a_full_disk_is_one_line_of_its_own() -> None:
    terminal = io.StringIO()
    with redirect_stderr(terminal), diagnostics(str, log_file=Path("/dev/full")) as stream:
        with pytest.raises(CleverError, match="cannot write /dev/full: No space left on device"):
            stream.write("3 of 4 frames")
        stream.error("error: that")
        stream.error("error: more")
    assert terminal.getvalue() == "3 of 4 frames\nerror: that\nerror: more\n"
