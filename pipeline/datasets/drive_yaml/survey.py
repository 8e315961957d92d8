"""What lies in a folder: point files, images, labels and the text files beside them, as patterns
for a first ``drive.yaml``."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ....errors import CleverError
from ..readers.bare_files import SUFFIXES
from ..readers.file_patterns import TOKEN, natural

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
POINT_SUFFIXES = (*SUFFIXES, ".npy")
TEXT_SUFFIXES = (".txt", ".yaml", ".yml", ".json", ".tum", ".csv")
LABEL_SUFFIX = ".label"
LABEL_FOLDER = re.compile(r"label|seg|annotation", re.IGNORECASE)
"""Names of folders whose files are labels and no points."""
SENSOR_FOLDER = re.compile(
    r"lidar|velo|ouster|os\d|hesai|pandar|livox|points|cloud|sweep|scan|pcd|bin", re.IGNORECASE
)
"""Names of folders of point files that tell a sensor, not a scene."""
DEEPEST = 8
"""Folders below the root that are looked into."""
_TIME = re.compile(r"(.*?)(\d{10,}(?:\.\d+)?)")


@dataclass(frozen=True)
class FileGroup:
    """Files of one kind.

    Attributes:
        pattern: where they lie, see `FilePattern`.
        folders: their folders by scene (empty for none), relative to the root.
        names: names of its files by scene, in natural order.
        label: what tells the group from others, such as a camera's folder.
    """

    pattern: str
    folders: dict[str, str]
    names: dict[str, tuple[str, ...]]
    label: str

    def files(self) -> list[str]:
        """Every file, relative to the root."""
        return [
            str(PurePosixPath(folder, name))
            for scene, folder in self.folders.items()
            for name in self.names[scene]
        ]

    @property
    def timed(self) -> bool:
        """Whether the names hold times."""
        return "{time}" in self.pattern


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        points: the point files; None where there are none.
        others: further groups of point files, of which a drive takes none.
        images: one group a camera.
        labels: the label files; None where there are none.
        texts: text files, relative to the root.
    """

    points: FileGroup | None
    others: list[FileGroup]
    images: list[FileGroup]
    labels: FileGroup | None
    texts: list[str] = field(default_factory=list)


def survey(root: Path) -> Survey:
    """Look at every name below `root`, `DEEPEST` folders deep; no file is opened.

    Raises:
        CleverError: `root` is no folder or cannot be read.
    """
    kinds: dict[str, dict[str, list[str]]] = {"points": {}, "image": {}, "label": {}}
    texts: list[str] = []
    for folder, names in _walk(root):
        for name in names:
            if kind := _kind(folder, name):
                _check_name(root / folder / name)
            if kind == "text":
                texts.append(str(PurePosixPath(folder, name)))
            elif kind:
                kinds[kind].setdefault(folder, []).append(name)
    clouds = _groups(kinds["points"], _scene_names(list(kinds["points"])))
    clouds.sort(key=lambda group: -len(group.files()))
    points = clouds[0] if clouds else None
    scenes = set(points.folders) if points else set()
    images = _groups(kinds["image"], scenes)
    labels = _groups(kinds["label"], scenes)
    return Survey(points, clouds[1:], images, labels[0] if labels else None, sorted(texts))


def _walk(root: Path) -> list[tuple[str, list[str]]]:
    """Folders relative to `root` with the names of their files; hidden ones are passed over."""
    if not root.is_dir():
        raise CleverError(f"{root} is no folder; give the folder of your recordings")
    result: list[tuple[str, list[str]]] = []
    # Each real folder once, by its own path if it has one here; links may lead round in circles.
    starts, visited = [root], set(root.resolve().parents)
    for start in starts:
        for folder, inner, names in os.walk(start):
            path = Path(folder)
            if path.resolve() in visited:
                inner[:] = []
                continue
            visited.add(path.resolve())
            relative = path.relative_to(root)
            deep = len(relative.parts) >= DEEPEST
            inner[:] = [] if deep else sorted(name for name in inner if not name.startswith("."))
            starts += [path / name for name in inner if (path / name).is_symlink()]
            visible = [name for name in names if not name.startswith(".")]
            result.append((relative.as_posix(), visible))
    return result


def _check_name(path: Path) -> None:
    """Raise CleverError for a path that a text file cannot hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CleverError(f"{os.fsencode(path)!r} is no UTF-8; rename it") from None


def _kind(folder: str, name: str) -> str:
    """``points``, ``image``, ``label``, ``text`` or nothing."""
    lower = name.lower()
    if lower.endswith(LABEL_SUFFIX):
        return "label"
    if lower.endswith(POINT_SUFFIXES):
        inside = LABEL_FOLDER.search(PurePosixPath(folder).name)
        return "label" if inside and lower.endswith((".bin", ".npy")) else "points"
    if lower.endswith(IMAGE_SUFFIXES):
        return "image"
    return "text" if lower.endswith(TEXT_SUFFIXES) else ""


def _scene_names(folders: Sequence[str]) -> set[str]:
    """Names of scenes: the parts in which folders of point files differ, unless they name
    sensors."""
    if len(folders) < 2:
        return set()
    parts = [folder.split("/") for folder in folders]
    if len({len(each) for each in parts}) > 1:
        return set()
    for place in range(len(parts[0])):
        names = {each[place] for each in parts}
        if len(names) == 1:
            continue
        last = place == len(parts[0]) - 1
        if last and all(SENSOR_FOLDER.search(name) for name in names):
            return set()
        return names
    return set()


def _groups(folders: dict[str, list[str]], scenes: set[str]) -> list[FileGroup]:
    """Folders that differ in the scene alone, together."""
    together: dict[str, dict[str, str]] = {}
    for folder in sorted(folders, key=lambda folder: natural((folder,))):
        parts = folder.split("/")
        scene = next((part for part in parts if part in scenes), "")
        if fault := next((part for part in parts if part != scene and TOKEN.search(part)), ""):
            raise CleverError(
                f"{folder}: patterns of drive.yaml take {fault} for what differs from file to "
                "file; rename the folder"
            )
        parts = ["{scene}" if part == scene and scene else part for part in parts]
        together.setdefault("/".join(parts), {})[scene] = folder
    labels = _labels(list(together))
    result = []
    for path, by_scene in together.items():
        everything = [name for folder in by_scene.values() for name in folders[folder]]
        suffix = _suffix(everything[0])

        def of_kind(name: str, suffix: str = suffix) -> bool:
            return _suffix(name) == suffix

        everything = list(filter(of_kind, everything))
        names = {
            scene: tuple(sorted(filter(of_kind, folders[folder]), key=lambda n: natural((n,))))
            for scene, folder in by_scene.items()
        }
        stem = template([name.removesuffix(suffix) for name in everything])
        pattern = f"{stem}{suffix}" if path == "." else f"{path}/{stem}{suffix}"
        result.append(FileGroup(pattern, by_scene, names, labels[path]))
    return result


def _suffix(name: str) -> str:
    """The ending of a file, ``.pcd.bin`` as one."""
    endings = [ending for ending in POINT_SUFFIXES if name.lower().endswith(ending)]
    return name[-len(endings[0]) :] if endings else PurePosixPath(name).suffix


def _labels(paths: Sequence[str]) -> dict[str, str]:
    """A short name for each path: the parts in which it differs from the others."""
    split = [[part for part in path.split("/") if part != "{scene}"] for path in paths]
    shared = set.intersection(*map(set, split)) if len(split) > 1 else set[str]()
    names: dict[str, str] = {}
    for path, parts in zip(paths, split, strict=True):
        own = [part for part in parts if part not in shared and part != "."]
        names[path] = "_".join(own) if len(split) > 1 else (parts[-1] if parts else "front")
        names[path] = "camera" if names[path] in ("", ".") else names[path]
    return names


def template(stems: Sequence[str]) -> str:
    """What the names of files have in common, with ``{time}`` for a time at their end or
    ``{frame}`` for whatever else differs."""
    times = [_TIME.fullmatch(stem) for stem in stems]
    prefixes = {match[1] for match in times if match}
    if all(times) and len(prefixes) == 1 and not TOKEN.search("".join(prefixes)):
        return f"{prefixes.pop()}{{time}}"
    prefix = _shared_start(stems).rstrip("0123456789")
    suffix = _shared_start([stem[::-1] for stem in stems])[::-1].lstrip("0123456789")
    if TOKEN.search(prefix) or TOKEN.search(suffix):
        return "{frame}"
    middle = [stem[len(prefix) : len(stem) - len(suffix)] for stem in stems]
    if len(set(stems)) > 1 and all(middle) and len(set(middle)) == len(set(stems)):
        return f"{prefix}{{frame}}{suffix}"
    return "{frame}"


def _shared_start(texts: Sequence[str]) -> str:
    """The letters that all texts begin with."""
    letters = zip(*texts, strict=False)
    count = next((n for n, each in enumerate(letters) if len(set(each)) > 1), min(map(len, texts)))
    return texts[0][:count]
