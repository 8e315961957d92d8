"""The paper's figures beside the settings that they are of."""

import pytest

from clever.pipeline.results.published import published, published_row, source_of
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.shared.grid import grid_names, read_grid

PROBE = ("nuscenes", "probe", 1.0)


def figure(place: tuple[str, str, float] = PROBE, **settings: object) -> float | None:
    row = published_row(PretrainSettings.resolve(None, {"cache": "x", **settings}))
    return row.figure(place) if row else None


def test_a_row_is_known_by_head_occupancy_and_mix3d() -> None:
    assert figure() == 49.81
    assert figure(head="linear") == figure(head_layers=1) == 41.67
    assert figure(occupancy_weight=0) == 46.36
    assert figure(occupancy_weight=0, head_layers=2) == 45.46
    assert figure(occupancy_weight=0, head_hidden=256) == 44.79
    assert figure(mix3d=0) == 48.95
    assert figure(head_hidden=512) is None
    assert figure(student="ptv3-tiny", occupancy_weight=0.2) == 57.39
    assert figure(student="ptv3-256", head="linear") is None
    assert figure(("waymo", "full", 0.01), student="minkunet-tiny") == 50.99
    assert figure(("nuscenes", "full", 0.1)) is None


def test_the_source_says_in_what_ours_differs() -> None:
    settings = PretrainSettings.resolve(None, {"cache": "x", "epochs": 100})
    row = published_row(settings)
    assert row
    theirs = (
        "paper: minkunet34 at 0.05 m, ViT-S teacher, 100 epochs of batch 16 on nuScenes, one run"
    )
    data = "; teacher and dataset are those above"
    assert source_of(row, settings) == f"{theirs}{data}"
    small = settings.decided(student="minkunet-tiny", voxel_size=0.2, epochs=8)
    assert source_of(row, small) == (
        f"{theirs}; here student minkunet-tiny, voxel_size 0.2, epochs 8{data}"
    )


def test_variants_of_table_3() -> None:
    assert published("semantickitti", "full", 0.01) == {
        "linear head": 44.42,
        "linear head + occupancy": 48.19,
        "MLP head": 50.15,
        "MLP head + occupancy": 50.59,
    }
    assert published("nuscenes", "full", 0.1) == {}


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("table1", (40.76, 45.46, 44.79, 46.36)),
        ("table2", (55.72, 56.49, 58.49, 57.39, 53.89)),
        ("table3", (40.76, 41.67, 46.36, 49.81)),
        ("tableA2", (48.95, 49.81)),
    ],
)
def test_grids_of_the_package_are_the_papers_rows(name: str, figures: tuple[float, ...]) -> None:
    _, grid = read_grid(name)
    rows = list(grid.rows.values()) or [
        {"occupancy_weight": weight} for weight in grid.vary["occupancy_weight"]
    ]
    assert tuple(figure(**{**grid.pretrain, **row}) for row in rows) == figures
    for row in rows:
        settings = PretrainSettings.resolve(None, {"cache": "x", **grid.pretrain, **row})
        own = published_row(settings)
        assert own
        assert "here" not in source_of(own, settings)
    assert set(grid.measure) == {"probe", "full-1"}
    assert name in grid_names()
