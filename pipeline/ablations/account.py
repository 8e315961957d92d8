"""What a grid cost, and what it would have cost with the teacher in every step."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from ...cache import FeatureCache
from ...cache.store.layout import SHARD_ROWS
from ...cache.store.store import Store
from ...errors import CleverError
from ..datasets import LidarDataset, open_dataset
from ..pretraining.stores import open_stores
from ..process.device import cores
from ..process.progress import Track
from ..results.ablation_table import AblationTable
from ..results.account import Account, OnlineCost, TeacherCost
from ..settings.ablate import AblateSettings
from ..settings.shared.dataset import WholeDatasetSettings
from ..stage_one.rebuild import rebuilt_stage
from ..stage_one.spent import time_spent
from .cells import Plan, Row
from .run_cell import PRETRAINING_FACTS, torch_threads


@dataclass(frozen=True, slots=True)
class Layer:
    """A teacher's layer of a cache, and the rows that learn from it.

    Attributes:
        shares: by key of a row: of its frames' images, those that the teacher would see.
    """

    cache: FeatureCache
    shares: dict[str, float]

    def frames_seen(self, table: AblationTable) -> int:
        """Frames that the teacher would have seen for all cells of these rows; a frame of which one
        camera is used counts as that share."""
        return round(sum(cell.frames_seen * self.shares.get(cell.row, 0.0) for cell in table.cells))


def layers_of(plan: Plan) -> list[Layer]:
    """The layers that the grid's rows learn from, each once."""
    layers: dict[tuple[str, str], Layer] = {}
    for row in plan.rows:
        stores = open_stores(row.settings) if not row.untrained else []
        for cache in (cache for caches in stores for cache in caches):
            layer = layers.setdefault((cache.path, cache.teacher.id), Layer(cache, {}))
            layer.shares[row.key] = _share(row, cache)
    return list(layers.values())


def _share(row: Row, cache: FeatureCache) -> float:
    return 1.0 if row.settings.view == "all" else 1.0 / len(cache.cameras)


def account_of(table: AblationTable, layers: Iterable[Layer], online: list[OnlineCost]) -> Account:
    """The account of a table's cells that the grid has.

    Args:
        online: the teachers in the loop, measured; `frames_seen` is brought up to date.
    """
    layers = list(layers)
    rows = {row.key for row in table.rows if row.in_grid}
    keys = {column.stage_key for column in table.columns if column.in_grid}
    cells = [cell for cell in table.cells if cell.row in rows]
    frames = {layer.cache.teacher.id: layer.frames_seen(table) for layer in layers}
    return Account(
        cells=sum(PRETRAINING_FACTS in cell.seconds for cell in cells),
        pretraining_seconds=sum(cell.seconds.get(PRETRAINING_FACTS, 0.0) for cell in cells),
        measurement_seconds=sum(
            seconds for cell in cells for key, seconds in cell.seconds.items() if key in keys
        ),
        frames_seen=sum(cell.frames_seen for cell in cells),
        teachers=[_teacher_cost(layer.cache) for layer in layers],
        online=[cost.model_copy(update={"frames_seen": frames[cost.layer]}) for cost in online],
    )


def _teacher_cost(cache: FeatureCache) -> TeacherCost:
    spent = time_spent(cache.path, cache.teacher.id)
    return TeacherCost(
        layer=cache.teacher.id,
        cache=Path(cache.path).name,
        frames=len(cache),
        seconds=spent.seconds if spent else None,
    )


def measure_online(settings: AblateSettings, plan: Plan, layers: list[Layer]) -> list[OnlineCost]:
    """Read, resize and run through the teacher some frames of every layer, as stage one does but
    without writing, with all cores or the GPU.

    Raises:
        CleverError: a store or its dataset is not here, or the teacher is another one.
    """
    if not settings.measure_online:
        return []
    costs = []
    for layer in layers:
        path, teacher = layer.cache.path, layer.cache.teacher.id
        if "://" in path:
            raise CleverError(f"`measure_online` needs the store in a folder, not at {path}")
        store = Store(Path(path))
        info = store.teacher(teacher)
        dataset = _dataset(settings, plan, store)
        own = {name: getattr(settings, name) for name in ("data_root", "weights", "device")}
        rows = _rows(store, dataset, settings.measure_online)
        with torch_threads(cores()):
            warm, stage = (
                rebuilt_stage(store, info, dataset, {**own, "strict": True}) for _ in range(2)
            )
            groups = [
                (rows[start] // SHARD_ROWS, tuple(rows[start : start + stage.frames_per_batch]))
                for start in range(0, len(rows), stage.frames_per_batch)
            ]
            warm.statistics({teacher: groups[:1]}, lambda _: None)
            with Track(f"teacher {teacher} in the loop", len(rows)) as track:
                started = time.perf_counter()
                stage.statistics({teacher: groups}, track.advance)
                seconds = time.perf_counter() - started
        costs.append(
            OnlineCost(
                layer=teacher,
                frames=len(rows),
                seconds=seconds,
                frames_seen=0,
                machine=_machine(stage.teacher.device),
            )
        )
    return costs


def _dataset(settings: AblateSettings, plan: Plan, store: Store) -> LidarDataset:
    """The dataset of a store: as a measurement opens it, or in `data_root`."""
    name = store.base.dataset
    place = {"data_root": settings.data_root}
    for measurement in plan.measurements:
        own = measurement.settings
        if getattr(own, "dataset", None) == name:
            place = own.model_dump(include={"data_root", "version", "dataset_option"})
    whole = WholeDatasetSettings.model_validate({**place, "dataset": name})
    return open_dataset(whole, name)


def _rows(store: Store, dataset: LidarDataset, count: int) -> list[int]:
    """Rows of frames that the dataset has, evenly over the store.

    Raises:
        CleverError: there are none.
    """
    ids = set(dataset.frame_ids)
    rows = [row for row, frame in enumerate(store.ids) if frame in ids]
    if not rows:
        raise CleverError(
            f"{store.path} holds no frame of the dataset in `data_root`; give that which it was "
            "made from"
        )
    positions = torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().int().tolist()
    return [rows[number] for number in positions]


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cores()} CPU cores"
