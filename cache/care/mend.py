"""Mending: what a verification found that can be put right from the rest of the store."""

from collections.abc import Sequence
from pathlib import Path

from ..store.layout import write_if_changed
from ..store.records.seals import seal_of, write_seal
from ..store.views import layer_views
from .problems import Problem
from .verify import Verification


def mend(verification: Verification, problems: Sequence[Problem]) -> None:
    """Write seals and views again where they are damaged, and remove what interrupted runs left
    behind.

    The caller holds the store's lock. Shards and commit records stay as they are, and so do the
    views of a layer that has lost a record: they still say which frames were stored.
    `Store.refresh` writes them once its shards are redone.

    Args:
        problems: everything that `verification` found.
    """
    path = verification.path
    assert isinstance(path, Path)
    for problem in problems:
        if problem.remedy == "remove":
            (path / problem.file).unlink(missing_ok=True)
    if verification.base is None:
        return
    damaged_layers = {problem.layer for problem in problems if problem.remedy == "rewrite"}
    cameras, rows = verification.cameras, verification.rows
    for layer in verification.layers:
        if layer.name not in damaged_layers or (layer.record_faults and layer.files is not None):
            continue
        views = layer_views(layer.content, list(layer.commits.values()), cameras, rows)
        shards = sorted({*layer.commits, *layer.record_faults})
        write_seal(path, seal_of(layer.name, layer.content, shards, views))
        if not layer.record_faults:
            for name, data in views.items():
                write_if_changed(path / name, data)
