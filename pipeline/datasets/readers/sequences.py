"""Sequences of a dataset chosen by name or by split, and the split that each is in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ....errors import CleverError

Splits = Mapping[str, Sequence[str]]
"""Sequences of each split by its name."""
LISTED = 30
"""Sequences that an error names."""


def same_number(name: str, names: Sequence[str]) -> list[str]:
    """`name` itself where it is among `names`, else those that are the same number, as ``8`` and
    ``08`` are."""
    if name in names or not name.isdecimal():
        return [name] if name in names else []
    return [other for other in names if other.isdecimal() and int(other) == int(name)]


def split_of(sequence: str, splits: Splits) -> str:
    """The first of `splits` that holds a sequence; empty where none does."""
    return next((split for split, names in splits.items() if same_number(sequence, names)), "")


def choose_sequences(
    dataset: str,
    folders: Sequence[str],
    sequences: Sequence[str] | None,
    split: str,
    splits: Splits,
    root: Path,
) -> list[str]:
    """Folders of the sequences asked for, each once; `sequences` win over `split`.

    Args:
        dataset: its name, for errors.
        folders: names of all sequence folders.
        split: one of `splits`, or ``all``.
        root: where the folders lie, for errors.

    Raises:
        CleverError: no sequence at all, one that is not there, or that several folders may be; an
            unknown split, or one without a folder.
    """
    if not folders:
        raise CleverError(
            f"{root} holds no sequence in the layout of {dataset}; pass another `data_root`"
        )
    contents = f"{root} holds sequences {_listed(folders)}"
    if sequences:
        return _by_name(folders, sequences, contents)
    if split == "all":
        return list(folders)
    check_split(dataset, split, splits)
    names = [folder for name in splits[split] for folder in _of_name(name, folders)]
    if not names:
        own = f" ({_listed(splits[split])})" if splits[split] else ""
        raise CleverError(
            f"no sequence of split {split!r}{own}: {contents}; choose with `sequences` or "
            "`split=all`"
        )
    return names


def check_split(dataset: str, split: str, splits: Sequence[str] | Splits) -> None:
    """Raise CleverError for a split that is neither in `splits` nor ``all``."""
    if split != "all" and split not in splits:
        choices = f"{', '.join(splits)} or all" if splits else "all"
        raise CleverError(f"{dataset} has no split {split!r}; choose {choices}")


def _listed(names: Sequence[str]) -> str:
    """Names with commas; of many the first and how many more."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"


def _by_name(folders: Sequence[str], sequences: Sequence[str], contents: str) -> list[str]:
    places = {name: same_number(name, folders) for name in sequences}
    if missing := [name for name, candidates in places.items() if not candidates]:
        raise CleverError(
            f"no sequence {', '.join(missing)}: {contents}; choose among them with `sequences`"
        )
    for name, candidates in places.items():
        if len(candidates) > 1:
            raise CleverError(
                f"sequence {name} may be {' or '.join(candidates)}: {contents}; write it as its "
                "folder is called"
            )
    return list(dict.fromkeys(folder for candidates in places.values() for folder in candidates))


def _of_name(name: str, folders: Sequence[str]) -> list[str]:
    """All folders that are a sequence of a split, padded or not."""
    if not name.isdecimal():
        return [folder for folder in folders if folder == name]
    return [folder for folder in folders if folder.isdecimal() and int(folder) == int(name)]
