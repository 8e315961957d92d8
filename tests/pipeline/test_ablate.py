"""`clever ablate`: cells done once, known by their settings, failures apart."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clever.cache.store.files.lock import writer_lock
from clever.errors import CleverError
from clever.pipeline import ablate as job
from clever.pipeline.ablate import ablate, command_line
from clever.pipeline.ablations import run_cell as cell_job
from clever.pipeline.ablations.cells import combinations, name_of, resolve_grid
from clever.pipeline.results.ablation_table import AblationTable
from clever.pipeline.results.run_names import folder_name
from clever.pipeline.settings.ablate import AblateSettings

PRETRAIN = {
    "student": "minkunet-tiny",
    "voxel_size": 0.5,
    "head_hidden": 8,
    "epochs": 1,
    "batch_size": 3,
    "rankme_every": 1,
}
FINETUNE = {"dataset": "semantickitti", "recipe": "scalr", "epochs": 1, "batch_size": 2}
GridRun = Callable[..., AblationTable]


class Table:
    """A grid beside a toy cache and a labelled drive, and the folder of its table."""

    def __init__(self, folder: Path, cache: Path, root: Path) -> None:
        self.folder, self.cache, self.root = folder, cache, root
        self.out = folder / "out"

    def settings(self, grid: dict[str, Any], **values: Any) -> AblateSettings:
        """Of a grid that is written to ``grid.yaml``."""
        path = self.folder / "grid.yaml"
        path.write_text(yaml.safe_dump(grid, sort_keys=False))
        own = {"grid": str(path), "out": self.out, "device": "cpu", "data_root": self.root}
        return AblateSettings.resolve(None, {**own, **values})

    def run(self, grid: dict[str, Any], **values: Any) -> AblationTable:
        """`ablate` a grid."""
        return ablate(self.settings(grid, **values))

    def weights(self) -> dict[str, int]:
        """When every file of weights below the cells was written."""
        files = (self.out / "cells").rglob("*.safetensors")
        return {str(path.relative_to(self.out)): path.stat().st_mtime_ns for path in files}

    def grid(self, **parts: Any) -> dict[str, Any]:
        """A grid of two heads, probed, of one seed."""
        return {
            "pretrain": {"cache": str(self.cache), **PRETRAIN},
            "finetune": FINETUNE,
            "measure": {"probe": {}},
            "vary": {"head": ["linear", "mlp"]},
            "seeds": [0],
            **parts,
        }


@pytest.fixture
def table(make_cache: Callable[..., Path], kitti_root: Path, tmp_path: Path) -> Table:
    return Table(tmp_path, make_cache(), kitti_root)


def names(result: AblationTable) -> list[str]:
    return [row.name for row in result.rows]


def test_two_commands_in_one_folder(table: Table) -> None:
    with writer_lock(table.out), pytest.raises(CleverError, match="is being written by process"):
        table.run(table.grid())
    assert not table.out.exists()


@pytest.mark.slow
def test_a_changed_grid_runs_only_what_changed(table: Table) -> None:
    first = table.run(table.grid())
    assert names(first) == ["random weights", "head=linear", "head=mlp"]
    assert [len(first.cells_of(row.key)) for row in first.rows] == [1, 1, 1]
    for cell in first.cells:
        probe = next(column.key for column in first.columns if column.measurement)
        record = json.loads((table.out / cell.runs[probe] / "result.json").read_text())
        assert cell.figures[probe] == 100 * record["evaluation"]["miou"]
        if not first.row(cell.row).untrained:
            record = json.loads((table.out / cell.runs["pre-training"] / "result.json").read_text())
            assert cell.figures["rankme"] == record["ranks"]["uncentred"]["rankme"]
            assert cell.frames_seen == record["steps"] * 3
    before = table.weights()
    assert AblationTable.read(table.out / "table.json") == first
    assert (table.out / "table.md").read_text() == f"{first}\n"

    # The same again, under other names and from a cache that moved: nothing is trained.
    moved = table.folder / "moved.zarr"
    shutil.copytree(table.cache, moved)
    renamed = table.grid(rows={"a": {"head": "linear"}, "b": {"head": "mlp"}}, vary={})
    second = table.run(renamed, cache=str(moved))
    assert table.weights() == before
    assert names(second) == ["random weights", "a", "b"]
    assert [cell.figures for cell in second.cells] == [cell.figures for cell in first.cells]

    assert not list(table.out.glob("rankme-*.png"))  # two cells are too few for a picture
    assert "2 pre-trained cells: too few for a rank correlation" in str(second)

    # A row more, one less, another measurement: the new row and the new measurement alone.
    third = table.run(
        table.grid(
            vary={"head": ["linear"], "pairs": [3]},
            measure={"probe": {}, "longer": {"epochs": 2}},
            rows={"plain": {}},
        )
    )
    assert names(third) == ["random weights", "plain head=linear pairs=3", "a", "b"]
    assert [row.in_grid for row in third.rows] == [True, True, False, False]
    after = table.weights()
    assert {name: after[name] for name in before} == before
    fresh = {name.split("/")[2].split("-")[0] for name in after.keys() - before.keys()}
    assert fresh == {"pretrain", "probe", "longer"}
    assert "b †" in str(third)
    assert "† no longer in the grid" in str(third)


@pytest.mark.slow
def test_other_settings_of_a_measurement_are_another_column(table: Table) -> None:
    grid = table.grid(vary={})
    first = table.run(grid)
    second = table.run(grid, set=["probe.epochs=2"])
    key, earlier = (next(column.key for column in result.measured()) for result in (second, first))
    assert key != earlier
    for cell in second.cells:
        assert {key, earlier} <= cell.figures.keys()
    assert [(c.key, c.in_grid) for c in second.columns if c.measurement] == [
        (key, True), (earlier, False),
    ]  # fmt: skip
    assert "not shown, of other settings than the grid's: probe mIoU %" in str(second)


def test_a_failing_cell_costs_no_other_and_is_tried_again(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = cell_job.pretrain

    def pretrain(settings: Any) -> Any:
        if settings.head == "linear":
            raise RuntimeError("no\nmemory")
        return own(settings)

    monkeypatch.setattr(cell_job, "pretrain", pretrain)
    result = table.run(table.grid(measure={}))
    (bad,) = result.bad
    assert result.row(bad.row).name == "head=linear"
    assert bad.failure == "pre-training: RuntimeError: no memory"
    assert "failed: head=linear, seed 0: pre-training: RuntimeError: no memory" in str(result)
    assert "RuntimeError: no\nmemory" in (table.out / bad.folder / "failure.txt").read_text()
    assert [len(cell.figures) for cell in result.cells] == [0, 4]
    monkeypatch.undo()
    again = table.run(table.grid(measure={}))
    assert again.bad == []
    assert not (table.out / bad.folder / "failure.txt").exists()
    assert [len(cell.figures) for cell in again.cells] == [4, 4]


def test_stopped_it_names_the_command_that_goes_on(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = job.run_cell, []

    def run_cell(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt("stopped after step 3 of 9; give `out=somewhere`")
        return own(*arguments)

    monkeypatch.setattr(job, "run_cell", run_cell)
    settings = table.settings(table.grid(measure={}), set=["mix3d=0.5"], seeds="0,1")
    with pytest.raises(KeyboardInterrupt) as stop:
        ablate(settings)
    command = (
        f"clever ablate {table.folder}/grid.yaml --data-root {table.root} --set mix3d=0.5 "
        f"--seeds 0,1 --out {table.out} --device cpu"
    )
    assert command_line(settings) == command
    assert str(stop.value) == (
        "stopped; 1 of 4 cells are finished and stay, and so does what the others have done; this "
        f"goes on: {command}"
    )
    assert len(AblationTable.read(table.out / "table.json").cells) == 1


@pytest.mark.slow
def test_two_workers_give_the_figures_of_a_serial_run(table: Table) -> None:
    rows = {"all": {}, "some": {"scenes": ["scene-0"], "epochs": 2}}
    grid = table.grid(rows=rows, vary={}, untrained=False)
    alone = table.run(grid)
    other = table.folder / "other"
    shared = table.run(grid, out=other, workers=2)
    by_place = {(cell.row, cell.seed): cell for cell in alone.cells}
    assert len(shared.cells) == len(by_place) == 2
    for cell in shared.cells:
        twin = by_place[cell.row, cell.seed]
        assert cell.figures == twin.figures
        assert cell.facts == twin.facts
        weights = [
            (folder / cell.folder / "pretrain/student.safetensors").read_bytes()
            for folder in (table.out, other)
        ]
        assert weights[0] == weights[1]
        assert "pretrain: " in (other / cell.folder / "log.txt").read_text()
    with pytest.raises(CleverError, match=r"`workers` starts a cluster and `scheduler` uses one"):
        table.run(grid, workers=2, scheduler="tcp://nowhere:1")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"rowz": {}}, r"grid\.yaml: unknown field rowz; there are title, pretrain, finetune"),
        ({"seeds": ","}, r"grid\.yaml: seeds is ',': names nothing; give a value or leave it out"),
        ({"seeds": [0, 1, 0]}, r"grid\.yaml: seeds is .*: 0 is given 2 times; give each seed once"),
        ({"rows": {"a": {"seed": 3}}}, r"rows\.a is .*: seed is decided for every cell"),
        ({"vary": {"head": []}}, r"vary\.head is \[\]"),
        ({"vary": {"head": ["deep"]}}, r"row head=deep: `head` is 'deep': should be 'mlp'"),
        ({"vary": {"heads": [1]}}, r"row heads=1: unknown setting `heads`; did you mean head\b"),
        ({"vary": {"lr": [0.01, "1e-2"]}}, r"same run twice: lr=0\.01 and lr=1e-2; leave one"),
        ({"rows": {"a": {"head": "mlp"}}}, r"row a head=linear: head is in the row and in vary"),
        ({"base": "c"}, r"base is 'c', which is no row; there are random weights, head=linear"),
        ({"measure": {"p": {"mode": "all"}}}, r"measurement p: `mode` is 'all': should be"),
        ({"measure": {"p": {"student": "ptv3"}}}, r"measurement p: student is that of the row"),
        ({"measure": {"p": {"verb": "guess"}}}, r"measurement p: verb is 'guess'; there are fine"),
        ({"measure": {"p": {"val_sequences": ["09"]}}}, r"measurement p: .*09"),
        ({"caches": {"x": {"place": "y"}}}, r"caches\.x\.\w+"),
    ],
)
def test_a_wrong_value_shows_before_anything_is_trained(
    table: Table, parts: dict[str, Any], words: str
) -> None:
    with pytest.raises(CleverError, match=words) as error:
        table.run(table.grid(**parts))
    assert "\n" not in str(error.value)
    assert not table.out.exists()


@pytest.mark.parametrize("content", ["file", "folder"])
def test_a_table_goes_into_no_folder_of_others(table: Table, tmp_path: Path, content: str) -> None:
    out = tmp_path / "mine"
    if content == "folder":
        out.mkdir()
    (out / "settings.yaml" if content == "folder" else out).write_text("cache: a\n")
    with pytest.raises(CleverError, match="mine exists and holds no table of ablations; choose an"):
        table.run(table.grid(), out=out)


def test_rows_of_several_caches_and_students(table: Table, make_cache: Callable[..., Path]) -> None:
    other = make_cache(name="other.zarr", second=True, unpaired=(0,))
    grid = table.grid(
        caches={
            "one": {"cache": str(table.cache)},
            "two": {"cache": str(other), "teacher": "other"},
        },
        rows={"small": {}, "large": {"voxel_size": 1.0}},
        vary={"cache": ["one", "two"]},
        base="small cache=one",
    )
    plan = resolve_grid(table.settings(grid))
    assert [row.name for row in plan.rows] == [
        "random weights (minkunet-tiny at 0.5 m)",
        "random weights (minkunet-tiny at 1 m)",
        "small cache=one",
        "small cache=two",
        "large cache=one",
        "large cache=two",
    ]
    assert len({row.key for row in plan.rows}) == 6
    assert plan.base == plan.rows[2].key
    assert [row.settings.teacher for row in plan.rows[2:4]] == [None, ("other",)]
    assert len(plan.cells) == 6


def test_combinations_and_names() -> None:
    rows = combinations({"head": ["linear", "mlp"], "occupancy_weight": [0, 0.05]})
    assert [name_of(row) for row in rows] == [
        "head=linear occupancy_weight=0",
        "head=linear occupancy_weight=0.05",
        "head=mlp occupancy_weight=0",
        "head=mlp occupancy_weight=0.05",
    ]
    assert combinations({}) == [{}]
    assert name_of({"align_corners": True, "teacher": ["a", "b"]}) == (
        "align_corners=yes teacher=a+b"
    )
    assert folder_name("(a) MLP, é=1") == "a-MLP-=1"
    assert folder_name("…") == "row"
