"""`init-drive`: a first ``drive.yaml`` from what lies in a folder."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import CleverError
from ..files import atomic_write
from ..words import quantity
from .datasets.drive_yaml.draft import Draft
from .datasets.drive_yaml.schema import DRIVE_FILE, drive_of, parsed
from .datasets.drive_yaml.survey import survey
from .datasets.folder import FolderDataset
from .settings.init_drive import InitDriveSettings


@dataclass(frozen=True)
class InitSummary:
    """What was written.

    Attributes:
        path: the new file.
        frames, scenes: how many the patterns find; None while something is left to fill in.
        todo: keys that are left to fill in.
        remarks: what else was seen.
    """

    path: Path
    frames: int | None
    scenes: int | None
    todo: list[str]
    remarks: list[str]

    def __str__(self) -> str:
        lines = [f"{self.path}: written from what lies beside it; read it through"]
        lines += [f"note: {remark}" for remark in self.remarks]
        if self.todo:
            lines.append(f"left to fill in: {', '.join(self.todo)}")
        elif self.frames is not None and self.scenes is not None:
            contents = f"{quantity(self.frames, 'frame')} of {quantity(self.scenes, 'scene')}"
            lines.append(f"nothing is left open: {contents}")
        doctor = f"clever doctor --dataset folder --data-root {self.path.parent} --out DIR"
        return "\n".join([*lines, f"then look at it: {doctor}"])


def init_drive(settings: InitDriveSettings) -> InitSummary:
    """Write a first ``drive.yaml`` into a folder; what cannot be seen in files is marked TODO.

    Raises:
        CleverError: no folder, no point files, a file that is there already, or one that cannot
            be read.
    """
    path = settings.folder / DRIVE_FILE
    if path.exists():
        raise CleverError(f"{path} exists; it is never overwritten: edit it, or move it away first")
    draft = Draft(settings.folder, survey(settings.folder))
    try:
        text = draft.text()
    except (OSError, ValueError) as error:
        raise CleverError(f"cannot look at the files of {settings.folder}: {error}") from error
    todo = _read_back(text, path)
    atomic_write(path, text)
    remarks = list(dict.fromkeys(draft.remarks))
    if todo:
        return InitSummary(path, None, None, todo, remarks)
    dataset = FolderDataset(settings.folder, split="all")
    return InitSummary(path, len(dataset), len(set(dataset.scenes)), [], remarks)


def _read_back(text: str, path: Path) -> list[str]:
    """Keys that are left to fill in; raises CleverError for a text that is no ``drive.yaml``."""
    try:
        content, todo = parsed(text, path)
        if not todo:
            drive_of(content, path)
    except CleverError as error:
        raise CleverError(f"nothing is written, write it yourself: {error}") from error
    return todo
