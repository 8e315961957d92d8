"""What a table says of the settings of its rows."""

from clever.pipeline.results.ablation_formats import notes
from clever.pipeline.results.ablation_table import AblationTable, CellRecord, RowRecord
from clever.pipeline.results.row_settings import differing_settings, setting_lines


def row(name: str, changes: str = "", **settings: object) -> RowRecord:
    texts = {key: str(value) for key, value in settings.items()}
    return RowRecord(key=name, name=name, settings=texts, changes=changes.split())


LINEAR = row("linear", "head lr", head="linear", lr=0.1, epochs=8)
MLP = row("MLP", "lr", head="mlp", head_hidden=64, lr=0.1, epochs=8)
WIDE = row("wide", "head_hidden lr", head="mlp", head_hidden=128, lr=0.1, epochs=8)


def test_rows_are_told_by_the_settings_that_differ() -> None:
    assert differing_settings([LINEAR, MLP, WIDE]) == ["head", "head_hidden"]
    assert setting_lines([LINEAR, MLP, WIDE]) == [
        "settings of all rows that use them, not the recipe's: lr 0.1",
        "settings in which rows differ: linear: head linear; MLP: head mlp, head_hidden 64; "
        "wide: head mlp, head_hidden 128",
    ]


def test_a_setting_that_one_row_alone_uses_is_no_difference() -> None:
    assert differing_settings([LINEAR, MLP]) == ["head"]
    without = row("temporal", "lr", lr=0.1)
    assert differing_settings([without, MLP]) == []
    assert setting_lines([row("a"), row("b")]) == []
    bare = row("bare", "", lr=0.1)
    assert setting_lines([bare, LINEAR, WIDE])[1] == (
        "settings in which rows differ: linear: head linear; wide: head mlp"
    )


def test_names_that_say_it_all_need_no_line() -> None:
    rows = [row("head=mlp lr=0.1", head="mlp", lr=0.1), row("lr=0.2 head=mlp", head="mlp", lr=0.2)]
    assert setting_lines(rows) == []
    longer = row("head=mlp lr=0.1", head="mlp", lr=0.1, epochs=9)
    rows = [longer, row("head=mlp lr=0.1", head="mlp", lr=0.1, epochs=8)]
    assert setting_lines(rows) == [
        "settings in which rows differ: head=mlp lr=0.1: epochs 9; head=mlp lr=0.1: epochs 8"
    ]


def test_rows_that_left_the_grid_are_told_too_and_random_weights_are_not() -> None:
    earlier = row("linear", head="linear", lr=0.3, epochs=8).model_copy(update={"in_grid": False})
    random = RowRecord(key="r", name="random weights", untrained=True)
    table = AblationTable(grid="g", columns=[], rows=[random, LINEAR, earlier], cells=[])
    assert "settings in which rows differ: linear: lr 0.1; linear †: lr 0.3" in notes(table)
    gone = earlier.model_copy(update={"counterpart": "linear head (Table 3)"})
    table = AblationTable(grid="g", columns=[], rows=[random, LINEAR, gone], cells=[])
    assert "paper's rows: linear † beside linear head (Table 3)" in notes(table)


def test_rows_that_left_the_grid_have_their_own_protocol_where_it_is_another() -> None:
    earlier = LINEAR.model_copy(update={"key": "e", "in_grid": False})
    lines = {"linear": "8 epochs", "e": "4 epochs"}
    cells = [
        CellRecord(row=key, seed=0, folder=key, facts={"pre-training": {"passes": words}})
        for key, words in lines.items()
    ]
    table = AblationTable(grid="g", columns=[], rows=[LINEAR, earlier], cells=cells)
    assert table.protocol() == ["pre-training: 8 epochs", "pre-training †: 4 epochs"]
    cells[1] = cells[1].model_copy(update={"facts": cells[0].facts})
    table = AblationTable(grid="g", columns=[], rows=[LINEAR, earlier], cells=cells)
    assert table.protocol() == ["pre-training: 8 epochs"]
