"""Settings of `clever ablate`."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator

from .shared.base import Groups, JobSettings
from .shared.dataset import DataRoot
from .shared.fields import Count, Device, Names, StorePlace
from .shared.grid import Seeds


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _assignments(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no ``name=value``, and a name that comes twice."""
    names = [text.partition("=")[0].strip() for text in texts]
    for text, name in zip(texts, names, strict=True):
        if "=" not in text or not all(part.isidentifier() for part in name.split(".")[-1:]):
            raise ValueError(f"{text!r} should be NAME=VALUE")
        if names.count(name) > 1:
            raise ValueError(f"{name} is given {names.count(name)} times")
    return texts


class AblateSettings(JobSettings):
    """Settings of `clever ablate`."""

    groups: ClassVar[Groups] = {
        "What to compare": ("grid", "cache", "data_root", "set", "measure", "seeds"),
        "Run": ("out", "device", "threads", "workers", "scheduler"),
        "Account": ("measure_online", "weights"),
    }

    grid: str
    """YAML file of rows and measurements (docs/ablations.md), or one of the paper's tables: table1,
    table2, table3, table7, tableA2, tableA3; or a study that two cores finish (docs/studies.md):
    drives, parts, layers, cost, rivals, kitti."""
    cache: StorePlace | None = None
    """Feature cache of all rows that name none."""
    data_root: DataRoot
    """Dataset folder of the measurements that name none; default: the environment variable
    CLEVER_DATA_ROOT."""
    set: Annotated[
        tuple[str, ...], BeforeValidator(_one_or_more), AfterValidator(_assignments)
    ] = ()
    """NAME=VALUE: a setting of pre-training in all rows (student=minkunet-tiny), of all
    measurements by a command (finetune.epochs=20) or of one (probe.lr=0.01); wins over the grid,
    its rows and measurements too, except where these differ in nothing else; may repeat."""
    measure: Names | None = None
    """Measurements of the grid to make, with commas; default: all."""
    seeds: Seeds | None = None
    """Seeds of each row, with commas; default: the grid's."""
    out: Path | None = None
    """Folder of the runs and the table; what is finished there is not done again; default:
    ablations/ and the grid's name."""
    device: Device = "auto"
    """Where to train."""
    threads: Count = 1
    """Threads of a cell on a CPU. The last bits of a figure depend on it, and on nothing else of
    how the cells are shared out."""
    workers: Count | None = None
    """Cells at once, each in a process of its own, with a GPU of its own where there are GPUs;
    default: one after another in this process."""
    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://HOST:PORT) whose workers do the cells; all must see the
    folders."""
    measure_online: Count | None = None
    """Frames of which the teacher's cost is measured here, for the account of the grid with the
    teacher in the loop; needs the dataset of the cache in --data-root."""
    weights: Path | None = None
    """For --measure-online: the teacher's weights, where they are no longer where the cache was
    made."""
