"""One output for every point file or frame: where it lies, how it is read, and a loop that a bad
one does not stop."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...cache.store.point_statistics import is_dark
from ...errors import CleverError, OutputError
from ...words import quantity
from ..datasets.readers.bare_files import PointCloud, read_cloud, suffix
from ..datasets.readers.intensity import dark_words
from ..process.progress import Track
from ..results.run_folder import CLAIM, Run, notice
from ..results.sources import Sources
from ..settings.shared.base import JobSettings
from ..settings.shared.point_files import PointFiles
from ..steps.labelled import BadFrame

Item = TypeVar("Item", Path, str)
File = TypeVar("File")


@dataclass(frozen=True, slots=True)
class Outputs(Generic[Item, File]):
    """What became of the inputs of a job, which are files or frames.

    Attributes:
        files: outputs of this run.
        current: inputs whose output was there already.
        bad: inputs that could not be used; the reason names the file or frame.
        seconds: that `files` took, reading and writing included.
    """

    files: list[File]
    current: list[Item]
    bad: list[BadFrame]
    seconds: float

    def __str__(self) -> str:
        return "\n".join([*map(str, self.files), *self.notes()])

    def notes(self) -> list[str]:
        """What there is to say of inputs without a new output."""
        current = quantity(len(self.current), "output")
        lines = [f"already up to date: {current}"] if self.current else []
        return [*lines, *(f"skipped {bad.reason}" for bad in self.bad)]


def make_each(
    label: str, unit: str, items: Sequence[Item], make: Callable[[Item], File | None]
) -> Outputs[Item, File]:
    """Make the output of every item; one that cannot be used is reported and left out.

    Args:
        label: of the progress bar.
        unit: what the items are, in the plural.
        make: makes the output of an item; None where it is there already.

    Raises:
        CleverError: there is no item, or none can be used; of a single one its own error.
        OutputError: an output cannot be written.
    """
    if not items:
        raise CleverError(f"there are no {unit}; choose others")
    files: list[File] = []
    current: list[Item] = []
    bad: list[BadFrame] = []
    seconds = 0.0
    with Track(label, len(items), unit) as track:
        for item in items:
            start = monotonic()
            try:
                file = make(item)
                if file is None:
                    current.append(item)
                else:
                    files.append(file)
                    seconds += monotonic() - start
            except OutputError:
                raise
            except CleverError as error:
                if len(items) == 1:
                    raise
                bad.append(BadFrame(id=str(item), reason=str(error)))
                notice(f"skipped {error}")
            track.advance()
    if len(bad) == len(items):
        raise CleverError(f"none of {len(items)} {unit} could be used; the first: {bad[0].reason}")
    return Outputs(files, current, bad, seconds)


def output_of_each(
    points: Sequence[Path], out: Path, endings: Sequence[str], output_format: str | None
) -> dict[Path, Path]:
    """Output of every point file: `out` itself where it has one of the endings, else in the folder
    `out` a file of the same name.

    Args:
        endings: formats that the job writes, the default one first.
        output_format: the one asked for; None: that of `out`, else the default.

    Raises:
        CleverError: no files, an output that exists or is no file of that format, or two files that
            would get the same output.
    """
    if not points:
        raise CleverError("no point files given; name one or more in `points`")
    ending = out.suffix.lower().removeprefix(".")
    if ending in endings and not out.is_dir():
        first, *more = points
        if more:
            raise CleverError(f"`out={out}` is one file for {len(points)} inputs; give a folder")
        if output_format not in (None, ending):
            raise CleverError(f"`out={out}` is no {output_format} file; leave `output_format` out")
        if out.exists():
            raise CleverError(f"{out} exists; remove it or choose another `out`")
        return {first: out}
    ending = output_format or endings[0]
    names = {path: f"{path.name[: len(path.name) - len(suffix(path))]}.{ending}" for path in points}
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        both = [str(path) for path in names if names[path] == name][:2]
        raise CleverError(
            f"{' and '.join(both)} would both become {name}; write them into different folders"
        )
    return {path: out / name for path, name in names.items()}


def output_of_frame(frame: str, ending: str) -> PurePosixPath:
    """Where the output of a dataset's frame lies in the folder of the outputs.

    Raises:
        CleverError: the id of the frame is no path below it.
    """
    path = PurePosixPath(f"{frame}.{ending}")
    if path.is_absolute() or ".." in path.parts:
        raise CleverError(f"the frame id {frame} cannot name a file; correct the dataset")
    return path


def refuse_existing(out: Path, beside: Iterable[Path]) -> None:
    """Raise CleverError where one of the files beside a single output is there already."""
    for path in beside:
        if path.exists():
            raise CleverError(f"{path} exists; remove it or choose another `out` than {out}")


def refuse_single_file(out: Path, endings: Sequence[str]) -> None:
    """Raise CleverError where `out` is one file with one of the endings, and no folder: a dataset's
    frames need one."""
    ending = out.suffix.lower().removeprefix(".")
    if ending in endings and not out.is_dir():
        raise CleverError(
            f"`out={out}` is one file, but a dataset's frames need a folder; give one, and "
            f"`output_format={ending}` for that format"
        )


def open_folder(
    folder: Path, settings: JobSettings, ignore: frozenset[str], beside: Sequence[str] = ()
) -> Sources:
    """The folder of the outputs.

    Args:
        ignore: settings that say which inputs, and may differ from run to run.
        beside: names of files that tell of outputs; without any they bind nobody.

    Raises:
        CleverError: it holds something else, or outputs of other settings.
    """
    sources = Sources(folder)
    Run.open(folder, settings, also_ignore=ignore, claim=CLAIM.union(beside))
    return sources


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A point file as the network takes it.

    Attributes:
        cloud: the points as they are stored.
        points: (N, 4) float32 of `PointCloud.points`; rows that are not finite are NaN.
        words: what was read as what, and how intensity was scaled.
    """

    cloud: PointCloud
    points: NDArray[np.float32]
    words: str


def read_file(path: Path, settings: PointFiles, consequence: str) -> ReadFile:
    """Read a point file, and draw the user's attention to what looks odd.

    Args:
        consequence: what the job has for a point that is not finite, as in ``their features are
            NaN``.

    Raises:
        CleverError: see `read_cloud` and `PointCloud.points`.
    """
    cloud = read_cloud(path, settings.input_format, settings.intensity_field)
    points = cloud.points(settings.intensity_scale, settings.origin or (0.0, 0.0, 0.0))
    full = cloud.full if settings.intensity_scale is None else settings.intensity_scale
    low, high = float(np.nanmin(points[:, 3])), float(np.nanmax(points[:, 3]))
    if count := int(np.isnan(points[:, 3]).sum()):
        notice(f"{path}: {count} of {len(points)} points are not finite (no return); {consequence}")
    if is_dark(high):
        notice(dark_words(f"{path}:", high, full, "intensity_scale"))
    words = f"{cloud.layout}, intensity / {full:g} = {low:.3g} to {high:.3g}"
    return ReadFile(cloud, points, words)
