"""The table of an ablation as readers see it."""

import csv
import subprocess
import sys
from typing import Any

import pytest

from clever.pipeline.results import ablation_formats
from clever.pipeline.results.ablation_table import (
    AblationTable,
    CellRecord,
    Column,
    RowRecord,
    grown,
)
from clever.pipeline.results.protocols import protocol_line

RANK = Column(key="rankme", title="RankMe", places=2, marked=True)
PROBE = Column(key="probe-1", title="probe mIoU %", places=2, marked=True, measurement="probe")


def make_table(**changes: Any) -> AblationTable:
    """Random weights and three rows with two seeds each."""
    rows = [
        RowRecord(key="r", name="random weights", untrained=True),
        RowRecord(key="a", name="head=linear", base="r", published={"probe-1": 40.76}, source="S"),
        RowRecord(key="b", name="100 % & more", base="r"),
        RowRecord(key="c", name="worst", base="r"),
    ]
    figures = {"r": (1.0, 10.0), "a": (2.0, 12.0), "b": (3.0, 15.0), "c": (1.5, 9.0)}
    cells = [
        CellRecord(
            row=key,
            seed=seed,
            folder=f"cells/{key}{seed}",
            figures={"rankme": rank, "probe-1": probe + seed * (1 + (key == "a"))},
            facts={"probe-1": {"head": "linear probe", "frames": f"{key} frames"}},
        )
        for key, (rank, probe) in figures.items()
        for seed in (0, 1)
    ]
    parts = {"grid": "g", "columns": [RANK, PROBE], "rows": rows, "cells": cells}
    return AblationTable(**{**parts, **changes})


def cells_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown_marks_the_best_and_the_second_and_compares_with_the_base() -> None:
    header, _, *rows = cells_of(str(make_table()))
    assert header == [
        "", "seeds", "RankMe", "probe mIoU %", "probe − base", "probe mIoU %, paper",
    ]  # fmt: skip
    assert rows == [
        ["random weights", "2", "1.00 ± 0.00", "10.50 ± 0.71", "", ""],
        ["head=linear", "2", "*2.00 ± 0.00*", "*13.00 ± 1.41*", "+2.50 ± 6.35", "40.76"],
        ["100 % & more", "2", "**3.00 ± 0.00**", "**15.50 ± 0.71**", "+5.00 ± 0.00", ""],
        ["worst", "2", "1.50 ± 0.00", "9.50 ± 0.71", "-1.00 ± 0.00", ""],
    ]


def test_a_column_is_there_where_any_cell_of_it_has_a_value() -> None:
    table = make_table()
    rows = [row.model_copy(update={"published": {}}) for row in table.rows]
    bare = [cell.model_copy(update={"figures": {"probe-1": 1.0}}) for cell in table.cells]
    header, *_ = cells_of(str(make_table(rows=rows, cells=bare)))
    assert header == ["", "seeds", "probe mIoU %", "probe − base"]
    bare[-1] = table.cells[-1]
    header, *_ = cells_of(str(make_table(rows=rows, cells=bare)))
    assert header == ["", "seeds", "RankMe", "probe mIoU %", "probe − base"]


def test_what_is_not_equal_in_all_cells_is_said_to_differ() -> None:
    notes = ablation_formats.notes(make_table())
    assert (
        "probe: linear probe, frames differs (r frames | a frames | b frames | c frames)" in notes
    )
    assert notes[0].startswith("mean ± sample standard deviation over seeds 0, 1;")
    assert notes[1].startswith(
        "− base: mean difference to the row's base (random weights) over the"
    )
    assert "S" in notes
    assert "rank correlation (Spearman) of RankMe and probe mIoU %: 0.96" in "\n".join(notes)
    assert protocol_line([{"a": "x", "b": "y"}, {"a": "x"}]) == "x, b differs (y | none)"
    many = [{"n": str(number)} for number in range(6)]
    assert protocol_line(many) == "n differs (0 | 1 | 2 | 3 | and 2 more)"


def test_the_lowest_is_the_best_where_lower_is_better() -> None:
    error = PROBE.model_copy(update={"lower": True, "figure": "mCE", "title": "probe mCE %"})
    table = make_table(columns=[RANK, error])
    assert table.places_of(error) == {"c": 1, "r": 2}
    header = cells_of(str(table))[0]
    assert header[3:5] == ["probe mCE %", "probe mCE − base"]
    assert "lower is better in probe mCE %" in ablation_formats.notes(table)
    assert not any("lower is better" in line for line in ablation_formats.notes(make_table()))


def test_several_figures_of_a_measurement_have_one_protocol() -> None:
    columns = [
        Column(key=f"probe-1 {name}", title=name, places=1, measurement="probe", figure=name,
               stage="probe-1")
        for name in ("mRR", "clean")
    ]  # fmt: skip
    table = make_table(columns=columns)
    for cell in table.cells:
        cell.figures.update({"probe-1 mRR": 1.0, "probe-1 clean": 2.0})
    lines = [line for line in table.protocol() if line.startswith("probe: ")]
    assert len(lines) == 1
    assert "linear probe" in lines[0]


def test_no_column_of_the_paper_without_a_row_of_the_paper() -> None:
    rows = [row.model_copy(update={"in_grid": row.key != "a"}) for row in make_table().rows]
    header = cells_of(str(make_table(rows=rows)))[0]
    assert "probe mIoU %, paper" not in header


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 pre-trained cell"), (2, "2 pre-trained cells")]
)
def test_few_cells_have_no_rank_correlation(count: int, words: str) -> None:
    cells = [cell for cell in make_table().cells if cell.row == "a"][:count]
    notes = ablation_formats.notes(make_table(cells=cells))
    assert notes.count(f"{words}: too few for a rank correlation with RankMe, or its picture") == 1
    three = [cell for cell in make_table().cells if cell.row in "ab"][:3]
    assert not any("too few" in line for line in ablation_formats.notes(make_table(cells=three)))


def test_latex_is_escaped_and_marked() -> None:
    text = ablation_formats.latex(make_table())
    lines = text.splitlines()
    assert lines[:2] == [r"\begin{tabular}{lrrrrr}", r"\toprule"]
    assert (
        lines[2] == r" & seeds & RankMe & probe mIoU \% & probe $-$ base & probe mIoU \%, paper \\"
    )
    assert (
        r"100 \% \& more & 2 & \textbf{3.00 $\pm$ 0.00} & \textbf{15.50 $\pm$ 0.71} & "
        r"+5.00 $\pm$ 0.00 &  \\"
    ) in lines
    assert r"\underline{13.00 $\pm$ 1.41}" in text
    assert ablation_formats.latex_text(r"a_b{c}\~^#$<>") == (
        r"a\_b\{c\}\textbackslash{}\textasciitilde{}\textasciicircum{}\#\$\textless{}"
        r"\textgreater{}"
    )
    after = lines[lines.index(r"\end{tabular}") + 1 :]
    assert after
    assert all(line.startswith("% ") for line in after)


def test_csv_has_a_line_a_cell() -> None:
    table = make_table()
    header, *lines = csv.reader(ablation_formats.csv(table).splitlines())
    assert header == ["row", "in_grid", "seed", "rankme", "probe-1", "failure", "folder"]
    assert len(lines) == 8
    assert lines[3] == ["head=linear", "yes", "1", "2.0", "14.0", "", "cells/a1"]


def test_ties_share_their_mark_and_one_row_has_none() -> None:
    table = make_table()
    cells = [cell for cell in table.cells if cell.row in "ra"]
    assert make_table(cells=cells).places_of(PROBE) == {"a": 1, "r": 2}
    cells = [cell for cell in table.cells if cell.row in "rab"]
    for cell in cells:  # random weights have the highest rank and are not compared
        cell.figures["rankme"] = {"r": 9.0, "a": 2.001, "b": 2.004}[cell.row]
    alike = make_table(cells=cells)
    assert alike.places_of(RANK) == {}
    assert alike.places_of(RANK.model_copy(update={"places": 3})) == {"b": 1, "a": 2}
    assert alike.places_of(RANK.model_copy(update={"places": 3, "marked": False})) == {}


def test_marks_are_explained_where_there_are_any() -> None:
    spread, marks = "mean ± sample standard deviation over seeds 0, 1", "best bold, second italic"
    assert ablation_formats.notes(make_table())[0] == f"{spread}; {marks} or underlined"
    # One trained row has nothing to be better than; random weights take no part in RankMe.
    pair = [row for row in make_table().rows if row.key in "ra"]
    cells = [cell for cell in make_table().cells if cell.row in "ra"]
    alone = make_table(rows=pair, cells=cells, columns=[RANK])
    assert ablation_formats.notes(alone)[0] == spread
    assert "**" not in str(alone)
    first = [cell for cell in cells if cell.seed == 0]
    assert ablation_formats.notes(make_table(rows=pair, cells=first, columns=[RANK]))[0] == "seed 0"
    single = make_table(rows=pair, cells=first)
    assert ablation_formats.notes(single)[0] == f"seed 0; {marks} or underlined"


def test_correlation_leaves_random_weights_and_earlier_rows_out() -> None:
    table = make_table()
    assert {cell.row for cell, _, _ in table.rank_pairs("probe-1")} == {"a", "b", "c"}
    gone = [row.model_copy(update={"in_grid": row.key != "b"}) for row in table.rows]
    assert {c.row for c, _, _ in make_table(rows=gone).rank_pairs("probe-1")} == {"a", "c"}
    for cell in table.cells:  # the order turned round, alike for both seeds
        cell.figures["probe-1"] = -cell.figures["rankme"]
    assert table.correlation("probe-1") == pytest.approx(-1)


def test_a_table_grows_and_marks_what_the_grid_no_longer_has() -> None:
    earlier = make_table()
    later = Column(key="probe-2", title="probe mIoU %", places=2, measurement="probe")
    cell = CellRecord(
        row="a",
        seed=0,
        folder="cells/a0",
        figures={"rankme": 9.0, "probe-2": 1.0},
        facts={"probe-1": {"threads": "now"}, "probe-2": {"threads": "now"}},
    )
    other = CellRecord(row="d", seed=0, folder="cells/d0", failure="no memory")
    rows = [RowRecord(key="a", name="renamed"), RowRecord(key="d", name="new", base="a")]
    present = AblationTable(grid="h", columns=[RANK, later], rows=rows, cells=[cell, other])
    table = grown(earlier, present)
    assert grown(None, present) is present
    assert [(row.name, row.in_grid) for row in table.rows] == [
        ("renamed", True), ("new", True), ("random weights", False), ("100 % & more", False),
        ("worst", False),
    ]  # fmt: skip
    assert [(column.key, column.in_grid) for column in table.columns] == [
        ("rankme", True), ("probe-2", True), ("probe-1", False),
    ]  # fmt: skip
    assert table.by_seed("a", "rankme") == {0: 9.0, 1: 2.0}
    assert table.by_seed("a", "probe-1") == {0: 12.0, 1: 14.0}
    assert len(table.cells) == 9
    (joined,) = (own for own in table.cells if (own.row, own.seed) == ("a", 0))
    assert joined.facts == {
        "probe-1": {"head": "linear probe", "frames": "a frames"},
        "probe-2": {"threads": "now"},
    }
    assert [bad.row for bad in table.bad] == ["d"]
    gone = [row.model_copy(update={"in_grid": False}) for row in table.rows]
    assert table.model_copy(update={"rows": gone}).bad == []


def test_a_table_is_drawn_without_any_network() -> None:
    code = f"""
import sys
from clever.pipeline.results.ablation_table import AblationTable
print(AblationTable.model_validate_json({make_table().model_dump_json()!r}))
print(sorted({{"torch", "zarr", "timm", "nuscenes", "spconv"}} & sys.modules.keys()))
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[2].split("|")[1].strip() == "random weights"
    assert process.stdout.splitlines()[-1] == "[]"
