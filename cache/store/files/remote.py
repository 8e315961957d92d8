"""A store behind a URL, read file by file through fsspec as a folder is."""

import errno
import os
import posixpath
from pathlib import Path
from typing import Any

from ....errors import CleverError

LOCAL = ("file://", "local://")


class RemotePath:
    """A file or folder behind a URL: as much of `pathlib.Path` as reading a store asks for.

    Whatever a file system's library raises comes as an `OSError`.

    Args:
        url: as fsspec understands it (``s3://bucket/run.zarr``).

    Raises:
        CleverError: nothing understands the URL.
    """

    def __init__(self, url: str, system: Any = None) -> None:
        self.url = url.rstrip("/")
        self._system = system or _file_system(url)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url}/{name}", self._system)

    @property
    def name(self) -> str:
        """The last part."""
        return posixpath.basename(self.url)

    def exists(self) -> bool:
        """Whether a file or folder is there."""
        return bool(self._ask("exists"))

    def is_file(self) -> bool:
        """Whether a file is there."""
        return bool(self._ask("isfile"))

    def read_bytes(self) -> bytes:
        """The whole file."""
        return self._ask("cat_file")

    def names(self) -> list[str]:
        """What lies directly in the folder, in order; nothing where there is none."""
        try:
            entries = self._ask("ls", detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(posixpath.basename(str(entry).rstrip("/")) for entry in entries)

    def files(self) -> dict[str, int]:
        """Bytes of every file below, by its path from here; nothing where there is none."""
        try:
            entries = self._ask("find", detail=True)
        except FileNotFoundError:
            return {}
        base = str(self._system._strip_protocol(self.url)).rstrip("/") + "/"
        sizes = {str(name): int(entry["size"]) for name, entry in entries.items()}
        return {
            name.removeprefix(base): size for name, size in sizes.items() if name.startswith(base)
        }

    def _ask(self, what: str, **options: Any) -> Any:
        try:
            return getattr(self._system, what)(self.url, **options)
        except OSError as error:
            if error.strerror:
                raise
            raise type(error)(error.errno or errno.EIO, str(error) or what) from error
        except Exception as error:  # a remote file system raises whatever its library does
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(errno.EIO, reason) from error


AnyPath = Path | RemotePath
"""A file or folder of a store that is read."""


def any_path(place: str | Path) -> AnyPath:
    """The folder, or what a URL leads to; ``file://`` leads to a folder.

    Raises:
        CleverError: nothing understands the URL.
    """
    if not isinstance(place, str) or "://" not in place:
        return Path(place)
    if place.startswith(LOCAL):
        return Path(_file_system(place)._strip_protocol(place))
    return RemotePath(place)


def names_in(folder: AnyPath) -> list[str]:
    """What lies directly in a folder, in order; nothing where there is none."""
    if isinstance(folder, RemotePath):
        return folder.names()
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def files_below(folder: AnyPath) -> dict[str, int]:
    """Bytes of every file below a folder, by its path from there; nothing where there is none."""
    if isinstance(folder, RemotePath):
        return folder.files()
    sizes: dict[str, int] = {}
    for place, _, names in os.walk(folder):
        below = "" if place == str(folder) else f"{Path(place).relative_to(folder).as_posix()}/"
        for name in names:
            file = Path(place, name)
            # A link may lead nowhere.
            sizes[below + name] = file.stat().st_size if file.exists() else 0
    return sizes


def _file_system(url: str) -> Any:
    import fsspec

    try:
        return fsspec.url_to_fs(url)[0]
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise CleverError(
            f"{url}: {reason} (pip install 'clever-distiller[remote]' for s3://)"
        ) from error
    except Exception as error:  # whatever its library does
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CleverError(
            f"{url} cannot be read ({reason}); check the place and its access"
        ) from error
