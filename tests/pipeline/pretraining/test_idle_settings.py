"""Settings that nothing of a run uses are named, and no others."""

from typing import Any, get_args

import pytest

from clever.pipeline.pretraining.idle_settings import USES, idle_settings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.shared.recipes import PretrainRecipe


def names(**values: Any) -> list[str]:
    """The settings named for a run of these."""
    lines = idle_settings(PretrainSettings.resolve(None, {"cache": "store.zarr", **values}))
    assert all(" changes nothing in this run: it takes " in line for line in lines)
    return [line.split()[0] for line in lines]


@pytest.mark.parametrize("recipe", get_args(PretrainRecipe))
def test_no_recipe_has_any(recipe: str) -> None:
    assert names(recipe=recipe) == []


@pytest.mark.parametrize(
    ("name", "value", "users"),
    [
        ("temperature", 0.1, ["pairs", "regions", "class-pairs", "flow", "d2s"]),
        (
            "contrast_channels",
            32,
            ["pairs", "regions", "class-pairs", "prototypes", "flow", "d2s", "d2s-cosine"],
        ),
        ("drawn_pairs", 64, ["pairs", "class-pairs"]),
        ("pixel_stride", 4, ["regions"]),
        ("prototype_steps", 5, ["prototypes"]),
        ("overlap_radius", 0.3, ["temporal"]),
        ("dense_sweeps", 1, ["d2s", "d2s-cosine"]),
        (
            "regions",
            "slic",
            ["regions", "class-pairs", "prototypes", "flow", "d2s", "d2s-cosine"],
        ),
        ("loss", "cosine", ["distance"]),
        ("weighting", "pair", ["distance"]),
    ],
)
def test_a_setting_of_some_terms_is_named_under_all_others(
    name: str, value: Any, users: list[str]
) -> None:
    every = {"distance", "pairs", "regions", "class-pairs", "prototypes", "flow", "d2s",
             "d2s-cosine", "temporal"}  # fmt: skip
    for term in every:
        idle = names(terms=term, **{name: value})
        assert idle == ([] if term in users else [name]), term
    # One term that uses it is enough.
    both = f"{users[0]},{min(every - set(users))}"
    assert names(terms=both, **{name: value}) == []


def test_cameras_are_drawn_for_every_term_but_the_distance() -> None:
    assert names(drawn_cameras=2) == ["drawn_cameras"]
    assert names(drawn_cameras=2, terms="pairs") == []
    assert names(drawn_cameras=2, terms="distance,pairs") == []


def test_widths_of_an_mlp_are_those_of_an_mlp() -> None:
    widths = {"head_hidden": 64, "head_layers": 2}
    assert names(**widths) == []
    assert names(head="linear", **widths) == ["head_layers", "head_hidden"]
    assert names(terms="pairs", **widths) == ["head_layers", "head_hidden"]
    assert names(terms="pairs", head="linear") == ["head"]
    assert names(head="linear", class_token_weight=0.5, **widths) == []


def test_occupancy_that_is_left_out_and_its_two_forms() -> None:
    of_both = {"occupancy_points": 9, "occupancy_delta": 0.3, "occupancy_distance": "fixed"}
    of_also = {"occupancy_radius": 2.0, "occupancy_neighbours": "nearest"}
    assert names(**of_both) == []
    assert names(**of_also) == list(of_also)
    assert names(occupancy="also", **of_both, **of_also) == []
    off = {"occupancy": "also", **of_both, **of_also}
    assert names(occupancy_weight=0, **off) == list(off)
    assert names(occupancy_weight=1e-3, **off) == []


def test_a_reason_names_all_that_is_lacking() -> None:
    settings = {"cache": "store.zarr", "occupancy_weight": 0, "occupancy": "also"}
    lines = idle_settings(PretrainSettings.resolve(None, {**settings, "occupancy_radius": 2}))
    lack = "it takes occupancy=also and an occupancy_weight above 0"
    assert lines[1] == f"occupancy_radius changes nothing in this run: {lack}"


def test_blocks_and_pairs_of_frames() -> None:
    assert names(block_lr=0.1) == ["block_lr"]
    assert names(block_lr=0.1, student="ptv3-256") == []
    assert names(mix3d=0.5, batch_size=1) == ["mix3d"]
    assert names(mix3d=0, batch_size=1) == names(mix3d=0.5, batch_size=2) == []


def test_what_equals_the_recipe_is_not_named() -> None:
    assert names(temperature=0.07, occupancy_weight=0, occupancy_delta=0.1) == []


def test_every_name_is_a_setting() -> None:
    assert USES.keys() <= PretrainSettings.model_fields.keys()
