"""Verification of a store, with a sample of its points and pairs derived again where the dataset is
at hand."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..cache.care.layer_state import LayerState
from ..cache.care.problems import Problem, problem_count
from ..cache.care.verify import Verification
from ..cache.store.contents import Contents
from ..cache.store.files.lock import refuse_writer
from ..cache.store.files.remote import any_path
from ..cache.store.layers import POINTS_ID
from ..cache.store.layout import PAIR_POINT, PAIR_UV, POINTS, SHARD_ROWS
from ..cache.store.records.commits import records_by_row
from ..cache.store.records.models import FrameRecord, PointContent
from ..errors import CleverError, FrameError
from ..words import quantity, storage
from .datasets import LidarDataset, open_dataset
from .datasets.opening import takes
from .process.device import cores
from .process.progress import Track
from .settings.care import SourceSettings, VerifySettings
from .stage_one.comparison import compare
from .stage_one.frames import FrameReader


@dataclass(frozen=True, slots=True)
class VerifySummary:
    """What a verification found.

    Attributes:
        path: folder or URL of the store.
        problems: everything that is wrong.
        bytes: bytes read.
        seconds: wall time.
        compared: ids of the frames that were derived from the dataset again.
        skipped: why further frames of the sample could not be.
    """

    path: str | Path
    problems: list[Problem]
    bytes: int
    seconds: float
    compared: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.bytes / max(self.seconds, 1e-9)
        work = f"{storage(self.bytes)} in {self.seconds:.1f} s ({storage(int(rate))}/s)"
        lines = [*map(str, self.problems), f"{self.path}: {problem_count(self.problems)}; {work}"]
        if self.compared:
            lines.append(f"{quantity(len(self.compared), 'frame')} compared with the dataset")
        lines += [f"not compared: {reason}" for reason in self.skipped]
        if any(problem.remedy != "none" for problem in self.problems):
            place = self.path if isinstance(self.path, Path) else "FOLDER"
            where = "" if isinstance(self.path, Path) else " where the store is a folder"
            lines.append(f"put them right with `clever cache repair {place}`{where}")
        return "\n".join(lines)


def verify(settings: VerifySettings) -> VerifySummary:
    """Check every byte and value of a store; derive a sample of frames again if a dataset is given.

    Raises:
        CleverError: no store, a store that is being written to, or a dataset that does not open.
    """
    path = any_path(settings.path)
    if isinstance(path, Path):
        refuse_writer(path)
    started = time.monotonic()
    verification = Verification(path, cores())
    dataset = None
    if (
        settings.data_root is not None
        and not settings.dataset_free
        and settings.sample
        and verification.base
    ):
        # Before the long part: it may not open.
        dataset = open_source(settings, settings.path, verification.base)
    problems = run_verification(verification)
    compared, skipped = [], []
    if dataset and any(problem.layer == POINTS_ID for problem in problems):
        skipped = ["the dataset was not compared, because points and pairs are damaged"]
    elif dataset:
        compared, skipped, more = _derive_again(settings, dataset)
        problems += more
    return VerifySummary(
        settings.path, problems, verification.bytes, time.monotonic() - started, compared, skipped
    )


def run_verification(verification: Verification) -> list[Problem]:
    """Everything that a verification finds, with progress."""
    problems: list[Problem] = []
    with Track("verifying", len(verification), "shards") as track:
        for part in verification:
            problems += part
            track.advance()
    return problems


def open_source(settings: SourceSettings, store: str | Path, points: LayerState) -> LidarDataset:
    """The dataset that a store was made from.

    Args:
        store: its name in messages.
        points: its points and pairs.

    Raises:
        CleverError: it does not open, or is another one.
    """
    try:
        return _open_source(settings, store, points)
    except CleverError as error:
        if "data_root" in settings.model_fields_set:
            raise
        optional = isinstance(settings, VerifySettings)
        other_way = ", or `dataset_free=yes` to check the store alone" if optional else ""
        raise CleverError(
            f"{error} (the dataset folder {settings.data_root} is that of CLEVER_DATA_ROOT: give "
            f"another `data_root`{other_way})"
        ) from error


def _open_source(settings: SourceSettings, store: str | Path, points: LayerState) -> LidarDataset:
    assert isinstance(points.content, PointContent)
    base = points.content.base
    origin = base.dataset
    name = settings.dataset or origin
    if settings.cameras is None and takes(name, "cameras"):
        settings = settings.decided(cameras=base.cameras)
    dataset = open_dataset(settings, name) if ":" in name or name == origin else None
    if dataset is None or dataset.name != origin:
        opened = dataset.name if dataset else name
        raise CleverError(f"{store} was made from {origin}, not from {opened}")
    if set(dataset.frame_ids).isdisjoint(points.content.ids):
        raise CleverError(
            f"{settings.data_root} has no frame of {store}; give the `data_root`, "
            "`version`, `split` or "
            "`sequences` that it was made from"
        )
    return dataset


def _derive_again(
    settings: VerifySettings, dataset: LidarDataset
) -> tuple[list[str], list[str], list[Problem]]:
    """Compare a seeded sample of frames with the dataset: ids compared, reasons for frames left
    out, problems."""
    store = Contents(any_path(settings.path))
    reader = FrameReader(store, dataset)
    records = records_by_row(store.commits(store.points.id))
    rows = [row for row, record in records.items() if not record.reason and record.id in reader]
    generator = np.random.default_rng(settings.seed)
    sample = sorted(generator.choice(rows, min(settings.sample, len(rows)), replace=False).tolist())
    compared, skipped, problems = [], [], []
    with Track("comparing with the dataset", len(sample)) as track:
        for row in sample:
            track.advance()
            try:
                problems += _compare(reader, records[row])
                compared.append(store.ids[row])
            except FrameError as error:
                skipped.append(str(error))
    return compared, skipped, problems


def _compare(reader: FrameReader, record: FrameRecord) -> list[Problem]:
    shard, difference = record.row // SHARD_ROWS, compare(reader, record)
    facts = {
        POINTS: ("points", difference.points),
        PAIR_POINT: ("pairs", bool(difference.pairs)),
        PAIR_UV: ("timestamp, pose or image sizes", difference.facts),
    }
    return [
        Problem(
            array.key(shard, 0),
            f"{label} differ from the dataset's; the cache was made from other data or by another "
            "version",
            "none",
            reader.store.points.id,
            shard,
            (record.id,),
        )
        for array, (label, differs) in facts.items()
        if differs
    ]
