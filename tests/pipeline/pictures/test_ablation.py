"""Pictures of a table of ablations: what they plot."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from clever.pipeline.pictures import ablation
from clever.pipeline.results.ablation_table import AblationTable, CellRecord, Column, RowRecord
from clever.pipeline.results.account import Account, OnlineCost, TeacherCost

PROBE = Column(key="p-1", title="probe mIoU %", places=2, measurement="probe")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that were saved."""
    saved: list[Figure] = []
    monkeypatch.setattr(ablation, "save_figure", lambda figure, path: saved.append(figure))
    return saved


def test_a_point_a_pre_trained_cell(figures: list[Figure]) -> None:
    rows = [RowRecord(key=key, name=f"row {key}") for key in "ab"]
    rows.append(RowRecord(key="r", name="random weights", untrained=True))
    cells = [
        CellRecord(row=key, seed=seed, folder="", figures={"rankme": rank + seed, "p-1": rank})
        for key, rank in (("a", 1.0), ("b", 5.0), ("r", 9.0))
        for seed in (0, 1)
    ]
    table = AblationTable(grid="g", columns=[PROBE], rows=rows, cells=cells)
    ablation.rank_scatter(table, PROBE, Path("x.png"))
    (axes,) = figures[0].axes
    points = [collection.get_offsets().tolist() for collection in axes.collections]  # type: ignore
    assert points == [[[1, 1], [2, 1]], [[5, 5], [6, 5]]]
    legend: Any = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["row a", "row b"]
    assert "4 cells, Spearman 0.89; seeds 0, 1" in figures[0].get_suptitle()


def test_bars_of_the_teacher_and_the_students(figures: list[Figure]) -> None:
    account = Account(
        cells=2,
        pretraining_seconds=120,
        measurement_seconds=30,
        frames_seen=100,
        teachers=[TeacherCost(layer="a", cache="c", frames=9, seconds=60)],
        online=[OnlineCost(layer="a", frames=2, seconds=6, frames_seen=100, machine="m")],
    )
    ablation.cost_bars(account, "g", Path("x.png"))
    ablation.cost_bars(account.model_copy(update={"online": []}), "g", Path("x.png"))
    both, alone = (figure.axes[0] for figure in figures)
    widths = [bar.get_width() for bar in both.patches]  # type: ignore[attr-defined]
    assert widths == [1, 5, 2, 2]  # minutes: the teacher's bars, then the students'
    starts = [bar.get_x() for bar in both.patches]  # type: ignore[attr-defined]
    assert starts == [0, 0, 1, 5]
    assert len(alone.patches) == 2
    assert "teacher in the loop: 5.0 min" in figures[0].get_suptitle()
