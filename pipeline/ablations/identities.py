"""Digests by which cells are known: of resolved settings and of what is read, not of where it
lies."""

from pathlib import Path
from typing import Any

from ...cache import FeatureCache
from ...errors import CleverError
from ...student.checkpoint import weights_digest
from ..datasets import open_dataset
from ..pretraining.several_caches import cached_parts
from ..pretraining.stores import open_stores
from ..results.run_folder import UNRECORDED
from ..results.run_names import changed_values, digest
from ..settings.finetune import FinetuneSettings
from ..settings.pretrain import PretrainSettings
from ..settings.shared.dataset import DatasetPart
from ..steps.labelled import labelled_indices

Memo = dict[str, str]
"""Digests of parts of caches and datasets that were read already, by their settings."""


def pretraining_digest(settings: PretrainSettings, memo: Memo) -> str:
    """Of a pre-training without its seed: its settings, its initial weights, and the frames and
    teachers of its cache.

    Raises:
        CleverError: no such cache, teacher, frames or weights.
    """
    values = changed_values(settings, UNRECORDED | {"seed", "cache", "teacher", "init"})
    init = weights_digest(settings.init) if settings.init else ""
    return digest(values, init, frames_digest(settings, memo))


def frames_digest(settings: PretrainSettings, memo: Memo) -> str:
    """Of the frames and teachers that a pre-training reads; raises as `pretraining_digest`."""
    part = (settings.split, settings.scenes, settings.sequences)
    key = repr((list(map(str, settings.caches)), settings.teacher, part))
    if key not in memo:
        stores = open_stores(settings)
        digests = [
            _store_digest(caches, cached.ids)
            for caches, cached in zip(stores, cached_parts(settings, stores), strict=True)
        ]
        memo[key] = digests[0] if len(digests) == 1 else digest(digests)
    return memo[key]


def _store_digest(caches: list[FeatureCache], ids: list[str]) -> str:
    first = caches[0]
    teachers = [cache.teacher.fingerprint.sha256 for cache in caches]
    return digest(teachers, first.cameras, [_frame(first, frame) for frame in ids])


def _frame(cache: FeatureCache, frame: str) -> list[Any]:
    index = cache.position(frame)
    return [frame, cache.scenes[index], cache.pair_count(index)]


def measurement_digest(settings: FinetuneSettings, memo: Memo) -> str:
    """Of a downstream measurement without its seed and its student: its settings and the labelled
    frames of its dataset.

    Raises:
        CleverError: no such dataset, no labelled frame in a part, or a list of frames that is not
            there.
    """
    start = {"seed", "checkpoint", "student", "voxel_size", "ptv3_form"}
    values = changed_values(settings, UNRECORDED | start | {"dataset", "data_root", "frames_file"})
    assert settings.dataset
    parts = [
        labelled_digest(part, settings.dataset, memo)
        for part in (settings.train_part, settings.val_part)
    ]
    return digest(values, _text_of(settings.frames_file), parts)


def _text_of(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8") if path else ""
    except OSError as error:
        raise CleverError(f"cannot read {path}: {error.strerror}") from error


def labelled_digest(part: DatasetPart, name: str, memo: Memo) -> str:
    """Of the labelled frames of a part of a dataset.

    Raises:
        CleverError: no such dataset, or none is labelled.
    """
    key = f"{name} {part.model_dump_json()}"
    if key not in memo:
        dataset = open_dataset(part, name)
        ids = [dataset.frame_ids[index] for index in labelled_indices(dataset, part.split)]
        memo[key] = digest(dataset.name, list(dataset.class_names), ids)
    return memo[key]
