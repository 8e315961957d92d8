"""`cache-teacher --plan` without weights: sizes in closed form, hours only from a known rate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clever.cache import FeatureCache
from clever.cache.store.layout import PAIR_BLOCK
from clever.cache.store.store import Store
from clever.cache.teacher import grid_shapes
from clever.cache.teacher_settings import TeacherSettings
from clever.errors import CleverError
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.stage_one.plan import plan

Settings = Callable[..., CacheTeacherSettings]


@pytest.fixture
def job(write_kitti: Callable[..., Path], tmp_path: Path) -> Settings:
    """Settings for a drive of 20 frames, whose weights are nowhere."""
    root = write_kitti({"00": 20}, points=300)

    def make(**values: Any) -> CacheTeacherSettings:
        own = {
            "dataset": "semantickitti", "data_root": root, "cache": tmp_path / "store.zarr",
            "device": "cpu", "weights": str(tmp_path / "nowhere.pth"), "plan": True,
        }  # fmt: skip
        return CacheTeacherSettings.resolve(None, {**own, **values})

    return make


def test_sizes_of_a_known_teacher_need_no_weights(job: Settings, tmp_path: Path) -> None:
    files = set(tmp_path.iterdir())
    reckoned = plan(job(model="vitg14", class_token=True))
    assert reckoned
    assert set(tmp_path.iterdir()) == files
    assert reckoned.layer_frames == {"vitg14-224x448": 20}
    assert reckoned.grid_bytes == 20 * (16 * 32 * 1536 + 1536 * 4)  # int8, and float32 beside it
    assert reckoned.seconds is None
    text = str(reckoned)
    assert f"time      not measured: weights {tmp_path}/nowhere.pth: no such file" in text
    assert "`rate` (images/s)" in text
    assert "measured  " not in text
    assert " hours" not in text
    half = plan(job(model="vitg14", codec="fp16", layer=("pre-norm", "block:-2")))
    assert half
    assert half.grid_bytes == 2 * 20 * 2 * 16 * 32 * 1536
    assert list(half.layer_frames) == ["vitg14-224x448 pre-norm", "vitg14-224x448 block:38"]
    assert " at most" not in str(half)
    assert "MB features at most;" in str(plan(job(codec="int8-zstd")))


def test_points_and_pairs_are_those_of_the_store(job: Settings) -> None:
    lite = {"model": "efficientnet_lite0", "weights": "random:0", "tokens": "points"}
    reckoned = plan(job(**{**lite, "weights": "nowhere"}))
    assert reckoned
    cache_teacher(job(**lite, plan=False))
    store, frames = Store(job().store), FeatureCache(job().store)
    size = sum(file.bytes for commit in store.commits("points") for file in commit.files.values())
    assert reckoned.point_bytes == pytest.approx(size, rel=0.1)
    blocks = [-(-count // PAIR_BLOCK) for count in map(frames.pair_count, range(16))]
    assert reckoned.grid_bytes == pytest.approx(20 * 112 * PAIR_BLOCK * sum(blocks) / 16, rel=0.2)


def test_a_rate_gives_the_time(job: Settings) -> None:
    reckoned = plan(job(rate=4.0))
    assert reckoned
    assert reckoned.seconds == 5
    assert "time      5.0 s at 4 images/s, as named" in str(reckoned)
    with pytest.raises(CleverError, match="`rate` reckons a `plan`"):
        cache_teacher(job(rate=4.0, plan=False))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "vits15"}, "unknown model 'vits15'"),
        ({"layer": ("block:12",)}, "layer 'block:12': vitb14 has"),
        ({"image_size": (225, 448)}, "225"),
    ],
)
def test_what_weights_do_not_decide_is_an_error(
    job: Settings, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(CleverError, match=words):
        plan(job(**values))


def test_shapes_are_those_of_the_network() -> None:
    settings = [
        TeacherSettings(model="convnext_tiny", layer=layer, image_size=(64, 128))
        for layer in ("stride:8", "post-norm")
    ]
    shapes = grid_shapes(settings)
    assert [(shape.grid, shape.channels) for shape in shapes] == [((8, 16), 192), ((2, 4), 768)]
