"""`clever ablate --set` wins over a grid's rows and measurements."""

from pathlib import Path
from typing import Any

import pytest

from clever.errors import CleverError
from clever.pipeline.ablations.assignments import with_assignments
from clever.pipeline.settings.ablate import AblateSettings
from clever.pipeline.settings.shared.grid import Grid, read_grid


def assigned(grid: Grid | str, tmp_path: Path, *texts: str, **changes: Any) -> Grid:
    own = read_grid(grid)[1] if isinstance(grid, str) else grid
    values = {"grid": "grid", "data_root": tmp_path, "set": list(texts), **changes}
    return with_assignments(own, AblateSettings.resolve(None, values))


def test_it_wins_over_rows(tmp_path: Path) -> None:
    plain = read_grid("rivals")[1]
    assert {own["epochs"] for own in plain.rows.values()} == {3, 6, 12}
    # The rows of the first two recipes differ in more than this.
    grid = assigned("rivals", tmp_path, "epochs=1", "lr=0.1")
    assert (grid.pretrain["epochs"], grid.pretrain["lr"]) == ("1", "0.1")
    assert not any("epochs" in own for own in grid.rows.values())
    assert [own["recipe"] for own in grid.rows.values()] == [
        own["recipe"] for own in plain.rows.values()
    ]
    assert grid.rows["olivine, true classes, 1"]["prototype_steps"] == 40


def test_it_wins_over_measurements_of_its_command(tmp_path: Path) -> None:
    grid = assigned("kitti", tmp_path, "finetune.epochs=1")
    assert grid.finetune["epochs"] == "1"
    assert {name: own.get("epochs") for name, own in grid.measure.items()} == {
        "probe": None,
        "full-10": None,
    }
    # What is said of one measurement wins over what is said of all, in either order.
    texts = ("probe.epochs=8", "finetune.epochs=1")
    for order in (texts, texts[::-1]):
        grid = assigned("kitti", tmp_path, *order)
        assert grid.measure["probe"]["epochs"] == "8"
        assert "epochs" not in grid.measure["full-10"]
    probe_only = assigned("kitti", tmp_path, "probe.epochs=8", measure="probe")
    assert list(probe_only.measure) == ["probe"]
    detect = Grid(measure={"probe": {"epochs": 3}, "boxes": {"verb": "detect", "epochs": 4}})
    grid = assigned(detect, tmp_path, "detect.epochs=1")
    assert grid.measure == {"probe": {"epochs": 3}, "boxes": {"verb": "detect"}}


def test_the_commands_of_the_study_mean_what_they_did(tmp_path: Path) -> None:
    plain = read_grid("rivals")[1]
    grid = assigned("rivals", tmp_path, "voxel_size=0.4", "probe.epochs=8")
    assert grid.pretrain == {**plain.pretrain, "voxel_size": "0.4"}
    assert grid.measure == {"probe": {**plain.measure["probe"], "epochs": "8"}}
    assert (grid.rows, grid.finetune) == (plain.rows, plain.finetune)


def test_it_wins_over_a_varied_setting_of_one_value_and_over_a_caches_teacher(
    tmp_path: Path,
) -> None:
    own = Grid.model_validate(
        {"vary": {"head": ["mlp"]}, "caches": {"a": {"cache": "a.zarr", "teacher": "vits14"}}}
    )
    assert assigned(own, tmp_path, "head=linear").caches == own.caches
    grid = assigned(own, tmp_path, "head=linear", "teacher=vitb14")
    assert grid.vary == {"head": ["linear"]}
    assert grid.pretrain["teacher"] == "vitb14"
    assert grid.caches["a"].values() == {"cache": "a.zarr"}


def test_corruptions_have_a_seed_of_their_own(tmp_path: Path) -> None:
    grid = Grid(measure={"fog": {"verb": "robustness"}})
    assert assigned(grid, tmp_path, "fog.seed=1").measure["fog"]["seed"] == "1"
    assert assigned(grid, tmp_path, "robustness.seed=2").robustness == {"seed": "2"}


@pytest.mark.parametrize(
    ("grid", "text", "line"),
    [
        (
            "table7",
            "epochs=2",
            r"`set=epochs=2`: the rows 'CleverDistiller, 50 epochs' and 'CleverDistiller, 100 "
            r"epochs' of the grid differ in epochs alone and would be the same run",
        ),
        (
            "tableA3",
            "detect.fraction=0.5",
            r"the measurements 'boxes-5' and 'boxes-10' of the grid differ in fraction alone",
        ),
        ("parts", "mix3d=0", r"`set=mix3d=0`: the grid varies mix3d, and its rows would be"),
        ("table7", "seed=3", r"`set=seed=3`: seed is decided for every cell; `seeds` chooses them"),
        ("table7", "finetune.out=x", r"`set=finetune.out=x`: out is decided for every cell; leave"),
        ("table1", "probe.new=yes", r"`set=probe.new=yes`: new is decided for every cell; leave"),
        ("kitti", "nothing.epochs=1", r"no measurement nothing; there are pretrain, finetune"),
    ],
)
def test_what_would_make_rows_the_same_is_one_line(
    grid: str, text: str, line: str, tmp_path: Path
) -> None:
    own: Grid | str = grid
    if grid == "parts":
        own = Grid(vary={"mix3d": [0, 0.5]})
    with pytest.raises(CleverError, match=line):
        assigned(own, tmp_path, text)
