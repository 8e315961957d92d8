"""Which tables and which scenes of a nuScenes folder are meant: versions and splits."""

import json
from collections.abc import Sequence
from pathlib import Path

from ....errors import CleverError
from .scenes import official_splits

SPLITS_FILE = "splits.json"
"""Optional file beside the tables: scene names by split, instead of the official splits."""


def find_version(root: Path) -> str:
    """The folder of tables to take when none is named: ``v1.0-trainval`` where it is there, else
    the only one.

    Raises:
        CleverError: no ``v1.0-*`` folder with tables, or several.
    """
    present = sorted({path.parent.name for path in root.glob("v1.0-*/*.json")})
    if "v1.0-trainval" in present:
        return "v1.0-trainval"
    if len(present) != 1:
        contents = ", ".join(present) or "no v1.0-* folder with tables"
        raise CleverError(
            f"{root} holds {contents}; "
            + (
                "choose one with `version`"
                if present
                else "choose another `data_root` or `dataset`"
            )
        )
    return present[0]


def scene_splits(folder: Path, scenes: Sequence[str], split: str) -> dict[str, str]:
    """The scenes of `split` that are there, in the split's order, and the split that each belongs
    to: `split` itself where it names the scene, else the first that does, else none (empty).

    Args:
        folder: of the tables.
        scenes: names of the scenes that are there.
        split: ``all`` takes every scene.

    Raises:
        CleverError: unknown split, none of its scenes is there, or a damaged splits.json.
    """
    splits, own = _splits(folder)
    if split == "all":
        split_of = {name: part for part in reversed(splits) for name in splits[part]}
        return {name: split_of.get(name, "") for name in scenes}
    if split not in splits:
        raise CleverError(f"{folder} has no split {split!r}; choose {', '.join(splits)} or all")
    unknown = [name for name in splits[split] if name not in scenes]
    if own and unknown:
        raise CleverError(
            f"{folder / SPLITS_FILE} names scenes that scene.json lacks: {', '.join(unknown)}; "
            "correct it"
        )
    present = [name for name in splits[split] if name in scenes]
    if not present:
        scene_list = ", ".join(scenes[:10]) or "none at all"
        scene_list += f" and {len(scenes) - 10} more" if len(scenes) > 10 else ""
        raise CleverError(
            f"{folder} has no scene of split {split!r}: it holds {scene_list}; choose `split=all`"
        )
    return dict.fromkeys(present, split)


def _splits(folder: Path) -> tuple[dict[str, list[str]], bool]:
    """Scene names by split, and whether they are the folder's own (splits.json) or the official
    ones of this version."""
    path = folder / SPLITS_FILE
    if path.is_file():
        try:
            splits = json.loads(path.read_text()).items()
            return {str(split): [str(name) for name in names] for split, names in splits}, True
        except (ValueError, AttributeError, TypeError) as error:
            raise CleverError(
                f"{path} must map split names to lists of scene names; restore or remove it"
            ) from error
    return official_splits(folder.name), False
