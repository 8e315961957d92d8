"""Dropping a layer of a teacher or of regions from a store."""

import glob
import shutil
from pathlib import Path

from ...errors import CleverError
from ...files import fsync_folder
from ..store.contents import Contents
from ..store.files.lock import beside, writer_lock
from ..store.files.remote import names_in
from ..store.layers import REGIONS, SWEEPS, choose_layer, choose_regions, place


def drop_teacher(path: Path, layer: str) -> int:
    """Delete a teacher layer, even a damaged one; nothing else in the store changes.

    The folder leaves the store in one rename and is deleted outside of it; if that is cut off, the
    next call for the same store goes on with it.

    Args:
        layer: whole id of the layer.

    Returns:
        Bytes that were freed.

    Raises:
        CleverError: no such layer, or another process writes to the store.
    """
    with writer_lock(path):
        Contents(path)
        layers = sorted(folder.name for folder in (path / "teachers").iterdir() if folder.is_dir())
        return _drop(path, choose_layer(layers, layer, str(path), exact=True))


def drop_regions(path: Path, name: str) -> int:
    """Delete a layer of regions as `drop_teacher` does a teacher's.

    Args:
        name: id of the layer, or the beginning of one; ``regions/`` may be left out.

    Returns:
        Bytes that were freed.

    Raises:
        CleverError: no such layer, or another process writes to the store.
    """
    with writer_lock(path):
        Contents(path)
        names = [entry for entry in names_in(path / REGIONS) if (path / REGIONS / entry).is_dir()]
        layers = [f"{REGIONS}/{entry}" for entry in names]
        size = _drop(path, choose_regions(layers, name, str(path)))
        if len(layers) == 1:
            shutil.rmtree(path / REGIONS)
        return size


def drop_sweeps(path: Path) -> int:
    """Delete all earlier sweeps of a store; returns the bytes that were freed.

    Raises:
        CleverError: there are none, or another process writes to the store.
    """
    with writer_lock(path):
        Contents(path)
        folder = path / SWEEPS
        names = [name for name in names_in(folder) if (folder / name).is_dir()]
        if not names:
            raise CleverError(f"{path} holds no earlier sweeps")
        size = sum(_drop(path, f"{SWEEPS}/{name}") for name in names)
        shutil.rmtree(folder)
        return size


def _drop(path: Path, layer: str) -> int:
    """Delete a layer's folder; returns the bytes that were freed."""
    folder = path / place(layer).group
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    folder.rename(beside(path, f"dropped-{folder.name}"))
    fsync_folder(folder.parent)
    mark = beside(path, "dropped-")
    for remnant in mark.parent.glob(f"{glob.escape(mark.name)}*"):
        shutil.rmtree(remnant)
    return size
