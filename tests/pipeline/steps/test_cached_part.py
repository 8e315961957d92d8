"""Which frames of a cache are used, and how that is said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clever.cache import FeatureCache
from clever.errors import CleverError
from clever.pipeline.steps.cached_part import CachedPart, cached_part

SCENES = ("00", "08", "08", "town", "10")
SPLITS = ("train", "val", "val", "", "train")


@pytest.fixture
def cache(make_cache: Callable[..., Path]) -> FeatureCache:
    return FeatureCache(make_cache(scenes=SCENES, splits=SPLITS))


def test_a_cache_knows_scenes_and_splits(cache: FeatureCache) -> None:
    assert (tuple(cache.scenes), tuple(cache.splits)) == (SCENES, SPLITS)


def test_scenes_sequences_and_splits(cache: FeatureCache) -> None:
    ids = cache.ids

    def part(*numbers: int, words: str) -> CachedPart:
        return CachedPart([ids[number] for number in numbers], words)

    assert cached_part(cache) == part(0, 4, words="split train, 2 of 5 frames")
    assert cached_part(cache, "val") == part(1, 2, words="split val, 2 of 5 frames")
    assert cached_part(cache, "all") == part(0, 1, 2, 3, 4, words="all 5 frames")
    assert cached_part(cache, "val", ["town", "00"]) == part(
        0, 3, words="scenes town 00, 2 of 5 frames"
    )
    assert cached_part(cache, None, [], ["8", "10"]) == part(
        1, 2, 4, words="sequences 08 10, 3 of 5 frames"
    )


def test_what_the_cache_does_not_hold(cache: FeatureCache) -> None:
    with pytest.raises(CleverError, match=r"has no scene '8'; it holds 00 08 town 10$"):
        cached_part(cache, scenes=["8"])
    with pytest.raises(CleverError, match=r"'test' \(frames by split: train 2, unknown 1, val 2\)"):
        cached_part(cache, "test")


def test_all_frames_where_no_split_is_known(make_cache: Callable[..., Path]) -> None:
    cache = FeatureCache(make_cache(scenes=tuple(f"{number}" for number in range(5))))
    assert cached_part(cache).words == "all 5 frames"
