"""A run whose occupancy task has steps without an answer says so once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clever.pipeline.pretrain import pretrain
from clever.pipeline.pretraining.unanswered_queries import unanswered_queries
from clever.pipeline.settings.pretrain import PretrainSettings


def settings(**values: object) -> PretrainSettings:
    return PretrainSettings.resolve(None, {"cache": "x.zarr", **values})


def test_only_a_loss_of_exactly_zero_is_a_step_without_an_answer() -> None:
    also = settings(occupancy="also", occupancy_radius=0.01)
    steps = [{"occupancy": loss, "loss": 1.0} for loss in (0.0, 1e-30, 0.7, 0.0)]
    assert unanswered_queries(also, 0.2, [{"val_miou": 0.0}, *steps]) == (
        "no occupancy query had a voxel in reach in 2 of 4 steps: `occupancy_radius=0.01` m, "
        "voxels of 0.2 m; choose a larger radius, or smaller voxels or a smaller `occupancy_delta`"
    )
    assert unanswered_queries(also, 0.2, steps[1:3]) == ""
    assert unanswered_queries(also, 0.2, [{"loss": 0.0}]) == ""
    paper = unanswered_queries(settings(occupancy_delta=90), 0.2, steps[:1])
    assert paper == (
        "no occupancy query counted in 1 of 1 step: every source point lies within "
        "`occupancy_delta=90` m of the sensor; choose a smaller one"
    )


@pytest.mark.parametrize(("radius", "notices"), [(1e-3, 1), (2.0, 0)])
def test_a_run_says_it_once(
    make_cache: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    radius: float,
    notices: int,
) -> None:
    values = {"student": "minkunet-tiny", "voxel_size": 0.5, "head_hidden": 16, "epochs": 2}
    values |= {"occupancy": "also", "occupancy_distance": "fixed", "occupancy_radius": radius}
    values |= {"batch_size": 2, "device": "cpu", "rankme_every": 0, "out": tmp_path / "run"}
    result = pretrain(settings(**values | {"cache": make_cache()}))
    lines = [line for line in capsys.readouterr().err.splitlines() if "had a voxel in" in line]
    assert len(lines) == notices
    assert (result.losses.last["occupancy"] == 0) == bool(notices)
    if notices:
        assert f"in {result.steps} of {result.steps} steps: " in lines[0]
        assert "voxels of 0.5 m" in lines[0]
