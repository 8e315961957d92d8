"""The result of a command as one JSON object and as CSV."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from clever.cli import tables
from clever.cli.main import build_app
from clever.cli.output import Output, json_text, json_value, table_text
from clever.errors import CleverError
from clever.pipeline.evaluate import SegmentationResult
from clever.pipeline.results.ablation_table import AblationTable, CellRecord, Column, RowRecord
from clever.pipeline.steps.labelled import BadFrame


@dataclass
class Part:
    path: Path
    sizes: tuple[int, ...]


class Whole(BaseModel):
    parts: dict[str, Part]
    loss: float
    flag: bool | None


def strict(text: str) -> Any:
    """Parsed as JSON is defined: without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_fields_of_models_and_dataclasses_become_plain_values() -> None:
    value = Whole(parts={"a": Part(Path("x/y"), (1, 2))}, loss=math.inf, flag=True)
    assert strict(json_text(value)) == {
        "parts": {"a": {"path": "x/y", "sizes": [1, 2]}},
        "loss": None,
        "flag": True,
    }


def test_what_is_no_object_is_the_result() -> None:
    assert strict(json_text([1.5, float("nan"), {"ä"}])) == {"result": [1.5, None, ["ä"]]}
    assert strict(json_text(None)) == {"result": None}
    assert "ä" in json_text("ä")


def test_an_object_s_own_form_is_taken() -> None:
    class Own:
        def to_json(self) -> dict[str, object]:
            return {"mean": 2, "part": Part(Path("p"), ())}

    assert json_value([Own()]) == [{"mean": 2, "part": {"path": "p", "sizes": []}}]
    with pytest.raises(TypeError, match="no JSON form of object"):
        json_value(object())


def test_a_table_has_the_same_columns_in_every_row() -> None:
    assert table_text([{"a": 1, "b": None}, {"a": "x, y", "b": 0.5}]) == 'a,b\n1,\n"x, y",0.5\n'
    assert table_text([{"a": 1}]) == "a\n1\n"
    with pytest.raises(ValueError, match="columns"):
        table_text([{"a": 1}, {"b": 1}])


def result() -> SegmentationResult:
    return SegmentationResult(
        protocol="a, b",
        mean="present",
        miou=0.5,
        iou={"car": 0.25, "tree": 0.75, "sea": None},
        confusion=[[1, 2, 0], [1, 3, 0], [0, 0, 0]],
        points=7,
        frames=1,
        unlabelled=0,
        bad=[BadFrame(id="7", reason="gone")],
    )


def test_the_table_of_an_evaluation() -> None:
    assert list(csv.reader(table_text(tables.evaluation(result())).splitlines())) == [
        ["class", "iou", "points", "protocol"],
        ["car", "0.25", "3", "a, b"],
        ["tree", "0.75", "4", "a, b"],
        ["sea", "", "0", "a, b"],
        ["mIoU", "0.5", "7", "a, b"],
    ]


def test_the_table_of_an_ablation() -> None:
    rank = Column(key="rankme", title="RankMe", places=2)
    rows = [RowRecord(key="r", name="random weights"), RowRecord(key="m", name="mlp", base="r")]
    cells = [
        CellRecord(row=row, seed=seed, folder="", figures={"rankme": figure})
        for row, seed, figure in (("r", 0, 1.0), ("m", 0, 10.0), ("m", 1, 12.0))
    ]
    table = AblationTable(grid="g", columns=[rank], rows=rows, cells=cells)
    base, mlp = tables.ablation(table)
    assert (mlp["row"], mlp["in grid"], mlp["cells"], mlp["protocol"]) == ("mlp", "yes", 2, "")
    assert (mlp["RankMe, mean"], mlp["RankMe, deviation"]) == (11.0, 2**0.5)
    assert (mlp["RankMe, difference"], mlp["RankMe, half width"]) == (9.0, None)
    assert (base["RankMe, deviation"], base["RankMe, difference"]) == (None, None)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`clever evaluate` whose job prints a line and has one bad frame."""

    def job(settings: object) -> SegmentationResult:
        print("a library speaks")
        return result()

    monkeypatch.setattr("clever.pipeline.evaluate.evaluate", job)

    def run(*flags: str) -> Any:
        words = ["evaluate", "--checkpoint", "run", "--data-root", "data", *flags]
        return CliRunner().invoke(build_app("evaluate"), words)

    return run


def test_standard_output_holds_the_object_and_nothing_else(command: Callable[..., Any]) -> None:
    text, parsed = command(), command("--json")
    assert text.stdout.startswith(
        "a library speaks\na, b\n  class  IoU %\n  car     25.0  3 labelled points\n"
    )
    assert strict(parsed.stdout)["iou"] == {"car": 0.25, "tree": 0.75, "sea": None}
    assert strict(parsed.stdout)["bad"] == [{"id": "7", "reason": "gone"}]
    assert parsed.stderr == "a library speaks\n"
    assert (text.exit_code, parsed.exit_code) == (3, 3)


def test_text_is_printed_as_any_terminal_shows_it(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store or a folder of others may hold any name; lines stay lines."""
    odd = result().model_copy(update={"protocol": "a\x1b[2Jb\x9b, \u202ec"})
    monkeypatch.setattr("clever.pipeline.evaluate.evaluate", lambda settings: odd)
    text = command().stdout
    assert r"a\x1b[2Jb\x9b, \u202ec" in text
    assert len(text.splitlines()) == text.count("\n") > 3
    assert strict(command("--json").stdout)["protocol"] == odd.protocol


def test_csv_is_written_beside_text_and_beside_json(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "new/table.csv"
    for flags in ((), ("--json",)):
        assert command("--csv", str(path), *flags).exit_code == 3
        assert path.read_text().splitlines()[-1] == 'mIoU,0.5,7,"a, b"'
        path.unlink()


def test_a_place_that_cannot_hold_the_table_is_refused_before_the_job(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file/x/t.csv", f"{tmp_path / 'file'} is a file"),
    ):
        outcome = command("--csv", str(path))
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert outcome.stderr == f"error: cannot write {path}: {reason}; choose another --csv\n"
    Output(csv=tmp_path / "file").check()  # is replaced
    with pytest.raises(CleverError):
        Output(csv=tmp_path).check()
