"""`clever look` at a pre-trained run whose terms train no head for the teacher's features."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clever.cache import FeatureCache
from clever.cache.store.records.models import RegionSettings
from clever.cache.store.store import Store
from clever.cache.store.writer import RegionShard
from clever.pipeline.look import look_and_record
from clever.pipeline.pictures.feature_colours import FeatureColours
from clever.pipeline.pretrain import pretrain
from clever.pipeline.report import report
from clever.pipeline.settings.look import LookSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.report import ReportSettings


def add_regions(cache: Path, name: str) -> None:
    store, rng = Store(cache), np.random.default_rng(3)
    info = store.add_regions(RegionSettings("segment", "files", (6, 9), name=name))
    shard = RegionShard(store, info, 0)
    for row in range(len(store.ids)):
        shard.add(row, rng.integers(0, 5, (len(store.cameras), 6, 9)).astype(np.uint16))
    shard.commit()
    store.finalise()


@pytest.mark.parametrize("recipe", ["slidr", "ppkt"])
def test_a_student_without_a_head_is_drawn_in_its_own_colours(
    recipe: str,
    make_cache: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache = make_cache()
    add_regions(cache, "a")
    values = {"cache": cache, "out": tmp_path / "run", "student": "minkunet-tiny", "recipe": recipe}
    values |= {"voxel_size": 0.5, "epochs": 1, "batch_size": 3, "rankme_every": 0, "device": "cpu"}
    trained = pretrain(PretrainSettings.resolve(None, values))
    assert (re.sub(r"-\w+$", "", trained.regions)) == {"slidr": "regions/a-6x9", "ppkt": ""}[recipe]
    run = trained.out
    add_regions(cache, "b")  # which of them the terms took is nothing to the student
    capsys.readouterr()
    view = {"split": "all", "device": "cpu"}
    asked = LookSettings.resolve(None, {"checkpoint": run, "frames": 1, **view})
    result, recorded = look_and_record(asked)
    kinds = [re.sub(r".*-(\w+)\.png", r"\1", path.name) for path in result.pictures]
    assert kinds[:3] == ["features", "above", "similarity"]
    regions = [re.search(r"regions-(\w)-6x9-\w+\.png$", path.name) for path in result.pictures[3:]]
    assert [match and match[1] for match in regions] == ["a", "b"]
    assert result.bad == []
    assert result.protocol.startswith(f"minkunet-tiny from {run}, teacher toy-3x5-")
    term = {"slidr": "regions", "ppkt": "pairs"}[recipe]
    line = f"no head predicts the teacher's features (terms {term})"
    assert line in capsys.readouterr().err
    page = report(ReportSettings.resolve(None, {"places": [str(run)], **view, "frames": 1})).page
    words = page.read_text()
    assert "not taught to predict them has colours of its own" in words
    captions = re.findall(r"frame frame-\d, ([ab])-6x9-\w+\. Borders of regions", words)
    assert set(captions) == {"a", "b"}
    (frame,) = recorded
    names = ["teacher, where a camera sees", "student, in colours of its own"]
    assert list(frame.colours) == [*names, "similarity, student"]
    assert frame.features is not None
    stored = FeatureCache(cache)
    own = frame.features[stored[stored.position(frame.id)].pair_point]
    expected = FeatureColours(own).stretched(own)(frame.features)
    assert np.array_equal(frame.colours[names[1]], expected)
    assert torch.isfinite(frame.features).all()
