"""One page that shows what runs reached: figures, curves, pictures and sweeps to turn in 3D."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import CleverError
from ..student.segmenter import CLASSIFIER_FILE
from .corrupted.clean_sweeps import sensor_of
from .corrupted.gallery import corruption_gallery
from .datasets import open_dataset, positions
from .evaluate import SegmentationResult
from .finetuning.result import FinetuneResult
from .list_runs import MIOU, RunSummary, list_runs
from .look import look_and_record
from .pictures.recording import RecordedFrame
from .pretraining.result import PretrainResult
from .report_page.ablations import ablation_part, table_file
from .report_page.curves import LoggedRun, charts
from .report_page.images import Picture, file_picture
from .report_page.page import Gallery, Headline, Page
from .report_page.repeats import without_repeats
from .report_page.robustness import robustness_part
from .report_page.run_tables import finished_first, result_table, run_labels, settings_tables
from .report_page.scores import Scores, confusion_table, iou_tables
from .report_page.sweeps import Sweep
from .results.run_folder import RESULT_FILE, read_result
from .robustness import RESULT_FILE as ROBUSTNESS_FILE
from .settings.list_runs import ListRunsSettings
from .settings.look import FEATURE_KINDS, LABEL_KINDS, PICTURE_KINDS, LookSettings
from .settings.report import PARTS, ReportSettings
from .training.log import read_log

REPORT_FILE = "report.html"
REGIONS = "regions"
CAPTIONS = {
    "labels-cameras": "Prediction, labels and errors on the cameras' images.",
    "labels": "Prediction, labels and errors from above; errors are red.",
    "features": "Camera image, the teacher's features, the same at the LiDAR points, and what the "
    "student predicts there from the points alone. Colours: three principal directions of the "
    "teacher's features, the same in all panels, each around the mean and over the spread of its "
    "own panel. A student that was not taught to predict them has colours of its own.",
    "above": "The sweep from above in the same colours; grey: no camera sees it.",
    "similarity": "Cosine of all points to the marked one: of the teacher's features in the image, "
    "and of the student's.",
    "occupancy": "Queries from above (upper row) and in a slice from the side (lower row), LiDAR "
    "points in grey: what is filled (red) and empty (blue), and what the student says.",
    REGIONS: "Borders of regions on the cameras' images, and the points in their regions' colours.",
}
"""What the pictures of `clever look` show, by the end of their names."""
LEAD = (
    "Pre-training teaches a network for LiDAR points (the student) to predict, from points alone, "
    "the features that an image network (the teacher) gives to the same place. A probe or "
    "fine-tuning then measures with labels what it learned. Every figure carries the number of its "
    "protocol."
)
OCCUPANCY = "occupancy"
OCCUPANCY_LEAD = (
    "The second task of pre-training: is a place filled? Queries lie just in front of a surface "
    "(empty), just behind it (filled) and on the line of sight (empty)."
)

CORRUPTIONS_LEAD = (
    "A sweep under the eight corruptions of Robo3D, as clever robustness measures students on them."
)


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The page that was written, its bytes, and what it does not show."""

    page: Path
    bytes: int
    remarks: list[str]

    @property
    def bad(self) -> list[str]:
        """What could not be shown."""
        return self.remarks

    def __str__(self) -> str:
        return "\n".join([*self.remarks, f"{self.page}  ({self.bytes / 1e6:.1f} MB)"])


@dataclass(slots=True)
class Drawn:
    """What was drawn of the runs: pictures by section, sweeps, and what could not be."""

    pictures: list[Picture] = field(default_factory=list)
    occupancy: list[Picture] = field(default_factory=list)
    corruptions: list[Picture] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def report(settings: ReportSettings) -> ReportResult:
    """Write the page of some runs and tables.

    A run that cannot be read, and frames that cannot be drawn, are named on the page and cost
    nothing else.

    Raises:
        CleverError: a place holds neither run nor table; the page would be too large.
    """
    page = report_page(settings)
    places = [Path(place) for place in settings.places]
    first = places[0].parent if places[0].is_file() else places[0]
    path = settings.out or first / REPORT_FILE
    return ReportResult(path, page.write(path), page.remarks)


def report_page(settings: ReportSettings) -> Page:
    """The page of some runs and tables; raises as `report`."""
    _check(settings)
    tables = [file for place in settings.places if (file := table_file(Path(place)))]
    others = [place for place in settings.places if not table_file(Path(place))]
    measured = [place for place in others if (Path(place) / ROBUSTNESS_FILE).is_file()]
    folders = [place for place in others if place not in measured]
    listed = list_runs(ListRunsSettings(folders=tuple(folders))) if folders else None
    runs = finished_first(without_repeats(listed.runs)) if listed else []
    labels = run_labels([run.folder for run in runs])
    leave_out = set(settings.leave_out or ())
    page = Page(
        title=settings.title or _title(labels, [file.resolve().parent.name for file in tables]),
        lead=[LEAD] if runs else [],
        imprint=f"Made by clever {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        ablations=[ablation_part(file) for file in tables],
    )
    page.remarks += [f"{run.folder}: {run.reason}" for run in listed.bad] if listed else []
    _add_robustness(page, list(map(Path, folders + measured)), [run.folder for run in runs])
    if runs:
        page.results = result_table(runs, labels)
        page.headlines = _headlines(runs, labels, page.results.protocols)
    if "curves" not in leave_out:
        page.charts = charts(_logs(runs, labels))
    if "settings" not in leave_out:
        page.settings = settings_tables(runs, labels)
    if page.results and "scores" not in leave_out:
        scores = _scores(runs, labels, page.results.protocols, page.remarks)
        page.iou, page.confusions = iou_tables(scores), list(map(confusion_table, scores))
    if not {"pictures", "view"} <= leave_out:
        _add_drawn(page, draw_runs(settings, runs, labels), leave_out)
    return page


def _add_robustness(page: Page, places: Sequence[Path], runs: Sequence[Path]) -> None:
    """What `clever robustness` measured, in its own folder or in those of runs; what cannot be
    read is remarked."""
    own = [place / ROBUSTNESS_FILE for place in places if (place / ROBUSTNESS_FILE).is_file()]
    files = own + [
        file
        for folder in (*places, *runs)
        for file in folder.glob(f"robustness-*/{ROBUSTNESS_FILE}")
    ]
    for file in dict.fromkeys(path.resolve() for path in sorted(files)):
        try:
            page.robustness.append(robustness_part(file))
        except CleverError as error:
            page.remarks.append(str(error))


def _check(settings: ReportSettings) -> None:
    """Refuse parts that there are not."""
    for part in settings.leave_out or ():
        if part not in PARTS + PICTURE_KINDS:
            raise CleverError(
                f"`leave_out={part}`: there are {', '.join(PARTS)}, and the kinds of pictures "
                f"{', '.join(PICTURE_KINDS)}"
            )
    if settings.out and settings.out.is_dir():
        raise CleverError(f"`out={settings.out}` is a folder; name the page, such as report.html")


def _title(labels: Sequence[str], tables: Sequence[str]) -> str:
    names = [*labels, *tables]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _headlines(
    runs: Sequence[RunSummary], labels: Sequence[str], protocols: Sequence[str]
) -> list[Headline]:
    """mIoU of every run that has one, else RankMe."""
    for name, unit in ((MIOU, " %"), ("RankMe", "")):
        lines = [
            Headline(
                name.removesuffix(" %"),
                f"{run.figures[name]:.1f}{unit}",
                label,
                protocols.index(run.protocol) + 1,
                run.complete,
            )
            for run, label in zip(runs, labels, strict=True)
            if name in run.figures
        ]
        if lines:
            return lines[:8]
    return []


def _logs(runs: Sequence[RunSummary], labels: Sequence[str]) -> list[LoggedRun]:
    return [
        LoggedRun(number, label, run.kind, read_log(run.folder))
        for number, (run, label) in enumerate(zip(runs, labels, strict=True))
    ]


def _scores(
    runs: Sequence[RunSummary],
    labels: Sequence[str],
    protocols: Sequence[str],
    remarks: list[str],
) -> list[Scores]:
    """What finished runs were measured to be; one that cannot be read is remarked."""
    scores = []
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        if not run.complete or MIOU not in run.figures:
            continue
        try:
            result = _evaluation(run)
        except CleverError as error:
            remarks.append(str(error))
            continue
        note = protocols.index(run.protocol) + 1
        scores.append(Scores(number, label, note, result.miou, result.iou, result.confusion))
    return scores


def _evaluation(run: RunSummary) -> SegmentationResult:
    path = run.folder / RESULT_FILE
    if run.kind == "finetune":
        return read_result(path, FinetuneResult).evaluation
    return read_result(path, SegmentationResult)


def draw_runs(settings: ReportSettings, runs: Sequence[RunSummary], labels: Sequence[str]) -> Drawn:
    """What `clever look` draws of every run that has weights, and the sweeps that it drew."""
    drawn, undrawn = Drawn(), dict[str, list[str]]()
    for run, label in zip(runs, labels, strict=True):
        if run.kind not in ("pretrain", "finetune"):
            continue
        try:
            _draw_run(settings, run, label, _images_of(run, runs), drawn)
            if settings.corruptions and run.kind == "finetune" and not drawn.corruptions:
                drawn.corruptions = _corruptions(settings, run)
        except CleverError as error:
            undrawn.setdefault(str(error), []).append(label)
    drawn.remarks += [f"{', '.join(own)}: no pictures: {why}" for why, own in undrawn.items()]
    drawn.sweeps.sort(key=lambda sweep: not sweep.has_classes)
    return drawn


def _images_of(run: RunSummary, runs: Sequence[RunSummary]) -> dict[str, Any]:
    """Where the images of a pre-training run's frames lie, if a probe of it on the same dataset
    tells."""
    if run.kind != "pretrain" or not run.complete:
        return {}
    dataset = read_result(run.folder / RESULT_FILE, PretrainResult).dataset
    for other in runs:
        own = other.settings
        probe = other.kind == "finetune" and own.get("dataset") == dataset
        if probe and Path(str(own.get("checkpoint"))).resolve() == run.folder.resolve():
            return {name: own.get(name) for name in ("data_root", "version", "dataset_option")}
    return {}


def _draw_run(
    settings: ReportSettings, run: RunSummary, label: str, images: dict[str, Any], drawn: Drawn
) -> None:
    with tempfile.TemporaryDirectory(prefix="clever-report-") as folder:
        looked, frames = look_and_record(look_settings(settings, run, images, Path(folder)))
        for path in looked.pictures:
            picture = _captioned(path, label)
            (drawn.occupancy if OCCUPANCY in path.stem else drawn.pictures).append(picture)
    drawn.remarks += [f"{label}: frame {frame.id}: {frame.reason}" for frame in looked.bad]
    drawn.sweeps += [_sweep(settings, frame, label) for frame in frames]


def _corruptions(settings: ReportSettings, run: RunSummary) -> list[Picture]:
    """A frame of what a run was measured on, under every corruption.

    Raises:
        CleverError: no corruptions are published for such sweeps, or the frame cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="clever-report-") as folder:
        looked = look_settings(settings, run, {}, Path(folder))
        dataset = open_dataset(looked, str(looked.dataset))
        index = positions(dataset)[looked.frame_ids[0]] if looked.frame_ids else len(dataset) // 2
        sensor = sensor_of(dataset, None)
        drawn = corruption_gallery(dataset, index, sensor, Path(folder), seed=settings.seed)
        left_out = [f" {name} is left out: the frame has no labels." for name in drawn.left_out]
        words = "All corruptions at their heaviest; inserted points and lost ones are marked."
        caption = f"{words}{''.join(left_out)} {drawn.title}."
        return [
            file_picture(drawn.overview, "corruptions", caption),
            *(
                file_picture(path, name, f"{name.replace('_', ' ')}, by severity. {drawn.title}.")
                for name, path in drawn.pictures.items()
            ),
        ]


def _sweep(settings: ReportSettings, frame: RecordedFrame, label: str) -> Sweep:
    return Sweep.of(frame, label, settings.points, settings.dimensions, settings.seed)


def _captioned(path: Path, label: str) -> Picture:
    """A picture of `clever look`, whose title tells its protocol, with what it shows."""
    frame, mark, layer = path.stem.rpartition(f"-{REGIONS}-")
    if mark:
        return file_picture(path, REGIONS, f"{label}, frame {frame}, {layer}. {CAPTIONS[REGIONS]}")
    kind = next(kind for kind in CAPTIONS if path.stem.endswith(f"-{kind}"))
    frame = path.stem.removesuffix(f"-{kind}")
    return file_picture(path, kind, f"{label}, frame {frame}. {CAPTIONS[kind]}")


def look_settings(
    settings: ReportSettings, run: RunSummary, images: dict[str, Any], out: Path
) -> LookSettings:
    """How `clever look` draws a run: on what it was measured on, unless told otherwise.

    Args:
        images: settings of the dataset that a pre-training run's images lie in.
    """
    own: Mapping[str, Any] = run.settings
    values: dict[str, Any] = {
        "checkpoint": run.folder,
        "out": out,
        "frames": settings.frames,
        "seed": settings.seed,
        "device": settings.device,
        "data_root": settings.data_root,
        "frame_ids": settings.frame_ids,
        "split": settings.split,
    }
    left_out, fine_tuned = settings.leave_out or (), (run.folder / CLASSIFIER_FILE).is_file()
    offered = () if "pictures" in left_out else LABEL_KINDS if fine_tuned else FEATURE_KINDS
    values["kinds"] = tuple(kind for kind in offered if kind not in left_out)
    if fine_tuned:
        values |= {name: own.get(name) for name in ("dataset", "version", "cameras")}
        values["dataset_option"] = own.get("dataset_option")
        values["data_root"] = settings.data_root or own.get("data_root")
        if not (settings.split or settings.frame_ids):
            values |= {"split": own.get("val_split"), "sequences": own.get("val_sequences")}
    else:
        values |= {**images, "cache": settings.cache}
        values["data_root"] = settings.data_root or images.get("data_root")
    return LookSettings.resolve(None, values)


def _add_drawn(page: Page, drawn: Drawn, leave_out: set[str]) -> None:
    page.remarks += drawn.remarks
    if "view" not in leave_out:
        page.sweeps = drawn.sweeps
    if "pictures" in leave_out:
        return
    lead = "What clever look draws of the runs."
    parts = (
        Gallery("pictures", "Pictures", lead, drawn.pictures),
        Gallery("occupancy", "Occupancy queries", OCCUPANCY_LEAD, drawn.occupancy),
        Gallery("corruptions", "Corruption gallery", CORRUPTIONS_LEAD, drawn.corruptions),
    )
    page.galleries += [part for part in parts if part.pictures]
