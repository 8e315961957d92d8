"""Tables of the page: results, settings beside their recipe, IoU, confusion, corrupted sweeps."""

from pathlib import Path
from typing import Any

import pytest

from clever.errors import CleverError
from clever.pipeline.corrupted.scores import Baseline
from clever.pipeline.corrupted.table import CheckpointRow, Measurement, RobustnessResult
from clever.pipeline.list_runs import RunSummary
from clever.pipeline.report_page.repeats import without_repeats
from clever.pipeline.report_page.robustness import robustness_part
from clever.pipeline.report_page.run_tables import result_table, run_labels, settings_tables
from clever.pipeline.report_page.scores import Scores, confusion_table, iou_tables
from clever.pipeline.results.run_folder import UNRECORDED
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.pretrain import PretrainSettings


def run(kind: str, settings: dict[str, Any], figures: dict[str, float], protocol: str = ""):
    return RunSummary(
        folder=Path("x"), kind=kind, complete=True, finished="2026-01-02T03:04:05", epoch=1,
        epochs=1, settings=settings, figures=figures, protocol=protocol,
    )  # fmt: skip


def test_names_of_runs_are_as_short_as_they_differ() -> None:
    assert run_labels([Path("/r/a/probe"), Path("/r/b/other")]) == ["probe", "other"]
    assert run_labels([Path("/r/a/probe"), Path("/r/b/probe")]) == ["a/probe", "b/probe"]
    assert run_labels([Path("/r/a/probe")]) == ["probe"]
    assert run_labels([]) == []


def test_results_have_scores_first_and_numbered_protocols() -> None:
    runs = [
        run("pretrain", {}, {"loss": 0.98765, "RankMe": 12.345}, "one"),
        run("finetune", {}, {"mIoU %": 6.4166}, "two"),
        run("finetune", {}, {"mIoU %": 7.0}, "one"),
        run("other", {}, {}),
    ]
    table = result_table(runs, ["a", "b", "c", "d"])
    assert table.columns == ["mIoU %", "RankMe", "loss"]
    assert table.protocols == ["one", "two"]
    assert [row.figures for row in table.rows] == [
        ["", "12.35", "0.9877"], ["6.42", "", ""], ["7.00", "", ""], ["", "", ""]
    ]  # fmt: skip
    assert [row.protocol for row in table.rows] == [1, 2, 1, None]
    assert table.rows[0].state == "finished 2026-01-02 03:04"


def test_a_measurement_is_one_row_whoever_tells_of_it() -> None:
    def own(folder: str, kind: str, miou: float, protocol: str = "p", of: str = "") -> RunSummary:
        values = {"checkpoint": of} if of else {}
        summary = run(kind, values, {"mIoU %": miou}, protocol)
        return summary.model_copy(update={"folder": Path(folder)})

    probe, other = own("r/probe", "finetune", 31.2345), own("r/other", "finetune", 31.2345)
    repeats = [
        own("r/probe/evaluate-a", "evaluate", 31.2349, of="moved/since"),
        own("elsewhere", "evaluate", 31.2345, of="r/probe"),
    ]
    tta = own("r/probe/evaluate-tta", "evaluate", 33.0, "TTA", of="r/probe")
    different = [
        own("r/probe/evaluate-now", "evaluate", 31.5, of="r/probe"),
        own("b/evaluate", "evaluate", 31.2345, of="b"),
        own("r/probe/evaluate-half", "evaluate", 31.2345, of="r/probe").model_copy(
            update={"complete": False}
        ),
    ]
    again = own("tta-again", "evaluate", 33.0, "TTA", of="r/probe")
    listed = [repeats[0], probe, other, repeats[1], tta, *different, again]
    assert without_repeats(listed) == [probe, other, tta, *different]
    assert without_repeats(repeats[1:]) == repeats[1:]


def test_settings_stand_beside_what_their_recipe_says() -> None:
    values = {"cache": "/data/a.zarr", "batch_size": 2, "lr": 0.003, "seed": 3}
    first = PretrainSettings.resolve(None, values).model_dump(mode="json")
    second = {**first, "batch_size": 16, "recipe": "scalr", "head": "linear"}
    own = {"data_root": "/d", "mode": "probe", "recipe": "scalr", "epochs": 9, "lr": 0.01}
    probe = FinetuneSettings.resolve(None, own).model_dump(mode="json")
    runs = [run("pretrain", first, {}), run("pretrain", second, {}), run("finetune", probe, {})]
    pretraining, finetuning = settings_tables(runs, ["a", "b", "c"])
    assert (pretraining.kind, pretraining.runs) == ("pretrain", ["a", "b"])
    changed = {row.name: (row.values, row.recipe) for row in pretraining.changed}
    assert changed["batch_size"] == (["2", "16"], "16 or 8"), "each run has its own recipe"
    assert "head" not in changed, "both are as their own recipe says"
    assert changed["seed"] == (["3", "3"], "0")
    assert not {"class_token_weight", "intensity_dropout"} & set(changed), "0.0 is 0"
    decided = {row.name: (row.values, row.recipe) for row in pretraining.decided}
    assert decided["cache"] == (["…/a.zarr", "…/a.zarr"], "left open")
    assert changed["lr"] == (["0.003", "0.003"], "left open or 0.002")
    names = [
        row.name
        for part in (pretraining.changed, pretraining.decided, pretraining.same)
        for row in part
    ]
    assert "loss" in {row.name for row in pretraining.same}
    assert sorted(names) == sorted(set(first) - UNRECORDED), "each once; where it ran is not told"
    probe_changed = {row.name: (row.values, row.recipe) for row in finetuning.changed}
    assert probe_changed["epochs"] == (["9"], "20")
    assert probe_changed["lr"] == (["0.01"], "0.001")
    assert {row.name: row.values for row in finetuning.decided}["data_root"] == ["…/d"]


def test_settings_of_an_unknown_command_are_all_open() -> None:
    (table,) = settings_tables([run("other", {"a": 1, "b": None}, {})], ["x"])
    assert [row.name for row in table.decided] == ["a"]
    assert [row.name for row in table.same] == ["b"]


CONFUSION = [[6, 2, 0, 0], [1, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
IOU = {"car": 6 / 9, "road": 9 / 12, "pole": None, "tree": None}


def test_iou_of_runs_with_the_same_classes_stand_side_by_side() -> None:
    first = Scores(0, "a", 1, 0.7, IOU, CONFUSION)
    second = Scores(1, "b", 2, 0.1, {**IOU, "pole": 0.0}, CONFUSION)
    other = Scores(2, "c", 3, 0.5, {"road": 0.5}, [[4]])
    both, alone = iou_tables([first, other, second])
    assert [run.label for run in both.runs] == ["a", "b"]
    assert [(row.name, row.points) for row in both.rows] == [("car", 8), ("road", 10), ("pole", 0)]
    assert both.rows[0].iou == pytest.approx([200 / 3, 200 / 3])
    assert both.rows[2].iou == [None, 0.0]
    assert both.absent == ["tree"]
    assert both.rows[1].colour == "#804080" == alone.rows[0].colour
    assert [run.label for run in alone.runs] == ["c"]


def test_confusion_in_percent_of_the_labels() -> None:
    # `pole` is predicted once but never labelled; `tree` is neither.
    confusion = [[6, 2, 0, 0], [1, 8, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    table = confusion_table(Scores(0, "a", 1, 0.7, IOU, confusion))
    assert table.names == ["car", "road", "pole"]
    assert table.rows == [("car", 8, [75.0, 25.0, 0.0]), ("road", 10, [10.0, 80.0, 10.0])]
    assert table.absent == ["tree"]


def measurement(corruption: str | None, severity: str | None, miou: float) -> Measurement:
    return Measurement.model_validate(
        {"corruption": corruption, "severity": severity, "strength": {}, "miou": miou, "iou": {},
         "points": 1, "frames": 1, "left_out": 0, "protocol": f"of {corruption}", "bad": []}
    )  # fmt: skip


def test_corrupted_sweeps_by_severity_with_error_and_resilience(tmp_path: Path) -> None:
    levels = [("light", 30.0), ("moderate", 20.0), ("heavy", 10.0)]
    entries = [measurement(None, None, 40.0), *(measurement("fog", *level) for level in levels)]
    row = CheckpointRow(checkpoint="/somewhere/probe", digest="d", measurements=entries)
    baseline = Baseline(name="B", clean=50.0, miou={"fog": 60.0})
    result = RobustnessResult(rows=[row], baseline=baseline, source="as read", notes=["a guess"])
    path = tmp_path / "robustness.json"
    path.write_text(result.model_dump_json())
    part = robustness_part(path)
    (table,) = part.checkpoints
    assert table.header == ["light", "moderate", "heavy", "mean", "CE", "RR"]
    assert (table.name, table.protocol) == ("probe", "of None")
    clean, fog = table.rows
    assert clean == ("clean", [None, None, None, 40.0, None, None])
    # CE: 240 % of errors beside three times the baseline's 40 %; RR: 60 % of three times 40 %.
    assert fog[0] == "fog"
    assert fog[1] == pytest.approx([30, 20, 10, 20, 100 * 240 / 120, 50])
    assert part.notes == ["as read", "a guess"]
    assert part.meaning == (
        "mIoU, CE and RR in percent; of a corruption without a severity the mean over all three; "
        "CE relative to B; their means mCE and mRR need all eight corruptions; Robo3D's formulae, "
        "no test-time augmentation; inserted points are ignored"
    )
    few = row.model_copy(update={"measurements": entries[::3]})
    path.write_text(result.model_copy(update={"rows": [few]}).model_dump_json())
    part = robustness_part(path)
    (table,) = part.checkpoints
    assert part.meaning.startswith(
        "mIoU, CE and RR in percent; CE and RR need all three severities; their means mCE"
    )
    alone = result.model_copy(update={"baseline": None})
    assert "the mean over all three; no baseline: no CE; their means" in alone.meaning()
    assert table.header == ["heavy", "mean"]
    assert table.rows == [("clean", [None, 40.0]), ("fog", [10.0, None])]
    path.write_text("{}")
    with pytest.raises(CleverError, match=r"robustness\.json is damaged or of another version"):
        robustness_part(path)
