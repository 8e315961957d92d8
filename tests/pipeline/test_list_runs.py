"""Run folders side by side: kind, state, differing settings, figures and their protocol."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clever.cli import tables
from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline.evaluate import SegmentationResult
from clever.pipeline.list_runs import RunList, list_runs, state_words, summarise_run
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.list_runs import ListRunsSettings
from clever.pipeline.settings.predict import PredictSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.shared.base import JobSettings, save_settings

FINISHED = "2026-01-02T03:04:05.678901+00:00"


def pretraining(**changes: Any) -> PretrainSettings:
    return PretrainSettings.resolve(None, {"cache": "a.zarr", "epochs": 4, **changes})


def finetuning(**changes: Any) -> FinetuneSettings:
    return FinetuneSettings.resolve(None, {"data_root": "d", "mode": "probe", **changes})


def write_run(
    folder: Path,
    settings: JobSettings,
    records: list[dict[str, float]] | None = None,
    result: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir(parents=True)
    save_settings(settings, folder)
    (folder / "inputs.json").write_text("{}")
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(part)}\n" for part in records or []))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def steps(count: int) -> list[dict[str, float]]:
    """Ten steps a pass; the losses fall by one a step, `lr` is no loss."""
    return [
        {
            "step": n,
            "steps": 40,
            "epoch": (n - 1) // 10 + 1,
            "loss": 100.0 - n,
            "distillation": 50.0 - n,
            "lr": 1,
        }
        for n in range(1, count + 1)
    ]


RANKS = {"rows": 90, "frames": 3, "seed": 7, "uncentred": {"rankme": 12.5}}
PRETRAINED = {
    "job": "pretrain",
    "finished": FINISHED,
    "seed": 5,
    "dataset": "toy",
    "part": "split train, 3 of 4 frames",
    "student": "minkunet-tiny",
    "recipe": "clever",
    "changes": ["head linear", "lr 0.5"],
    "ranks": RANKS,
}
EVALUATION = {"miou": 0.25, "protocol": "probe on toy val, no TTA"}


def read(*folders: Path) -> RunList:
    return list_runs(ListRunsSettings(folders=tuple(map(str, folders))))


def test_a_finished_pretraining(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", pretraining(lr=0.5), steps(40), PRETRAINED)
    run = summarise_run(folder)
    assert (run.kind, run.complete, run.finished) == ("pretrain", True, FINISHED)
    assert (run.epoch, run.epochs, run.settings["lr"]) == (4, 4, 0.5)
    assert (run.step, run.steps) == (40, 40)
    # A tenth of 40 steps: 37 to 40.
    assert run.figures == {"loss": 61.5, "distillation loss": 11.5, "RankMe": 12.5}
    assert run.protocol == (
        "toy, split train, 3 of 4 frames, minkunet-tiny, recipe clever (head linear, lr 0.5), "
        "seed 5; losses: means over 4 steps up to step 40; "
        "RankMe: backbone features of 90 points of 3 training frames, seed 7"
    )


def test_an_unfinished_pretraining(tmp_path: Path) -> None:
    run = summarise_run(write_run(tmp_path / "a", pretraining(), steps(15)))
    assert (run.complete, run.finished, run.epoch, run.epochs) == (False, None, 2, 4)
    assert run.figures == {"loss": 85.0, "distillation loss": 35.0}
    assert run.protocol == "losses: means over 1 step up to step 15"
    fresh = summarise_run(write_run(tmp_path / "b", pretraining()))
    assert (fresh.epoch, fresh.figures, fresh.protocol) == (0, {}, "")
    without = {**PRETRAINED, "ranks": None}
    other = summarise_run(write_run(tmp_path / "c", pretraining(), steps(1), without))
    assert other.figures.keys() == {"loss", "distillation loss"}


def test_fine_tuning_by_its_newest_measurement_then_by_its_result(tmp_path: Path) -> None:
    records = [
        {"step": 1, "epoch": 1, "loss": 1.0},
        {"step": 1, "epoch": 1, "val_miou": 0.5},
        {"step": 2, "epoch": 2, "val_miou": 0.125},
        {"step": 3, "epoch": 3, "loss": 1.0},
    ]
    run = summarise_run(write_run(tmp_path / "a", finetuning(), records))
    assert (run.kind, run.figures) == ("finetune", {"mIoU %": 12.5})
    assert run.protocol == "validation part after epoch 2, not finished"
    assert summarise_run(write_run(tmp_path / "b", finetuning(), records[:1])).figures == {}
    result = {"job": "finetune", "finished": FINISHED, "evaluation": EVALUATION}
    run = summarise_run(write_run(tmp_path / "c", finetuning(), records, result))
    assert (run.figures, run.protocol) == ({"mIoU %": 25.0}, "probe on toy val, no TTA")


def test_a_setting_with_the_name_of_a_figure_has_a_column_of_its_own(tmp_path: Path) -> None:
    for name, loss in (("a", "l2"), ("b", "cosine")):
        write_run(tmp_path / name, pretraining(loss=loss), steps(40), PRETRAINED)
    result = read(tmp_path)
    head, _, *rows = [cells(line) for line in str(result).splitlines() if line.startswith("| ")]
    columns = {name: [row[number] for row in rows] for number, name in enumerate(head)}
    assert columns["setting loss"] == ["l2", "cosine"]
    assert columns["loss"] == ["61.5", "61.5"]
    for row, loss in zip(tables.runs(result), ("l2", "cosine"), strict=True):
        assert (row["setting loss"], row["loss"]) == (f'"{loss}"', 61.5)


def test_an_evaluation_inside_of_a_run_is_another(tmp_path: Path) -> None:
    outer = write_run(tmp_path / "runs/a", finetuning(), steps(3))
    settings = EvaluateSettings.resolve(None, {"checkpoint": outer, "data_root": "d"})
    inner = write_run(outer / "evaluate-toy-val", settings, None, EVALUATION)
    first, second = read(tmp_path).runs
    assert (first.folder, second.folder) == (outer, inner)
    assert (second.kind, second.complete, second.finished) == ("evaluate", True, None)
    assert (second.epoch, second.epochs) == (None, None)
    assert second.figures == {"mIoU %": 25.0}
    # Named twice is listed once.
    assert [run.folder for run in read(inner, tmp_path).runs] == [inner, outer]


def test_what_is_no_run_is_not_listed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", pretraining())
    write_run(tmp_path / "run.zarr/inside", pretraining())
    (tmp_path / "run.zarr/zarr.json").touch()
    (tmp_path / "shared").mkdir()
    save_settings(pretraining(), tmp_path / "shared")  # as an ablation keeps them
    assert [each.folder for each in read(tmp_path).runs] == [run]
    with pytest.raises(CleverError, match=f"no run in {tmp_path / 'shared'}; name folders"):
        read(tmp_path / "shared")
    with pytest.raises(CleverError, match=r"no folder .*nowhere; name folders"):
        read(tmp_path, tmp_path / "nowhere")


def test_settings_that_differ(tmp_path: Path) -> None:
    for name, changes in {"a": {"lr": 0.5}, "b": {"lr": 0.25, "workers": 3}}.items():
        write_run(tmp_path / name, pretraining(out=tmp_path / name, **changes))
    write_run(tmp_path / "c", finetuning(lr=0.125, out=tmp_path / "c"))
    runs = read(tmp_path)
    assert (runs.differing("pretrain"), runs.differing("finetune")) == (["lr"], [])
    older = tmp_path / "a/settings.yaml"
    older.write_text(older.read_text().replace("seed: 0\n", ""))
    assert set(read(tmp_path).differing("pretrain")) == {"lr", "seed"}


def test_the_kind_of_settings_of_another_version(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", pretraining())
    path = folder / "settings.yaml"
    path.write_text(path.read_text().replace("seed: 0\n", ""))
    assert summarise_run(folder).kind == "pretrain"
    path.write_text(f"{path.read_text()}future: 1\n")
    run = summarise_run(folder)
    assert (run.kind, run.figures, run.epochs) == ("other", {}, 4)
    (folder / "result.json").write_text(json.dumps(PRETRAINED))
    assert summarise_run(folder).kind == "pretrain"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("settings.yaml", "{", "settings .* are not valid YAML"),
        ("result.json", "{", "result.json is damaged"),
        ("result.json", "[]", "result.json holds no result"),
        ("result.json", '{"job": "pretrain"}', "of another version .KeyError: 'dataset'"),
        ("log.jsonl", "{\n", "log or result is damaged .* .JSONDecodeError"),
        ("log.jsonl", '{"step": 1}\n', "of another version .KeyError: 'epoch'"),
    ],
)
def test_a_damaged_run_costs_no_other(tmp_path: Path, name: str, content: str, reason: str) -> None:
    good = write_run(tmp_path / "good", pretraining(), steps(5))
    bad = write_run(tmp_path / "bad", pretraining(), steps(5))
    (bad / name).write_text(content)
    with pytest.raises(CleverError, match=reason):
        summarise_run(bad)
    runs = read(tmp_path)
    assert [run.folder for run in runs.runs] == [good]
    assert [run.folder for run in runs.bad] == [bad]
    assert str(runs).splitlines()[-1].startswith(f"skipped {bad}: ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs below ``runs`` in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/a"), pretraining(lr=0.5, head="linear"), steps(15))
    write_run(Path("runs/b"), pretraining(lr=0.25, head="mlp"), steps(40), PRETRAINED)
    result = {"job": "finetune", "finished": FINISHED, "evaluation": EVALUATION}
    write_run(Path("runs/c"), finetuning(), [], result)
    return tmp_path


def cells(line: str) -> list[str]:
    return [part.strip() for part in line.strip("|").split("|")]


def test_the_command_prints_a_table_a_kind(folder: Path) -> None:
    shown = CliRunner().invoke(build_app("runs"), ["runs"])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == "pretrain"
    assert cells(lines[2]) == [
        "run", "state", "lr", "head", "loss", "distillation loss", "RankMe", "note"
    ]  # fmt: skip
    assert cells(lines[4]) == [
        "runs/a", "unfinished (step 15 of 40)", "0.5", "linear", "85", "35", "", "[1]"
    ]  # fmt: skip
    assert cells(lines[5]) == [
        "runs/b", "finished 2026-01-02 03:04", "0.25", "mlp", "61.5", "11.5", "12.5", "[2]"
    ]  # fmt: skip
    assert lines[7] == "finetune"
    assert cells(lines[11]) == ["runs/c", "finished 2026-01-02 03:04", "25", "[3]"]
    assert max(map(len, lines)) <= 100
    notes = " ".join(line.strip() for line in lines[13:])
    assert notes == " ".join(
        f"[{number}] {run.protocol}" for number, run in enumerate(read(Path("runs")).runs, 1)
    )
    (folder / "runs/a/result.json").write_text("?")
    assert CliRunner().invoke(build_app("runs"), ["runs", "runs"]).exit_code == 3


def test_notes_are_numbered_as_they_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fine-tuning comes first by name, but its table is the second."""
    monkeypatch.chdir(tmp_path)
    result = {"job": "finetune", "finished": FINISHED, "evaluation": EVALUATION}
    write_run(Path("runs") / "a", finetuning(), [], result)
    write_run(Path("runs") / "b", pretraining(), steps(40), PRETRAINED)
    lines = str(read(Path("runs"))).splitlines()
    rows = [cells(line) for line in lines if line.startswith("| runs")]
    assert [(row[0], row[-1]) for row in rows] == [("runs/b", "[1]"), ("runs/a", "[2]")]
    assert lines[-1] == f"[2] {EVALUATION['protocol']}"


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    """Settings give way to figures, long paths stand below; no line is wider than 100."""
    names = [f"{letter}-{'x' * 60}" for letter in "ab"]
    for number, name in enumerate(names):
        long = {"cache": f"{'y' * 70}{number}", "lr": 0.5 + number, "epochs": 4 + number}
        write_run(tmp_path / name, pretraining(**long), steps(5 + number))
    lines = str(read(tmp_path)).splitlines()
    assert cells(lines[2]) == [
        "run", "state", "lr", "epochs", "loss", "distillation loss", "note"
    ]  # fmt: skip
    assert cells(lines[4]) == ["1", "unfinished (step 5 of 40)", "0.5", "4", "95", "45", "[1]"]
    below = " ".join(line.strip() for line in lines[6:-2]).strip()
    assert below == " ".join(
        f"run {number + 1}: {tmp_path / name}, cache {'y' * 70}{number}"
        for number, name in enumerate(names)
    )
    assert all(len(line) <= 100 for line in lines if str(tmp_path) not in line)


def test_jobs_of_outputs_are_never_unfinished(tmp_path: Path) -> None:
    """The last line of an output counts, and a torn one is passed over."""
    settings = PredictSettings.resolve(
        None, {"checkpoint": "p", "data_root": "d", "out": str(tmp_path / "a")}
    )
    folder = write_run(tmp_path / "a", settings)
    lines = [f'{{"output": "{name}.label", "path": "{name}"}}\n' for name in "aba"]
    (folder / "sources.jsonl").write_text("".join(lines) + '{"output": "c')
    (run,) = read(tmp_path).runs
    assert (run.kind, run.outputs, run.complete, state_words(run)) == (
        "predict", 2, True, "2 outputs"
    )  # fmt: skip


def test_states_of_unfinished_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh, of an older version whose log does not tell the steps, and of no training."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs") / "a", pretraining())
    records = [{name: r[name] for name in r if name != "steps"} for r in steps(7)]
    write_run(Path("runs") / "b", pretraining(), records)
    evaluation = EvaluateSettings.resolve(None, {"checkpoint": "c", "data_root": "d"})
    write_run(Path("runs") / "c", evaluation)
    lines = str(read(Path("runs"))).splitlines()
    states = [cells(line)[1] for line in lines if line.startswith("| runs")]
    assert states == ["unfinished (step 0)", "unfinished (step 7)", "unfinished"]


def test_the_table_has_a_line_a_run(folder: Path) -> None:
    first, second, third = tables.runs(read(Path("runs")))
    assert (first["run"], first["kind"], first["complete"], first["epoch"]) == (
        "runs/a", "pretrain", "no", 2
    )  # fmt: skip
    assert (first["lr"], second["lr"], third["lr"]) == ("0.5", "0.25", None)
    assert (second["head"], second["RankMe"], second["mIoU %"]) == ('"mlp"', 12.5, None)
    assert (third["mIoU %"], third["protocol"]) == (25.0, EVALUATION["protocol"])
    write_run(folder / "runs/d", pretraining(epochs=9))
    assert [row["epochs"] for row in tables.runs(read(Path("runs")))] == [4, 4, None, 9]


def test_the_results_of_today_are_read(
    make_evaluation: Callable[[], SegmentationResult], tmp_path: Path
) -> None:
    settings = EvaluateSettings.resolve(None, {"checkpoint": "c", "data_root": "d"})
    result = make_evaluation()
    write_run(tmp_path / "a", settings, None, json.loads(result.model_dump_json()))
    assert summarise_run(tmp_path / "a").figures == {"mIoU %": 100 * result.miou}


@pytest.fixture
def make_evaluation() -> Callable[[], SegmentationResult]:
    return lambda: SegmentationResult(
        protocol="p",
        mean="all",
        miou=0.3,
        iou={"car": 0.3},
        confusion=[[1]],
        points=1,
        frames=1,
        unlabelled=0,
        bad=[],
    )


def test_a_listing_needs_no_torch() -> None:
    code = "import sys, clever.pipeline.list_runs; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "False\n", process.stderr
