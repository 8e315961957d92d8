"""Commit records: a shard counts only once its record, written after its data is durable, says
so."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import add
from pathlib import Path, PurePath

import numpy as np

from ....errors import CleverError
from ....files import atomic_write
from ...fidelity import Fidelity
from ...moments import CodeSums, Moments
from ..files.remote import AnyPath, names_in
from ..layers import place
from . import checked_json
from .models import COMMITS, Commit, FrameRecord, Stamp, TeacherContent, parse

__all__ = ["Commit", "FrameRecord", "Stamp"]

Conversion = Callable[[bytes], bytes]
"""JSON of an older schema to that of this one."""


def commit_path(store: Path, layer: str, shard: int) -> Path:
    """File of a commit record."""
    return store / place(layer).commit(shard)


def write_commit(store: Path, commit: Commit) -> None:
    """Make a shard count: atomic, durable, with a checksum over the record itself."""
    data = checked_json.encode(COMMITS.dump_json(commit))
    atomic_write(commit_path(store, commit.layer, commit.shard), data)


def read_commit(
    store: AnyPath, layer: str, shard: int, conversion: Conversion | None = None
) -> Commit:
    """Read one record.

    Args:
        conversion: for records of an older schema.

    Raises:
        CleverError: missing or damaged record; the message names the file and the wrong field.
    """
    path = store / place(layer).commit(shard)
    try:
        body = checked_json.decode(path.read_bytes())
        return parse(COMMITS, conversion(body) if conversion else body)
    except FileNotFoundError as error:
        raise CleverError(
            f"{path}: commit record is missing; run cache-teacher again to redo the shard"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CleverError(
            f"{path}: commit record is damaged ({error}); run `clever cache repair`"
        ) from error


def committed_shards(store: AnyPath, layer: str) -> list[int]:
    """Numbers of the committed shards of a layer, ascending."""
    names = [PurePath(name) for name in names_in(store / place(layer).commits)]
    return sorted(
        int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdigit()
    )


def records_by_row(commits: Iterable[Commit]) -> dict[int, FrameRecord]:
    """Frame records of several shards by row."""
    return {record.row: record for commit in commits for record in commit.frames}


def total_sums(commits: Iterable[Commit]) -> CodeSums | None:
    """Sums over the codes of several teacher shards; None where a shard that holds frames does not
    say, or where none does."""
    parts = [
        commit.sums for commit in commits if any(not record.reason for record in commit.frames)
    ]
    sums = [
        CodeSums(part.count, np.array(part.total), np.array(part.squares)) for part in parts if part
    ]
    if not sums or len(sums) < len(parts):
        return None
    total = reduce(add, sums)
    return total if total.count else None


def total_fidelity(commits: Iterable[Commit]) -> Fidelity:
    """The fidelity of all tokens of several teacher shards."""
    return sum((commit.fidelity for commit in commits if commit.fidelity), Fidelity.none())


def layer_moments(content: TeacherContent, commits: Sequence[Commit]) -> Moments | None:
    """Mean and deviation of a teacher layer's channels; None where a commit record does not say."""
    sums = total_sums(commits)
    if sums is None:
        return None
    if content.calibration is None:
        return sums.moments()
    centre, step = (
        np.array(values) for values in (content.calibration.centre, content.calibration.step)
    )
    return sums.moments(centre, step)
