"""Pictures of what a run has learned, as in the paper's figures, for any frames."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cache import FeatureCache
from ..cache.frame import Frame
from ..cache.images import load_image
from ..cache.projection import visible_pairs
from ..cache.standardise import standardise
from ..cache.store.contents import Contents
from ..cache.store.files.remote import any_path
from ..cache.store.region_reader import CachedRegions
from ..errors import CleverError, FrameError, OutputError
from ..student.checkpoint import read_intensities
from ..student.draws import Draws, key
from ..student.losses.occupancy import OccupancyHead
from ..student.points import PointBatch
from ..student.sampling.queries import make_queries
from ..student.segmenter import CLASSIFIER_FILE, Training, load_segmenter
from ..student.student import Student
from .datasets import IGNORE, LidarDataset, open_dataset, positions
from .datasets.denser_frames import denser_cloud
from .doctor import drawn_frames
from .pictures.features import FrameFeatures, cloud_panels, feature_panels
from .pictures.labels import LabelledCloud, camera_label_panels, label_panels
from .pictures.occupancy import OccupancyAnswers, occupancy_panels
from .pictures.recording import RecordedFrame, check_rerun, write_recording
from .pictures.regions import region_panels
from .pictures.similarity import similarity_panels
from .pretraining.contrast_run import term_weights
from .pretraining.networks import build_step
from .pretraining.weights import start_from
from .process.device import choose_device
from .process.progress import Track
from .results.run_defaults import run_dataset
from .results.run_folder import notice
from .settings.look import PICTURE_KINDS, LookSettings
from .settings.pretrain import PretrainSettings
from .settings.shared.base import SETTINGS_FILE
from .steps.cached_part import cached_part
from .steps.distillation import DistillationStep
from .steps.labelled import BadFrame

CAMERAS = 3
"""Cameras of a frame whose features are drawn where none are chosen: those that see most points."""
NEAR = 25.0
"""Metres within which a point to compare with is drawn."""
Drawing = Callable[[Path], None]
"""Draws a picture into a file."""


@dataclass(frozen=True, slots=True)
class LookResult:
    """What was drawn: pictures, what they show and of which frames, frames that could not be
    drawn, and what pictures leave out."""

    protocol: str
    pictures: list[Path]
    bad: list[BadFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(
            [self.protocol, *self.notes, *map(str, self.pictures)]
            + [f"skipped frame {frame.id}: {frame.reason}" for frame in self.bad]
        )


def look(settings: LookSettings) -> LookResult:
    """Draw frames of a run: of a fine-tuned one predictions, ground truth and errors; of a
    pre-trained one features beside the teacher's, similarities and occupancy.

    Raises:
        CleverError: no such run, no cache or dataset, unknown frames, or none that can be drawn.
    """
    result, _ = look_and_record(settings)
    _name_undrawn(settings, result)
    return result


def look_and_record(settings: LookSettings) -> tuple[LookResult, list[RecordedFrame]]:
    """`look`, where kinds that the run has not are no fault, and what it drew: points, features and
    classes of every frame."""
    _check(settings)
    out = settings.out or settings.checkpoint / "look"
    recorded: list[RecordedFrame] = []
    if (settings.checkpoint / CLASSIFIER_FILE).is_file():
        if settings.point or settings.pixel:
            raise CleverError(
                f"{settings.checkpoint} is a fine-tuning run, which is drawn by its labels; "
                "`point` and `pixel` compare features: give a pre-training run, or leave them out"
            )
        result = _look_at_labels(settings, out, recorded)
    else:
        result = _look_at_features(settings, out, recorded)
    if not recorded:
        first = result.bad[0]
        raise CleverError(f"no frame can be drawn; the first, {first.id}: {first.reason}")
    if settings.rerun:
        write_recording(settings.rerun, recorded)
        result.pictures.append(settings.rerun)
    return result, recorded


def _name_undrawn(settings: LookSettings, result: LookResult) -> None:
    """Note the chosen kinds of which the run has no picture; raise CleverError where nothing was
    drawn."""
    names = [path.stem for path in result.pictures]
    drawn = {kind for kind in PICTURE_KINDS if any(name.endswith(f"-{kind}") for name in names)}
    if any("-regions-" in name for name in names):
        drawn.add("regions")
    if undrawn := [kind for kind in settings.kinds or () if kind not in drawn]:
        line = f"{settings.checkpoint} has no pictures of {', '.join(undrawn)}"
        if not result.pictures:
            raise CleverError(f"{line}; choose other `kinds`")
        result.notes.append(line)


def _check(settings: LookSettings) -> None:
    """Refuse settings that contradict each other, and kinds that there are not."""
    for kind in settings.kinds or ():
        if kind not in PICTURE_KINDS:
            raise CleverError(f"`kinds={kind}`: there are {', '.join(PICTURE_KINDS)}")
    if settings.point and settings.pixel:
        raise CleverError("`point` and `pixel` both choose the point; leave one out")
    if settings.rerun:
        if settings.rerun.suffix.lower() != ".rrd":
            raise CleverError(f"`rerun={settings.rerun}` should end in .rrd")
        check_rerun()


def _look_at_labels(settings: LookSettings, out: Path, recorded: list[RecordedFrame]) -> LookResult:
    """Predictions, ground truth and errors of a fine-tuned student."""
    segmenter, training = load_segmenter(settings.checkpoint)
    segmenter = segmenter.to(choose_device(settings.device)).eval()
    name, version = run_dataset(settings.dataset, settings.version, training)
    dataset = open_dataset(settings.decided(version=version), name)
    indices = _chosen(settings, dataset, name)
    pictures: list[Path] = []
    bad: list[BadFrame] = []
    part = _sequences(settings) or settings.split
    protocol = f"{dataset.name} {part}, seed {settings.seed}: {training.line()}"
    with Track("look", len(indices)) as track, torch.inference_mode():
        for index in indices:
            try:
                points = dataset.points(index)
                cloud = denser_cloud(points, dataset, index, training.input_sweeps)
                batch = PointBatch.from_clouds([torch.from_numpy(cloud)])
                device = next(segmenter.parameters()).device
                features = segmenter.student(batch.to(device))[: len(points)]
                prediction = segmenter.classifier(features).argmax(1).cpu().numpy()
                labelled = LabelledCloud(
                    points[:, :3], prediction, _truth(dataset, index, training), IGNORE,
                    training.class_names,
                )  # fmt: skip
                pictures += _draw_labels(
                    settings, dataset, index, labelled, features.float().cpu(), protocol, out,
                    recorded,
                )  # fmt: skip
            except OutputError:
                raise
            except CleverError as error:
                bad.append(_bad(dataset.frame_ids[index], error))
            track.advance()
    return LookResult(protocol, pictures, bad)


def _sequences(settings: LookSettings) -> str:
    """The sequences that win over the split, in words; empty where none are given."""
    return f"sequences {', '.join(settings.sequences)}" if settings.sequences else ""


def _chosen(settings: LookSettings, dataset: LidarDataset, kind: str) -> list[int]:
    """Positions of the frames to draw: by id, or spread over those with labels if there are any."""
    if settings.frame_ids:
        places = positions(dataset)
        ids = dict.fromkeys(settings.frame_ids)
        return [places[_known(frame, places, settings, kind)] for frame in ids]
    if not len(dataset):
        raise CleverError(f"{dataset.name} in {settings.data_root} has no frame; choose others")
    labelled = [index for index in range(len(dataset)) if dataset.has_labels(index)]
    candidates = labelled or list(range(len(dataset)))
    return [candidates[n] for n in drawn_frames(len(candidates), settings.frames, settings.seed)]


def _known(frame: str, ids: Collection[str], settings: LookSettings, name: str) -> str:
    """The id `frame` of the dataset called `name`; raises CleverError where it is not in `ids`."""
    if frame in ids:
        return frame
    try:
        everywhere = open_dataset(settings.decided(split="all", sequences=None), name).frame_ids
    except CleverError:  # it has no `all`
        everywhere = ids
    if frame in everywhere:
        part = "these sequences" if settings.sequences else "this split"
        advice = "leave `sequences` out and choose" if settings.sequences else "choose"
        raise CleverError(f"{name} has no frame {frame!r} in {part}; {advice} `split=all`")
    raise CleverError(_unknown(name, frame, everywhere))


def _unknown(where: object, frame: str, ids: Collection[str]) -> str:
    """What is said of an id that is nowhere."""
    example = f", such as {next(iter(ids))}" if ids else ""
    return f"{where} has no frame {frame!r}; give its own ids in `frame_ids`{example}"


def _truth(dataset: LidarDataset, index: int, training: Training) -> NDArray[np.uint8] | None:
    """Labels of a frame; None without any, or where they are of other classes than were trained."""
    if not dataset.has_labels(index) or tuple(dataset.class_names) != training.class_names:
        return None
    return dataset.labels(index)


def _draw_labels(
    settings: LookSettings,
    dataset: LidarDataset,
    index: int,
    cloud: LabelledCloud,
    features: Tensor,
    protocol: str,
    out: Path,
    recorded: list[RecordedFrame],
) -> list[Path]:
    """From above, and in the cameras where the images can be read."""
    frame_id = dataset.frame_ids[index]
    title, name = f"{frame_id}\n{protocol}", _file_name(frame_id)
    drawings: dict[str, Drawing] = {"labels": partial(label_panels, cloud, title)}
    views: dict[str, NDArray[np.uint8]] = {}
    try:
        frame = dataset.frame(index)
        images = [load_image(camera.image, camera.width, camera.height) for camera in frame.cameras]
    except CleverError as error:
        notice(f"{frame_id}: drawn from above alone: {_bad(frame_id, error).reason}")
    else:
        views = _by_name(frame, images)
        if images:
            pairs = visible_pairs(frame)
            drawings["labels-cameras"] = partial(
                camera_label_panels, cloud, frame, images, pairs, title
            )
    pictures = _draw(settings, drawings, out, name)
    recorded.append(RecordedFrame(frame_id, cloud.xyz, cloud.panels(), views, features, cloud))
    return pictures


def _by_name(frame: Frame, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    return {camera.name: image for camera, image in zip(frame.cameras, images, strict=True)}


def _look_at_features(
    settings: LookSettings, out: Path, recorded: list[RecordedFrame]
) -> LookResult:
    """Features, similarities and occupancy of a pre-trained student."""
    if not (settings.checkpoint / SETTINGS_FILE).is_file():
        lack = f"holds no {SETTINGS_FILE}" if settings.checkpoint.is_dir() else "is no folder"
        raise CleverError(
            f"{settings.checkpoint} {lack}; give the folder of a pre-training or fine-tuning run"
        )
    run = PretrainSettings.recorded(settings.checkpoint / SETTINGS_FILE)
    teacher = settings.teacher or (run.teacher or (None,))[0]
    cache = FeatureCache(settings.cache or run.caches[0], teacher)
    if run.targets == "standardised":
        standardise([cache])
    step = build_step(run, [cache], terms=False)
    words = start_from(settings.checkpoint, step)
    step.student.intensities = read_intensities(settings.checkpoint)
    step.student.choose_intensity(cache.name)
    if f"head of {cache.teacher.id}" in words.partition("; new: ")[2]:
        raise CleverError(
            f"{settings.checkpoint} has no head for {cache.teacher.id}; choose its `teacher`"
        )
    if not step.teachers:
        notice(
            f"no head predicts the teacher's features (terms {', '.join(term_weights(run))}): "
            "the student's own features are drawn, in colours of their own, without a cosine"
        )
    _check_cameras(settings, cache.cameras)
    settings = _with_frames(settings, cache)
    ids = _chosen_ids(settings, cache)
    dataset = _images_of(settings, cache)
    layers = Contents(any_path(cache.path)).regions()
    regions = [CachedRegions(cache.path, info.id) for info in layers]
    pictures: list[Path] = []
    bad: list[BadFrame] = []
    part = _sequences(settings) or f"split {settings.split}"
    part = "frames by id" if settings.frame_ids else part
    protocol = (
        f"{step.student.name} from {settings.checkpoint}, "
        f"teacher {cache.teacher.id}; {cache.name}, {part}, seed {settings.seed}"
    )
    with Track("look", len(ids)) as track:
        for frame_id in ids:
            try:
                images = _images(settings, dataset, frame_id, cache.cameras)
                pictures += _draw_features(
                    settings, cache, regions, step, frame_id, images, protocol, out, recorded
                )
            except OutputError:
                raise
            except CleverError as error:
                bad.append(_bad(frame_id, error))
            track.advance()
    shows_cameras = settings.kinds is None or {"features", "regions"} & set(settings.kinds)
    notes = _camera_note(settings, cache.cameras) if shows_cameras else []
    return LookResult(protocol, pictures, bad, notes)


def _camera_note(settings: LookSettings, cameras: Sequence[str]) -> list[str]:
    """A line on cameras that pictures of features leave out; none where all are drawn."""
    if settings.cameras:
        drawn, which = len(settings.cameras), "those chosen"
    else:
        drawn, which = CAMERAS, "those that see most points of the frame"
    if drawn >= len(cameras):
        return []
    return [f"features: {drawn} of {len(cameras)} cameras, {which}; `cameras` chooses others"]


def _check_cameras(settings: LookSettings, cameras: Sequence[str]) -> None:
    """Raise CleverError where a camera is chosen that the cache does not have."""
    for name in settings.cameras or ():
        if name not in cameras:
            raise CleverError(f"no camera {name!r}; choose `cameras` of {', '.join(cameras)}")


def _with_frames(settings: LookSettings, cache: FeatureCache) -> LookSettings:
    """The settings as they are, or with all frames where nobody chose and the cache has no
    held-out ones."""
    chooses = {"split", "sequences", "frame_ids"} & settings.model_fields_set
    if chooses or settings.split in cache.splits:
        return settings
    notice(
        f"{cache.path} has no frame of split {settings.split!r}; frames are taken from all of it, "
        "which the student may have been pre-trained on"
    )
    return settings.decided(split="all")


def _chosen_ids(settings: LookSettings, cache: FeatureCache) -> list[str]:
    """Ids of the frames to draw."""
    if settings.frame_ids:
        own = set(cache.ids)
        if strange := [frame for frame in settings.frame_ids if frame not in own]:
            raise CleverError(_unknown(cache.path, strange[0], cache.ids))
        return list(dict.fromkeys(settings.frame_ids))
    ids = cached_part(cache, settings.split, sequences=settings.sequences or ()).ids
    return [ids[index] for index in drawn_frames(len(ids), settings.frames, settings.seed)]


def _images_of(settings: LookSettings, cache: FeatureCache) -> LidarDataset | None:
    """The dataset with the images of the cache's cameras; None where no folder is given, and they
    are left out."""
    if settings.data_root is None:
        notice("no `data_root`: drawn without camera images")
        return None
    kind = settings.dataset or cache.name
    dataset = open_dataset(settings.decided(cameras=None), kind)
    if set(cache.cameras) <= set(dataset.cameras):
        return dataset
    return open_dataset(settings.decided(cameras=tuple(cache.cameras)), kind)


def _images(
    settings: LookSettings, dataset: LidarDataset | None, frame_id: str, cameras: Sequence[str]
) -> list[NDArray[np.uint8]] | None:
    """Images of a frame, in the order of `cameras`."""
    if dataset is None:
        return None
    places = positions(dataset)
    kind = settings.dataset or dataset.name
    frame = dataset.frame(places[_known(frame_id, places, settings, kind)])
    views = {camera.name: camera for camera in frame.cameras}
    if absent := [name for name in cameras if name not in views]:
        raise FrameError(frame_id, f"{kind} has no image of {', '.join(absent)}")
    return [load_image(views[n].image, views[n].width, views[n].height) for n in cameras]


def _draw_features(
    settings: LookSettings,
    cache: FeatureCache,
    regions: Sequence[CachedRegions],
    step: DistillationStep,
    frame_id: str,
    images: list[NDArray[np.uint8]] | None,
    protocol: str,
    out: Path,
    recorded: list[RecordedFrame],
) -> list[Path]:
    """The pictures of one frame.

    Args:
        regions: layers of the cache, each of which has a picture.
    """
    cached = cache[cache.position(frame_id)]
    if not len(cached.pair_point):
        raise FrameError(frame_id, "no camera sees a point of it")
    head = step.last_head() if step.teachers else None
    frame = FrameFeatures.of(
        cached, cache.cameras, images, {"student": (step.student, head)}, step.align_corners
    )
    title, name = f"{frame_id}\n{protocol}", _file_name(frame_id)
    point = _chosen_point(settings, frame)
    cameras = _drawn_cameras(settings, frame)
    note = "".join(_camera_note(settings, frame.names)).partition(";")[0]
    camera_title = f"{title}\n{note}"
    drawings: dict[str, Drawing] = {
        "features": partial(feature_panels, frame, cameras, camera_title),
        "above": partial(cloud_panels, frame, title),
        "similarity": partial(similarity_panels, frame, frame.backbones["student"], point, title),
    }
    if step.occupancy is not None:
        drawings["occupancy"] = partial(
            _draw_occupancy, step.student, step.occupancy, frame, settings.seed, point, title
        )
    for layer in regions:
        if frame_id in layer:
            drawings[layer.info.id.replace("/", "-")] = partial(
                region_panels, frame, layer.maps(frame_id), layer.info, cameras, camera_title
            )
    pictures = _draw(settings, drawings, out, name)
    recorded.append(RecordedFrame.of_features(frame, point))
    return pictures


def _draw(
    settings: LookSettings, drawings: Mapping[str, Drawing], out: Path, name: str
) -> list[Path]:
    """The pictures of the chosen kinds, in files called after their frame and what they show."""
    pictures = []
    for label, draw in drawings.items():
        path = out / f"{name}-{label}.png"
        kind = label if label in PICTURE_KINDS else "regions"
        if settings.kinds is None or kind in settings.kinds:
            draw(path)
            pictures.append(path)
    return pictures


def _drawn_cameras(settings: LookSettings, frame: FrameFeatures) -> list[int]:
    """Numbers of the cameras whose features are drawn."""
    if settings.cameras:
        return [list(frame.names).index(name) for name in settings.cameras]
    return frame.best_cameras(CAMERAS)


def _chosen_point(settings: LookSettings, frame: FrameFeatures) -> int:
    """Index of the point that is compared with all others.

    Raises:
        CleverError: a camera that the frame does not have, or one that sees no point.
    """
    xyz = frame.cached.points[:, :3]
    if settings.pixel:
        camera, u, v = settings.pixel
        if camera not in frame.names:
            raise CleverError(f"no camera {camera!r}; choose {', '.join(frame.names)}")
        mine, pixels = frame.pixels(list(frame.names).index(camera))
        if not len(pixels):
            raise CleverError(f"camera {camera} sees no point of frame {frame.cached.id}")
        nearest = int(np.linalg.norm(pixels - (u, v), axis=1).argmin())
        return int(frame.cached.pair_point[mine][nearest])
    if settings.point:
        return int((xyz - torch.tensor(settings.point)).norm(dim=1).argmin())
    visible = frame.cached.pair_point.unique()
    near = visible[xyz[visible].norm(dim=1) < NEAR]
    candidates = near if len(near) else visible
    drawn = np.random.default_rng(key(settings.seed, frame.cached.id)).integers(len(candidates))
    return int(candidates[int(drawn)])


@torch.inference_mode()
def _draw_occupancy(
    student: Student,
    head: OccupancyHead,
    frame: FrameFeatures,
    seed: int,
    centre: int,
    title: str,
    path: Path,
) -> None:
    """Queries of the frame and what the student says of them, around the point `centre`."""
    points = PointBatch.from_clouds([frame.cached.points])
    queries = make_queries(points, head.task, Draws(points, [key(seed, frame.cached.id)]))
    voxels = student.voxels(points)
    features = student.encode(points, voxels)
    logit, _, weight = head.answers(
        features, voxels.inverse, voxels.representative, queries, points
    )
    answered = weight.sum(1) > 0
    # Of several answers to a query the mean probability.
    probability = (logit.sigmoid() * weight).sum(1)[answered] / weight.sum(1)[answered]
    place = (points.xyz[queries.source] + queries.offset)[answered]
    answers = OccupancyAnswers(
        place.numpy(),
        queries.kind[answered].numpy(),
        queries.occupied[answered].numpy(),
        probability.numpy(),
    )
    occupancy_panels(answers, points.xyz.numpy(), points.xyz[centre].numpy(), title, path)


def _bad(frame: str, error: CleverError) -> BadFrame:
    return BadFrame(id=frame, reason=error.reason if isinstance(error, FrameError) else str(error))


def _file_name(frame: str) -> str:
    """A frame's id as the name of a file: no other's, so that a checksum follows where the name
    does not tell the id."""
    name = re.sub(r"[^A-Za-z0-9.-]", "_", frame)
    if re.fullmatch(r"[A-Za-z0-9.-]+(/[A-Za-z0-9.-]+)*", frame):
        return name
    return f"{name}-{crc32(frame.encode()):08x}"
