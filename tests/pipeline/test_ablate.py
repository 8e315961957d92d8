"""Tables of ablations: combinations, means and spreads, and runs that are not done twice."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clever.errors import CleverError
from clever.pipeline.ablate import ablate, combinations, name_of
from clever.pipeline.results.ablation_table import AblateResult, RunFigures
from clever.pipeline.settings.ablate import AblateSettings

SHARED = """
cache: {cache}
student: minkunet-tiny
voxel_size: 0.5
head_hidden: 8
epochs: 1
batch_size: 3
device: cpu
rankme_every: 1
"""


def test_every_combination_in_the_order_given() -> None:
    rows = combinations(["head=linear,mlp", "occupancy-weight = 0, 0.05"])
    assert [name_of(row) for row in rows] == [
        "head=linear occupancy_weight=0",
        "head=linear occupancy_weight=0.05",
        "head=mlp occupancy_weight=0",
        "head=mlp occupancy_weight=0.05",
    ]
    assert combinations([]) == [{}]
    assert name_of({}) == "as given"
    for wrong in (["head"], ["head="], ["=mlp"], ["seed=1,2"], ["a=1", "a=2"]):
        with pytest.raises(CleverError, match=r"^`vary="):
            combinations(wrong)


def test_the_table_holds_means_and_sample_deviations() -> None:
    runs = [
        RunFigures(row="a", seed=seed, distillation=1 + seed, rankme=2.0, miou=10 * seed)
        for seed in (0, 1, 2)
    ]
    table = (
        AblateResult(protocol=[], runs=[*runs, RunFigures(row="b", seed=0, distillation=0.5)])
        .table()
        .splitlines()
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == [
        "",
        "runs",
        "distillation loss",
        "RankMe",
        "RankMe, centred",
        "matrix rank",
        "probe mIoU %",
    ]
    assert cells[2] == ["a", "3", "2.0000 ± 1.0000", "2.00 ± 0.00", "", "", "10.00 ± 10.00"]
    assert cells[3] == ["b", "1", "0.5000", "", "", "", ""]


def test_a_table_is_drawn_without_any_network() -> None:
    code = """
import sys
from clever.pipeline.results.ablation_table import AblateResult
print(AblateResult.model_validate_json('{"protocol": [], "runs": [{"row": "a", "seed": 0}]}'))
print(sorted({"torch", "zarr", "timm", "nuscenes", "spconv"} & sys.modules.keys()))
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[2].split("|")[1:3] == [" a   ", "    1 "]
    assert process.stdout.splitlines()[-1] == "[]"


def test_runs_are_made_once_and_seeds_may_be_shared_out(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "shared.yaml").write_text(SHARED.format(cache=make_cache()))
    values = {
        "pretrain": tmp_path / "shared.yaml",
        "vary": ["head=linear,mlp"],
        "out": tmp_path / "out",
    }
    for seeds in ("0", "4", "0,4"):
        result = ablate(AblateSettings.resolve(None, {**values, "seeds": seeds}))
    folders = sorted(path.name for path in (tmp_path / "out/runs").iterdir())
    assert folders == ["head=linear-seed0", "head=linear-seed4", "head=mlp-seed0", "head=mlp-seed4"]
    assert [(run.row, run.seed) for run in result.runs] == [
        ("head=linear", 0), ("head=mlp", 0), ("head=linear", 4), ("head=mlp", 4),
    ]  # fmt: skip
    for run, name in zip(
        result.runs, ("linear-seed0", "mlp-seed0", "linear-seed4", "mlp-seed4"), strict=True
    ):
        record = json.loads((tmp_path / f"out/runs/head={name}/result.json").read_text())
        assert run.distillation == record["losses"]["last"]["distillation"]
        assert run.rankme == record["ranks"]["uncentred"]["rankme"]
    assert (tmp_path / "out/table.md").read_text() == f"{result}\n"
    assert AblateResult.model_validate_json((tmp_path / "out/table.json").read_text()) == result


def test_a_table_grows_by_another_setting_and_refuses_other_shared_ones(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    cache = make_cache()
    (tmp_path / "shared.yaml").write_text(SHARED.format(cache=cache))
    values = {"pretrain": tmp_path / "shared.yaml", "out": tmp_path / "out", "seeds": "0"}
    first = ablate(AblateSettings.resolve(None, {**values, "vary": ["head=linear"]}))
    both = ablate(AblateSettings.resolve(None, {**values, "vary": ["pairs=3"]}))
    assert [run.row for run in both.runs] == ["head=linear", "pairs=3"]
    assert both.runs[0] == first.runs[0]
    assert (tmp_path / "out/table.md").read_text() == f"{both}\n"
    (tmp_path / "shared.yaml").write_text(SHARED.format(cache=cache) + "mix3d: 0.25\n")
    with pytest.raises(CleverError, match=r"share other settings of pretrain \(mix3d: .* -> 0.25"):
        ablate(AblateSettings.resolve(None, {**values, "vary": ["head=mlp"]}))
    (tmp_path / "shared.yaml").write_text(SHARED.format(cache=cache))
    (tmp_path / "out/table.json").write_text("{")
    with pytest.raises(CleverError, match=r"table\.json is damaged \(ValidationError\); remove"):
        ablate(AblateSettings.resolve(None, {**values, "vary": ["head=linear"]}))
    # A table from before points could be chosen is of runs with all of them.
    (tmp_path / "shared.yaml").write_text(SHARED.format(cache=cache))
    written = tmp_path / "out/shared/pretrain/settings.yaml"
    written.write_text(written.read_text().replace("\npoints: null\n", "\n"))
    with pytest.raises(CleverError, match=r"of pretrain \(points: all -> None\)"):
        ablate(AblateSettings.resolve(None, {**values, "vary": ["head=mlp"]}))


@pytest.mark.parametrize(
    ("vary", "twice"),
    [
        (["head=mlp,linear,mlp"], "head=mlp and head=mlp"),
        (["lr=0.01,1e-2"], "lr=0.01 and lr=1e-2"),
        (["head_layers=2,3", "pairs=5,5"], "head_layers=2 pairs=5 and head_layers=2 pairs=5"),
    ],
)
def test_a_run_that_comes_twice_is_refused(tmp_path: Path, vary: list[str], twice: str) -> None:
    """It would be done once and stand in the table as if there had been two."""
    (tmp_path / "shared.yaml").write_text("cache: nowhere\n")
    given = {"pretrain": tmp_path / "shared.yaml", "out": tmp_path / "out"}
    with pytest.raises(CleverError, match=f"^`vary` gives the same run twice: {twice}; leave one"):
        ablate(AblateSettings.resolve(None, {**given, "vary": vary}))
    assert not (tmp_path / "out").exists()
    with pytest.raises(
        CleverError, match=r"`seeds` is .*: 0 is given 2 times; give each seed once"
    ):
        AblateSettings.resolve(None, {**given, "seeds": "0,1,0"})


def test_a_wrong_value_shows_before_anything_is_trained(
    make_cache: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "shared.yaml").write_text(SHARED.format(cache=make_cache()))
    values = {
        "pretrain": tmp_path / "shared.yaml",
        "vary": ["head=mlp,deep"],
        "out": tmp_path / "out",
    }
    with pytest.raises(CleverError, match=r"^`head` is 'deep': should be 'mlp' or 'linear'"):
        ablate(AblateSettings.resolve(None, values))
    assert not (tmp_path / "out").exists()
