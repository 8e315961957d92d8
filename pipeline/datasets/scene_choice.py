"""Which scenes of a dataset a job reads: by name, or by split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import CleverError

LISTED = 8
"""Scenes that an error names."""


def choose_scenes(
    dataset: str,
    root: Path,
    splits: Mapping[str, Sequence[str]],
    split: str,
    sequences: Sequence[str] | None,
) -> dict[str, str]:
    """Official split of every scene to be read, by scene, in the order to be read in.

    Args:
        dataset, root: name and folder, for errors.
        splits: the scenes that are there by official split; an empty name for those of none.
        split: one of `splits`, or ``all``.
        sequences: scenes by name; they win over `split`.

    Raises:
        CleverError: an unknown split, one without a scene, or a scene that is not there.
    """
    split_of = {scene: name for name, scenes in splits.items() for scene in scenes}
    names = list(split_of)
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    held = f"{root} holds {', '.join(names[:LISTED]) or 'no scene'}{more}"
    if sequences:
        if missing := [name for name in sequences if name not in split_of]:
            raise CleverError(
                f"{dataset} has no scene {', '.join(missing)}: {held}; choose among them with "
                "`sequences`"
            )
        return {name: split_of[name] for name in sequences}
    if split not in splits and split != "all":
        official = [name for name in splits if name]
        raise CleverError(f"{dataset} has no split {split!r}; choose {', '.join(official)} or all")
    scenes = names if split == "all" else splits[split]
    if not scenes:
        raise CleverError(
            f"{dataset} has no scene of split {split!r}: {held}; restore it, or choose with "
            "`split` or `sequences`"
        )
    return {name: split_of[name] for name in scenes}
