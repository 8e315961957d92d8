"""A look at a dataset before anything is trained: pictures, counts, and whether the calibration
fits."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..cache.frame import Frame
from ..cache.images import load_image
from ..cache.projection import visible_pairs
from ..cache.store.files.lock import writer_lock
from ..cache.store.point_statistics import is_dark
from ..cache.time_steps import step_fault
from ..errors import CleverError, FrameError, OutputError
from ..files import atomic_write
from ..words import percent, quantity
from .alignment.score import FALSE_ALARM, INVERTED, TURNED, CalibrationScore, judge, rotation_name
from .alignment.view import ViewPair, views_of
from .datasets import IGNORE, LidarDataset, open_dataset
from .datasets.base import class_labels
from .datasets.readers.intensity import dark_words
from .datasets.readers.sweep_checks import sweep_fault
from .datasets.readers.time_sample import frame_step
from .pictures.earlier import replace_pictures
from .pictures.projection import projection_panels
from .process.progress import Track
from .results.run_folder import notice
from .settings.doctor import DoctorSettings
from .steps.labelled import BadFrame

FAR = 250.0
"""Metres beyond which hardly any LiDAR of a car sees."""
SATURATED = 0.2
"""Share of points of full intensity above which the scale is doubtful."""
LONG_GAP = 3.0
"""A gap between frames that is so many times the median is told."""
_HOW = (
    "Alignment: how much stronger the edges of the image are where the range of the sweep jumps "
    "than 4 degrees off, as a share, with an interval of 95 %; 0 is chance. A better rotation is "
    "looked for within 6 degrees about each axis, on three quarters of the edges, and measured on "
    f"the last quarter, in turn. If all calibrations were true, a warning would come in at most "
    f"{FALSE_ALARM:.0%} of such reports; frames of a standing car make it likelier."
)
SUMMARY, RECORD = "doctor.md", "doctor.json"


class FrameFacts(BaseModel):
    """What one frame holds.

    Attributes:
        picture: file of its picture, beside the summary; empty without cameras.
        points: how many.
        seen: share of them that at least one camera sees.
        pairs: point-pixel pairs by camera (depth above 1 m, 1 px inside the image).
        farthest: metres from the origin to the farthest point.
        far: points beyond `FAR` metres.
        brightest: highest intensity, as a share of full intensity.
        saturated: share of points of full intensity.
        gap: seconds to the next frame of the same scene; None for the last one, where the next
            cannot be read, or where the dataset has no times.
        labels: points by class; None without a label file.
        unlabelled: points of no class; None without a label file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    scene: str
    picture: str
    points: int
    seen: float
    pairs: dict[str, int]
    farthest: float
    far: int
    brightest: float
    saturated: float
    gap: float | None
    labels: dict[str, int] | None
    unlabelled: int | None


class DoctorReport(BaseModel):
    """What `clever doctor` found.

    Attributes:
        protocol: which frames of which dataset, in one line.
        summary: the Markdown page beside the pictures.
        frames: facts of the frames that could be read.
        bad: frames that could not be.
        without_cameras: labelled frames of scenes that no camera sees, and why; among `frames`.
        calibration: scores of all cameras together, where there are several, and of each.
        warnings: what seems wrong, a line each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    summary: Path
    frames: list[FrameFacts]
    bad: list[BadFrame]
    without_cameras: list[BadFrame] = Field(default_factory=list)
    calibration: list[CalibrationScore]
    warnings: list[str]

    def __str__(self) -> str:
        return "\n".join(
            [self.protocol, *_facts(self.frames), *map(_score_line, self.calibration)]
            + [f"warning: {line}" for line in self.warnings]
            + _without_cameras(self.without_cameras)
            + [f"bad frame {frame.id}: {frame.reason}" for frame in self.bad]
            + [f"pictures and summary: {self.summary}"]
        )


def doctor(settings: DoctorSettings) -> DoctorReport:
    """Look at a few frames of a dataset, draw them, and judge the calibration by them.

    Pictures of an earlier report in the same folder are removed.

    Raises:
        CleverError: no dataset, not one frame that can be read, or another report being made in
            the same folder.
    """
    dataset = open_dataset(settings, settings.dataset)
    with writer_lock(settings.out, "out"):
        return _report(settings, dataset)


def _report(settings: DoctorSettings, dataset: LidarDataset) -> DoctorReport:
    """The report, with all its files."""
    indices = drawn_frames(len(dataset), settings.frames, settings.seed)
    names = [_picture(number, dataset.frame_ids[index]) for number, index in enumerate(indices)]
    if removed := replace_pictures(settings.out, names):
        notice(f"removed {quantity(removed, 'picture')} of an earlier report in {settings.out}")
    facts: list[FrameFacts] = []
    bad: list[BadFrame] = []
    without_cameras: list[BadFrame] = []
    pairs: list[ViewPair] = []
    with Track("doctor", len(indices)) as track:
        for number, index in enumerate(indices):
            try:
                frame = dataset.frame(index)
                frame_facts, views = _examine(
                    dataset, frame, index, number, settings.out, _gap(dataset, index, frame)
                )
                facts.append(frame_facts)
                pairs += views
            except OutputError:
                raise
            except CleverError as error:
                reason = error.reason if isinstance(error, FrameError) else str(error)
                one = BadFrame(id=dataset.frame_ids[index], reason=reason)
                labelled = _scene_is_for_labels(dataset, index) and _labelled_facts(
                    dataset, index, number, settings.out
                )
                facts += labelled or []
                (without_cameras if labelled else bad).append(one)
            track.advance()
    if not facts:  # scenes of one frame, of which none tells whether another has cameras
        for number, index in enumerate(indices):
            facts += _labelled_facts(dataset, index, number, settings.out)
    if not facts:
        raise CleverError(
            f"none of {quantity(len(indices), 'frame')} can be read; the first, {bad[0].id}: "
            f"{bad[0].reason}"
        )
    calibration = judge(pairs)
    where = ",".join(settings.sequences) if settings.sequences else settings.split
    report = DoctorReport(
        protocol=f"{dataset.name} {where}: {len(facts)} of {quantity(len(dataset), 'frame')}, "
        "spread evenly, "
        f"seed {settings.seed}",
        summary=settings.out / SUMMARY,
        frames=facts,
        bad=bad,
        without_cameras=without_cameras,
        calibration=calibration,
        warnings=_warnings(dataset, facts, calibration),
    )
    atomic_write(settings.out / SUMMARY, markdown(report))
    atomic_write(settings.out / RECORD, report.model_dump_json(indent=2) + "\n")
    return report


def _scene_is_for_labels(dataset: LidarDataset, index: int) -> bool:
    """Whether other frames of a frame's scene have no camera that sees them either."""
    scene = [n for n, name in enumerate(dataset.scenes) if name == dataset.scenes[index]]
    others = {scene[0], scene[len(scene) // 2], scene[-1]} - {index}
    for other in others:
        try:
            dataset.frame(other)
        except CleverError:
            continue
        return False
    return bool(others)


def drawn_frames(total: int, count: int, seed: int) -> list[int]:
    """`count` of `total` frames in order: one, drawn by the seed, of each of as many equal runs;
    all frames where there are fewer."""
    edges = np.linspace(0, total, min(count, total) + 1).astype(int)
    generator = np.random.default_rng(seed)
    return [int(generator.integers(low, high)) for low, high in pairwise(edges)]


def _labelled_facts(dataset: LidarDataset, index: int, number: int, out: Path) -> list[FrameFacts]:
    """Facts of the points and labels of a frame whose images are at fault; none where it has no
    labels, or these cannot be read either."""
    try:
        if not dataset.has_labels(index):
            return []
        frame = Frame(
            id=dataset.frame_ids[index],
            scene=dataset.scenes[index],
            timestamp=0,
            points=dataset.points(index),
            global_from_lidar=np.eye(4),
            cameras=(),
        )
        facts, _ = _examine(dataset, frame, index, number, out, None)
    except CleverError:  # the frame is named as bad already
        return []
    return [facts]


def _examine(
    dataset: LidarDataset, frame: Frame, index: int, number: int, out: Path, gap: float | None
) -> tuple[FrameFacts, list[ViewPair]]:
    """Facts, picture and views of one frame; raises CleverError for what is wrong with it."""
    if not np.isfinite(frame.points).all():
        raise FrameError(frame.id, "its points hold NaN or infinite values; restore the sweep")
    if fault := sweep_fault(frame.points[:, :3]):
        raise FrameError(frame.id, f"its sweep {fault}; restore it or leave the frame out")
    images = [load_image(camera.image, camera.width, camera.height) for camera in frame.cameras]
    pairs = visible_pairs(frame)
    picture = ""
    if images:
        picture = _picture(number, frame.id)
        projection_panels(frame, images, pairs, out / picture)
    distance = np.linalg.norm(frame.points[:, :3].astype(np.float64), axis=1)
    intensity = frame.points[:, 3]
    counts = np.diff(pairs.offsets).tolist()
    labels, unlabelled = _histogram(dataset, index)
    facts = FrameFacts(
        id=frame.id,
        scene=frame.scene,
        picture=picture,
        points=len(frame.points),
        seen=len(np.unique(pairs.point)) / len(frame.points),
        pairs={camera.name: count for camera, count in zip(frame.cameras, counts, strict=True)},
        farthest=float(distance.max()),
        far=int((distance > FAR).sum()),
        brightest=float(intensity.max()),
        saturated=float((intensity >= 1).mean()),
        gap=gap,
        labels=labels,
        unlabelled=unlabelled,
    )
    return facts, views_of(frame, images, number)


def _picture(number: int, frame: str) -> str:
    """Name of a frame's picture."""
    return f"frame-{number:02}-{re.sub('[^A-Za-z0-9.-]', '_', frame)}.png"


def _histogram(dataset: LidarDataset, index: int) -> tuple[dict[str, int] | None, int | None]:
    """Points by class, and those of none."""
    if not dataset.has_labels(index):
        return None, None
    counts = np.bincount(class_labels(dataset, index), minlength=IGNORE + 1).tolist()
    return dict(zip(dataset.class_names, counts, strict=False)), counts[IGNORE]


def _gap(dataset: LidarDataset, index: int, frame: Frame) -> float | None:
    """Seconds to the next frame of the scene; None where they have no times."""
    if index + 1 == len(dataset) or dataset.scenes[index + 1] != frame.scene:
        return None
    try:
        return frame_step(dataset, frame, dataset.frame(index + 1))
    except FrameError:  # it is told where it is drawn itself
        return None


def _warnings(
    dataset: LidarDataset, facts: Sequence[FrameFacts], calibration: Sequence[CalibrationScore]
) -> list[str]:
    lines = [_calibration_warning(score) for score in calibration if score.warning]
    unseen = [frame.id for frame in facts if frame.pairs and not frame.seen]
    if unseen:
        lines.append(
            f"no camera sees a point in {quantity(len(unseen), 'frame')}, the first {unseen[0]}"
        )
    dark = [frame.brightest for frame in facts if is_dark(frame.brightest)]
    scale = getattr(dataset, "intensity_scale", None)
    if dark:
        where = f"in {len(dark)} of {quantity(len(facts), 'sweep')}"
        lines.append(dark_words(where, max(dark), scale, "dataset_option"))
    bright = [frame.saturated for frame in facts if frame.saturated > SATURATED]
    if bright:
        lines.append(
            f"in {len(bright)} of {quantity(len(facts), 'sweep')} up to {max(bright):.0%} of "
            "the points have "
            "full intensity; the scale may be too small"
        )
    if not any(frame.brightest for frame in facts):
        lines.append("all intensities are 0")
    far = sum(frame.far for frame in facts)
    if far:
        lines.append(
            f"{quantity(far, 'point')} lie beyond {FAR:g} m, the farthest at "
            f"{max(frame.farthest for frame in facts):.0f} m: are these metres around the sensor?"
        )
    gaps = [frame.gap for frame in facts if frame.gap is not None]
    if fault := step_fault(gaps):
        lines.append(fault)
    if any(gap <= 0 for gap in gaps):
        lines.append("time does not go forward between some frames of a scene")
    elif gaps and max(gaps) > LONG_GAP * float(np.median(gaps)):
        lines.append(
            f"a frame follows after {max(gaps):g} s, where half of them follow within "
            f"{float(np.median(gaps)):g} s"
        )
    return lines


def _calibration_warning(score: CalibrationScore) -> str:
    own = "too few edges to tell" if score.alignment is None else str(score.alignment)
    line = f"calibration of {score.where}: {score.warning}; alignment {own}"
    if score.rotation is not None and score.warning == TURNED:
        line += f", {score.gain} more after turning by {rotation_name(score)}"
    if score.warning == INVERTED:
        line += f", inverted {score.inverse}: is it `lidar_from_camera`?"
    return line


def _score_line(score: CalibrationScore) -> str:
    summary = (
        f"calibration of {score.where}: {score.edges} depth edges in "
        f"{quantity(score.images, 'image')}"
    )
    if score.alignment is None:
        return f"{summary}, too few to tell"
    turned = "no rotation fits clearly better"
    if not score.alignment.above(0, 0.025):
        turned = "not told from chance (0)"
    if score.gain is not None and score.gain.above(0, 0.025):
        turned = f"{score.gain} more after turning by {rotation_name(score)}"
    return f"{summary}, alignment {score.alignment}; {turned}"


def _facts(frames: Sequence[FrameFacts]) -> list[str]:
    """Lines about all frames together."""
    pairs: Counter[str] = Counter()
    with_camera: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for frame in frames:
        pairs.update(frame.pairs)
        with_camera.update(frame.pairs.keys())
        labels.update(frame.labels or {})
    points = [frame.points for frame in frames]
    visible_share = float(np.mean([frame.seen for frame in frames if frame.pairs] or [0.0]))
    cameras = ", ".join(
        f"{name} {count / with_camera[name]:.0f}"
        + (
            f" ({with_camera[name]} of {quantity(len(frames), 'frame')} have it)"
            if with_camera[name] < len(frames)
            else ""
        )
        for name, count in pairs.items()
    )
    lines = [
        f"points {min(points)} to {max(points)}, {percent(visible_share)} seen by a camera; "
        f"farthest {max(frame.farthest for frame in frames):.0f} m",
        f"pairs a frame: {cameras or 'none, there are no cameras'}",
        f"intensity: brightest {min(frame.brightest for frame in frames):.3g} to "
        f"{max(frame.brightest for frame in frames):.3g} of full intensity, "
        f"{percent(float(np.mean([frame.saturated for frame in frames])))} of points at full",
    ]
    gaps = [frame.gap for frame in frames if frame.gap is not None]
    if gaps:
        median = float(np.median(gaps))
        lines.append(
            f"seconds to the next frame: {min(gaps):.3g} to {max(gaps):.3g}, median {median:.3g}"
        )
    labelled = [frame for frame in frames if frame.labels is not None]
    total = sum(labels.values()) + sum(frame.unlabelled or 0 for frame in labelled)
    if labelled:
        shares = ", ".join(
            f"{name} {percent(count / total)}" for name, count in labels.most_common()
        )
        ignored = 1 - sum(labels.values()) / total
        lines.append(
            f"labels of {quantity(len(labelled), 'frame')}: {shares}; no class {percent(ignored)}"
        )
    else:
        lines.append("no labels for these frames")
    return lines


def _without_cameras(frames: Sequence[BadFrame]) -> list[str]:
    if not frames:
        return []
    first, *others = frames
    more = f" and {quantity(len(others), 'other')}" if others else ""
    return [f"labels alone, no camera: frame {first.id}{more} ({first.reason})"]


def markdown(report: DoctorReport) -> str:
    """The report as a page, with its pictures."""
    lines = ["# clever doctor", "", report.protocol, ""]
    lines += [f"- {line}" for line in _facts(report.frames)]
    lines += ["", "## Warnings", ""]
    lines += [f"- {line}" for line in report.warnings] or ["none"]
    lines += ["", "## Calibration", "", _HOW, ""]
    lines += [f"- {_score_line(score)}" for score in report.calibration]
    if report.without_cameras:
        lines += ["", "## Without cameras", "", *_without_cameras(report.without_cameras)]
    if report.bad:
        lines += ["", "## Bad frames", ""]
        lines += [f"- {frame.id}: {frame.reason}" for frame in report.bad]
    lines += ["", "## Pictures", ""]
    for frame in report.frames:
        if frame.picture:
            lines += [f"### {frame.id} ({frame.scene})", "", f"![{frame.id}]({frame.picture})", ""]
    return "\n".join(lines) + "\n"
