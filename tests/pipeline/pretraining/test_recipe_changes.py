"""In what a pre-training differs from its recipe, in words."""

import pytest

from clever.pipeline.pretraining.recipe_changes import recipe_changes, told_settings
from clever.pipeline.settings.pretrain import PretrainSettings


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({}, []),
        ({"recipe": "scalr"}, []),
        ({"recipe": "scalr", "head": "mlp", "loss": "l2"}, ["head mlp"]),
        # As in the recipe, and what the protocol names by itself.
        ({"mix3d": 0.8, "student": "minkunet-tiny", "epochs": 3, "batch_size": 1}, []),
        ({"targets": "standardised", "centre": "frames", "points": "all", "seed": 3}, []),
        (
            {"head": "linear", "loss": "cosine", "occupancy_weight": 0, "lr": 0.003, "mix3d": 0},
            ["head linear", "loss cosine", "mix3d 0.0", "occupancy_weight 0.0", "lr 0.003"],
        ),
        ({"terms": "distance=1,regions=2"}, ["terms distance=1,regions=2"]),
        # A linear head has no hidden channels, so that their number changes nothing.
        ({"head": "linear", "head_hidden": 32}, ["head linear"]),
        ({"head_hidden": 32}, ["head_hidden 32"]),
    ],
)
def test_what_differs_and_changes_something(values: dict[str, object], changes: list[str]) -> None:
    settings = PretrainSettings.resolve(None, {"cache": "a.zarr", **values})
    assert recipe_changes(settings) == changes


def test_told_settings_are_all_that_decide_a_run_beside_its_seed() -> None:
    values = {"cache": "/data/a.zarr/", "head": "linear", "head_hidden": 32, "seed": 5}
    settings = PretrainSettings.resolve(None, {**values, "out": "runs/x", "epochs": 3})
    told = told_settings(settings)
    expected = {"head": "linear", "epochs": "3", "lr": "default"}
    assert {name: told[name] for name in expected} == expected
    # An idle setting is not told, whether it is the recipe's or not.
    idle = {"head_hidden", "head_layers", "temperature", "regions"}
    assert not told.keys() & {"seed", "out", "device", "cache", *idle}
    assert {"precision", "recipe", "occupancy_delta", "mix3d", "points"} <= told.keys()
    mlp = PretrainSettings.resolve(None, {"cache": "a.zarr"})
    assert {"head_hidden", "head_layers"} <= told_settings(mlp).keys()
