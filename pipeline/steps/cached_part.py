"""Which frames of a cache a training uses."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...cache import FeatureCache
from ...errors import CleverError
from ...words import quantity

DEFAULT_SPLIT = "train"
"""Of a cache that knows its frames' splits."""
LISTED = 10
"""Scenes that are named in a line."""


@dataclass(frozen=True, slots=True)
class CachedPart:
    """Some frames of a cache.

    Attributes:
        ids: frame ids in the order of the cache.
        words: what they are and how many of how many, as in ``split train, 18 of 24 frames``.
    """

    ids: list[str]
    words: str


def cached_part(
    cache: FeatureCache,
    split: str | None = None,
    scenes: Sequence[str] = (),
    sequences: Sequence[str] = (),
) -> CachedPart:
    """The frames of some scenes or sequences, else of a split.

    Args:
        split: a split of the dataset, or ``all``; None is `DEFAULT_SPLIT` where the cache knows the
            split of any frame, else ``all``.
        scenes: names; they and `sequences` win over the split.
        sequences: drives, which the cache keeps as scenes; ``8`` is also ``08``.

    Raises:
        CleverError: the cache has no such scene, or no frame of the split.
    """
    if scenes or sequences:
        names = [_scene(cache, name) for name in scenes]
        names += [_scene(cache, name, numbers=True) for name in sequences]
        ids = [
            frame for frame, scene in zip(cache.ids, cache.scenes, strict=True) if scene in names
        ]
        kind = "scenes" if scenes else "sequences"
        return CachedPart(
            ids, f"{kind} {_name_list(names)}, {len(ids)} of {quantity(len(cache), 'frame')}"
        )
    split = split or (DEFAULT_SPLIT if any(cache.splits) else "all")
    if split == "all":
        return CachedPart(list(cache.ids), f"all {quantity(len(cache), 'frame')}")
    ids = [frame for frame, own in zip(cache.ids, cache.splits, strict=True) if own == split]
    if not ids:
        counts = Counter(own or "unknown" for own in cache.splits)
        split_counts = ", ".join(f"{own} {count}" for own, count in sorted(counts.items()))
        raise CleverError(
            f"{cache.path} has no frame of split {split!r} (frames by split: {split_counts}); "
            "choose another `split`, or `split=all`"
        )
    return CachedPart(ids, f"split {split}, {len(ids)} of {quantity(len(cache), 'frame')}")


def _scene(cache: FeatureCache, name: str, numbers: bool = False) -> str:
    """The scene of that name, or of that number."""
    scenes = dict.fromkeys(cache.scenes)
    if name in scenes:
        return name
    for scene in scenes if numbers and name.isdecimal() else ():
        if scene.isdecimal() and int(scene) == int(name):
            return scene
    raise CleverError(f"{cache.path} has no scene {name!r}; it holds {_name_list(list(scenes))}")


def _name_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return " ".join(names[:LISTED]) + more
