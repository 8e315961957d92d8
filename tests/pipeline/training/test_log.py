"""The log of a run for TensorBoard: hyper-parameters, and the mIoU that it ended with."""

import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.shared.base import save_settings
from clever.pipeline.training import log
from clever.pipeline.training.log import METRICS, TrainingLog, log_evaluation, read_log

SETTINGS = {"cache": "a.zarr", "lr": 0.25, "epochs": 7, "head": "linear", "recompute": True}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder after two steps, of which the second is taken back, and one more."""
    save_settings(PretrainSettings.resolve(None, {**SETTINGS, "teacher": "vits"}), tmp_path)
    with TrainingLog(tmp_path, 0) as log:
        log.write({"step": 1, "epoch": 1, "loss": 4.0})
        log.write({"step": 2, "epoch": 1, "loss": 9.0})
    with TrainingLog(tmp_path, 1) as log:
        log.write({"step": 2, "epoch": 1, "loss": 3.0})
    return tmp_path


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def plugin_data(events: EventAccumulator, name: str) -> Any:
    content = events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content
    return vars(plugin_data_pb2)["HParamsPluginData"].FromString(content)


def test_recorded_settings_are_hyper_parameters(run: Path) -> None:
    events = read(run)
    start = plugin_data(events, "session_start_info").session_start_info
    values = {
        name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()
    }
    assert values.keys() == PretrainSettings.model_fields.keys()
    assert (values["lr"], values["epochs"], values["head"]) == (0.25, 7, "linear")
    assert (values["recompute"], values["teacher"], values["scenes"]) == (True, '["vits"]', "null")
    experiment = plugin_data(events, "experiment").experiment
    assert {info.name.tag for info in experiment.metric_infos} == set(METRICS)
    assert {info.name for info in experiment.hparam_infos} == values.keys()


def test_they_make_no_run_of_their_own_and_take_no_number_away(run: Path) -> None:
    assert all(path.is_file() for path in (run / "tensorboard").iterdir())
    events = read(run)
    assert set(events.Tags()["scalars"]) == {"loss", "epoch"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 4), (2, 3)]


def test_the_evaluation_is_a_number_after_the_last_step(run: Path) -> None:
    log_evaluation(run, 2, 0.375)
    events = read(run)
    assert [(event.step, event.value) for event in events.Scalars("miou")] == [(2, 0.375)]
    assert [event.value for event in events.Scalars("loss")] == [4, 3]
    assert [record["loss"] for record in read_log(run)] == [4, 3]


@pytest.mark.parametrize("ahead", [0, 3600])
def test_a_new_event_file_comes_after_the_others(
    run: Path, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after one of the same second whose name comes later; not where a clock is ahead."""
    monkeypatch.setattr(log, "LONGEST_WAIT", 0.3 if ahead else 30.0)
    place = run / "tensorboard"
    rival = f"events.out.tfevents.{int(time.time()) + ahead:010d}.~.1.9"
    max(place.iterdir()).rename(place / rival)  # it takes back step 2 of what is read before it
    log_evaluation(run, 2, 0.375)
    names = sorted(path.name for path in place.iterdir())
    assert len(names) == 3
    assert (names[-1] == rival) == bool(ahead)
    if not ahead:
        assert [event.value for event in read(run).Scalars("miou")] == [0.375]


def test_without_settings_there_are_no_hyper_parameters(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0) as log:
        log.write({"step": 1, "loss": 1.0})
    assert not read(tmp_path).Tags()["tensors"]


def test_a_loss_that_few_steps_have_is_not_left_out() -> None:
    records: list[log.Scalars] = [{"loss": float(step), "step": step} for step in range(20)]
    for step, value in ((5, 1.0), (6, 3.0), (9, 4.0), (12, 8.0)):
        records[step]["b/distillation"] = value
    losses = log.first_and_last(records)
    assert (losses.window, losses.first["loss"], losses.last["loss"]) == (2, 0.5, 18.5)
    assert (losses.first["b/distillation"], losses.last["b/distillation"]) == (2.0, 6.0)
    text = "loss 0.5000 -> 18.5000, b/distillation 2.0000 -> 6.0000"
    assert str(losses) == f"{text} (means over the first and the last 2 steps)"
    older = log.Losses({"loss": 1.0, "a": 2.0}, {"loss": 0.5, "b": 1.0}, 1)
    assert str(older) == "loss 1.0000 -> 0.5000 (the first and the last step)"
