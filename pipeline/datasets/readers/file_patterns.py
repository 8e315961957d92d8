"""Files found by patterns, such as ``sequences/{scene}/velodyne/{frame}.bin``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ....errors import CleverError

SHAPES = {"scene": ".+", "frame": ".+", "time": r"\d+(?:\.\d+)?"}
"""What the named parts of a pattern match within one folder's or file's name, as much as they
can."""
TOKEN = re.compile(r"\{([^{}]*)\}|\*+")
"""What stands for other text in a pattern."""
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a pattern matches.

    Attributes:
        path: the file.
        parts: text of the pattern's named parts.
    """

    path: Path
    parts: Mapping[str, str]

    @property
    def frame(self) -> str:
        """What tells it from the others of its scene: its ``{frame}``, else its ``{time}``."""
        return self.parts.get("frame", self.parts.get("time", ""))

    @property
    def scene(self) -> str:
        """Its ``{scene}``; empty where the pattern has none."""
        return self.parts.get("scene", "")


@dataclass(frozen=True, slots=True)
class FilePattern:
    """Where files of one kind lie.

    Attributes:
        text: a path below the root (or an absolute one), with ``{scene}``, ``{frame}`` and
            ``{time}`` for what differs from file to file, and ``*`` for what does not matter, each
            within the name of one folder or file.
    """

    text: str

    def fault(self) -> str:
        """Why this is no pattern; empty where it is one."""
        if not self.text or self.text.endswith("/"):
            return "is no path of files"
        for match in TOKEN.finditer(self.text):
            if match[0].startswith("**"):
                return "has **, but * stands for the name of one folder or file"
            if match[1] is not None and match[1] not in SHAPES:
                shape_list = ", ".join(f"{{{name}}}" for name in SHAPES)
                return f"has {match[0]}, which is none of {shape_list}"
        return ""

    def names(self) -> set[str]:
        """Its named parts."""
        return {match[1] for match in TOKEN.finditer(self.text) if match[1]}

    def exact(self) -> bool:
        """Whether its named parts tell the whole path."""
        return "*" not in self.text

    def path(self, root: Path, parts: Mapping[str, str]) -> Path:
        """The path with its named parts put in; those that are not given stay as they are."""
        text = TOKEN.sub(lambda match: parts.get(match[1] or "", match[0]), self.text)
        return root / text

    def files(self, root: Path, parts: Mapping[str, str] | None = None) -> list[NamedFile]:
        """Every file that matches, in natural order: by scene, then by frame.

        Hidden files and folders match only what begins with a dot itself.

        Args:
            parts: text of named parts that are known already.

        Raises:
            CleverError: a folder that cannot be read.
        """
        fixed_parts = {name: text for name, text in (parts or {}).items() if name in self.names()}
        matches = [NamedFile(Path("/") if self.text.startswith("/") else root, fixed_parts)]
        for name in filter(None, self.text.split("/")):
            matches = [inner for match in matches for inner in _step(match, name)]
        return sorted(matches, key=lambda file: natural((file.scene, file.frame, str(file.path))))


def natural(texts: tuple[str, ...]) -> list[tuple[list[str | int], str]]:
    """Key that sorts texts by the numbers in them, ``9`` before ``10``."""
    return [(_split(text), text) for text in texts]


def _split(text: str) -> list[str | int]:
    """Words and numbers in turn, a word first."""
    return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(text))]


def _step(match: NamedFile, name: str) -> list[NamedFile]:
    """What of a folder matches the next name of a pattern."""
    if not TOKEN.search(name):
        path = match.path / name
        return [NamedFile(path, match.parts)] if path.exists() else []
    expression = _expression(name, match.parts)
    try:
        entries = [path.name for path in match.path.iterdir()] if match.path.is_dir() else []
    except OSError as error:
        raise CleverError(f"cannot look into {match.path}: {error.strerror}") from error
    candidates = ((entry, expression.fullmatch(entry)) for entry in entries)
    return [
        NamedFile(match.path / entry, {**match.parts, **values.groupdict()})
        for entry, values in candidates
        if values and entry.startswith(".") == name.startswith(".")
    ]


def _expression(name: str, parts: Mapping[str, str]) -> re.Pattern[str]:
    """The regular expression of one name of a pattern; parts that are known match their text."""
    text, end = "", 0
    own: set[str] = set()
    for match in TOKEN.finditer(name):
        text += re.escape(name[end : match.start()])
        part, end = match[1], match.end()
        if part is None:
            text += ".*"
        elif part in parts:
            text += re.escape(parts[part])
        elif part in own:
            text += f"(?P={part})"
        else:
            text += f"(?P<{part}>{SHAPES[part]})"
            own.add(part)
    return re.compile(text + re.escape(name[end:]))
