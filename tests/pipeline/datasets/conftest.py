"""A dataset through stage one: cached with a tiny teacher, verified against itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clever.cache import FeatureCache
from clever.pipeline.cache_teacher import cache_teacher
from clever.pipeline.settings.cache_teacher import CacheTeacherSettings
from clever.pipeline.settings.care import VerifySettings
from clever.pipeline.verify import verify


@pytest.fixture
def cached(tmp_path: Path) -> Callable[..., FeatureCache]:
    """Caches all frames of the dataset of that name and root; every one is derived again and
    compared."""

    def cache(name: str, root: Path, **choices: Any) -> FeatureCache:
        path = tmp_path / f"{name}.zarr"
        source = {"dataset": name, "data_root": root, "split": "all", **choices}
        teacher = {"model": "resnet10t", "weights": "random:0", "image_size": (32, 64)}
        summary = cache_teacher(
            CacheTeacherSettings(**{**source, **teacher, "cache": path, "device": "cpu"})
        )
        assert (summary.failed, summary.unseen) == ([], 0)
        result = verify(VerifySettings(**{**source, "path": path}))
        assert (result.problems, result.skipped) == ([], [])
        store = FeatureCache(path)
        assert sorted(result.compared) == sorted(store.ids)
        return store

    return cache
