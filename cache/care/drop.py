"""Dropping a teacher layer from a store."""

import glob
import shutil
from pathlib import Path

from ...files import fsync_folder
from ..store.contents import Contents
from ..store.layers import choose_layer, place
from ..store.lock import beside, writer_lock


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
        folder = path / place(choose_layer(layers, layer, str(path), exact=True)).group
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        folder.rename(beside(path, f"dropped-{layer}"))
        fsync_folder(folder.parent)
        mark = beside(path, "dropped-")
        for remnant in mark.parent.glob(f"{glob.escape(mark.name)}*"):
            shutil.rmtree(remnant)
        return size
