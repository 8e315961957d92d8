"""What a user asks of stage one, and what the store holds of it."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from ...cache.store.layers import POINTS_ID
from ...cache.store.records.models import PointSettings, TeacherInfo, TeacherRequest
from ...cache.store.records.seals import seal_path
from ...cache.store.store import Store, refuse_other
from ...cache.teacher import Teacher, keeps_one_grid
from ...cache.teacher_settings import Precision, TeacherSettings
from ...errors import CleverError
from ..datasets import LidarDataset
from ..process.device import choose_device, cores
from ..settings.cache_teacher import CacheTeacherSettings
from .fill import LayerTask, StageOne
from .frames import FrameReader
from .selection import choice_key

MIN_DEPTH, MARGIN = 1.0, 1.0
"""Metres and pixels: the visibility rule of the ScaLR family."""


def teacher_settings(settings: CacheTeacherSettings) -> list[TeacherSettings]:
    """The part of the settings that decides the teacher's features, one for each layer; weights in
    a file by their absolute path."""
    values = {
        name: getattr(settings, name)
        for name in TeacherSettings.model_fields
        if hasattr(settings, name) and name not in ("layer", "precision")
    }
    weights = Path(settings.weights)
    place = str(weights.absolute()) if weights.is_file() else settings.weights
    values |= {"weights": place, "precision": settings.precision or precision_of(settings)}
    teacher = TeacherSettings(**values)
    layers = settings.layer or (teacher.layer,)
    return [teacher.model_copy(update={"layer": layer}) for layer in layers]


def precision_of(settings: CacheTeacherSettings) -> Precision:
    """The arithmetic where the user leaves it open: bf16 for a ViT on a GPU, unless the store has
    that layer in the other one already; opens the store."""
    gpu = choose_device(settings.device).type == "cuda"
    default: Precision = "bf16" if gpu and keeps_one_grid(settings.model) else "fp32"
    store = existing_store(settings.store)
    choices: tuple[Precision, ...] = (default, "bf16" if default == "fp32" else "fp32")
    for choice in choices if store and store.teachers() else ():
        requests = teacher_requests(settings.decided(precision=choice))
        if store and any(find_layer(store, request) for request in requests):
            return choice
    return default


def teacher_requests(settings: CacheTeacherSettings) -> list[TeacherRequest]:
    """What is asked of each layer: enough to know it again, and to build its teacher again."""
    teachers = teacher_settings(settings)
    sha256 = None
    if (path := Path(teachers[0].weights)).is_file():
        stat = path.stat()
        sha256 = _file_sha256(path, stat.st_size, stat.st_mtime_ns)
    return [
        TeacherRequest(
            **teacher.model_dump(),
            weights_file_sha256=sha256,
            codec=settings.codec,
            tokens=settings.tokens,
        )
        for teacher in teachers
    ]


@lru_cache(maxsize=4)
def _file_sha256(path: Path, _size: int, _time: int) -> str:
    """Of a file, read once as long as its size and time stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_layers(
    store: Store, settings: CacheTeacherSettings, teachers: Sequence[Teacher]
) -> list[LayerTask]:
    """Find or add the layers of a teacher in `store`, in the order of the settings' layers."""
    return [
        LayerTask(
            store.add_teacher(
                teacher.alias,
                teacher.weights_description,
                teacher.grid,
                teacher.channels,
                settings.codec,
                settings.tokens,
                teacher.fingerprint,
                request,
            ),
            teacher,
        )
        for teacher, request in zip(teachers, teacher_requests(settings), strict=True)
    ]


def build_stage(
    settings: CacheTeacherSettings,
    store: Store,
    tasks: Sequence[LayerTask],
    dataset: LidarDataset,
) -> StageOne:
    """Stage one in this process."""
    batch = default_batch(settings, tasks[0].teacher.device.type)
    decoders = settings.decoders or min(cores(), 16)
    return StageOne(store, tasks, FrameReader(store, dataset), batch, decoders, settings.strict)


def default_batch(settings: CacheTeacherSettings, device: str) -> int:
    """Images in one teacher call on a ``cuda`` or ``cpu`` device."""
    return settings.batch_images or (64 if device == "cuda" else 12)


def worker_count(settings: CacheTeacherSettings) -> int:
    """Number of worker processes to start on this machine; 0 means that this process does the
    work."""
    if settings.workers is not None or settings.scheduler:
        return settings.workers or 0
    gpus = torch.cuda.device_count() if choose_device(settings.device).type == "cuda" else 0
    return gpus if gpus > 1 else 0


def teacher_device(settings: CacheTeacherSettings) -> torch.device:
    """Where this process needs the teacher: beside workers it only asks it what it is."""
    alone = not settings.scheduler and not worker_count(settings)
    return choose_device(settings.device) if alone else torch.device("cpu")


def frame_choice(settings: CacheTeacherSettings) -> str | None:
    """Name of the frames asked for; None for a dataset that is quick to open."""
    return choice_key(
        settings.dataset,
        settings.data_root,
        settings.version,
        settings.split,
        settings.sequences,
        settings.limit,
        settings.cameras,
        settings.dataset_option,
    )


def existing_store(path: Path) -> Store | None:
    """The store at `path`, if there is one; raises CleverError where something else is."""
    refuse_other(path)
    return Store(path) if seal_path(path, POINTS_ID).exists() else None


def find_layer(store: Store, request: TeacherRequest) -> TeacherInfo | None:
    """The layer that was made for a request; a file of weights is known by its content, wherever it
    lies, and a layer of the network by the name that it was called then or by its own."""
    ignored = {"weights"} if request.weights_file_sha256 else set[str]()
    fields = request.model_dump(exclude=ignored)
    for info in store.teachers():
        if info.request:
            own = info.request.model_dump(exclude=ignored)
            if fields in (own, {**own, "layer": info.fingerprint.layer}):
                return info
    return None


def base_settings(
    settings: CacheTeacherSettings, dataset: LidarDataset, store: Store | None = None
) -> PointSettings:
    """What decides points and pairs.

    Args:
        store: to be gone on with; one that does not know its intensity scale goes on so.
    """
    unknown = store is not None and store.base.intensity_scale is None
    return PointSettings(
        dataset.name,
        tuple(dataset.cameras),
        MIN_DEPTH,
        MARGIN,
        settings.occlusion,
        None if unknown else getattr(dataset, "intensity_scale", None),
    )


def requested_frames(
    settings: CacheTeacherSettings, dataset: LidarDataset
) -> tuple[list[str], list[str]]:
    """Ids and scenes of the frames asked for; raises CleverError when there are none, or no
    cameras."""
    if not dataset.cameras:
        raise CleverError(
            f"{dataset.name} has no cameras, so a teacher has nothing to see; choose another "
            "`dataset`, and use this one in training from labels"
        )
    ids, scenes = list(dataset.frame_ids[: settings.limit]), list(dataset.scenes[: settings.limit])
    if not ids:
        raise CleverError(
            f"{settings.dataset} has no frames in split {settings.split}; choose another `split`"
        )
    return ids, scenes


def base_agrees(settings: CacheTeacherSettings, store: Store) -> bool:
    """Whether points and pairs of a store are what is asked for, whatever its cameras and scale:
    those belong to the dataset and its options."""
    base = PointSettings(
        settings.dataset,
        store.cameras,
        MIN_DEPTH,
        MARGIN,
        settings.occlusion,
        store.base.intensity_scale,
    )
    return store.base == base
