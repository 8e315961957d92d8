"""Probe and full fine-tuning on clouds in memory whose class is the height."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clever.errors import CleverError, FrameError
from clever.pipeline.datasets import IGNORE, LidarDataset
from clever.pipeline.evaluate import evaluate
from clever.pipeline.finetune import finetune
from clever.pipeline.finetuning.plan import FinetunePlan
from clever.pipeline.results.published import published
from clever.pipeline.results.run_folder import newest_run
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.shared.choices import ClassMean
from clever.pipeline.settings.shared.dataset import DatasetPart
from clever.pipeline.settings.shared.recipes import finetune_recipe
from clever.pipeline.steps import segmentation
from clever.pipeline.steps.labelled import LabelledFrames, collate_labelled
from clever.pipeline.steps.segmentation import SegmentationStep
from clever.pipeline.training.seeds import seeded
from clever.pipeline.training.starting_student import starting_student
from clever.student.checkpoint import save_student
from clever.student.choices import SegmentationLoss
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe, lovasz_softmax
from clever.student.segmenter import Segmenter

TRAIN = tuple(f"{scene:02}/{number:06}" for scene in range(2) for number in range(3))
VAL = ("08/000000", "08/000001")
MakeLabelled = Callable[..., LidarDataset]


@pytest.fixture
def datasets(
    make_labelled: MakeLabelled, monkeypatch: pytest.MonkeyPatch
) -> dict[str, LidarDataset]:
    """What the jobs open as train and val split; a test may put others in."""
    parts = {"train": make_labelled(TRAIN), "val": make_labelled(VAL, seed=1)}

    def open_part(settings: DatasetPart, name: str) -> LidarDataset:
        return parts[settings.split]

    monkeypatch.setattr("clever.pipeline.finetuning.frames.open_dataset", open_part)
    monkeypatch.setattr("clever.pipeline.evaluate.open_dataset", open_part)
    return parts


def settings(out: Path | None, **changes: Any) -> FinetuneSettings:
    values = {
        "checkpoint": "none",
        "student": "minkunet-tiny",
        "voxel_size": 0.5,
        "dataset": "semantickitti",
    }
    values |= {"recipe": "paper" if changes.get("mode") == "full" else "scalr"}
    values |= {"epochs": 3, "batch_size": 4, "device": "cpu", "out": out, **changes}
    return FinetuneSettings.resolve(None, values)


def fresh_student(seed: int = 0) -> dict[str, torch.Tensor]:
    with seeded(seed, "student"):
        return build_student("minkunet-tiny", 0.5).state_dict()


def bits(folder: Path) -> list[bytes]:
    return [
        (folder / name).read_bytes() for name in ("student.safetensors", "classifier.safetensors")
    ]


def losses(folder: Path) -> list[float]:
    records = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if "loss" in record]


def test_a_probe_trains_its_layer_and_leaves_the_student_untouched(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    result = finetune(settings(tmp_path / "run", epochs=20, lr=0.05))
    final, fresh = load_file(tmp_path / "run/student.safetensors"), fresh_student()
    assert final.keys() == fresh.keys()
    assert all(torch.equal(final[name], fresh[name]) for name in fresh)
    low = (tmp_path / "run/confusion.csv").read_text().splitlines()[1]
    assert low == ",".join(["low", *map(str, result.evaluation.confusion[0])])
    assert (tmp_path / "run/confusion.png").stat().st_size > 10_000
    assert result.losses.last["loss"] < 0.8 * result.losses.first["loss"]
    assert result.evaluation.protocol == (
        "linear probe, semantickitti train 00 01 (6 scans) -> val 08 (2 scans), minkunet-tiny at "
        "0.5 m, 100 % by frames (6 of 6 labelled), "
        "recipe scalr, 20 epochs, batch 4, lr 0.05, batch norm + linear, ce+lovasz, "
        "no augmentation, seed 0, random initialisation, no TTA, all points, "
        "mean over the classes that occur in labels or predictions"
    )


def test_full_fine_tuning_learns_the_height_and_changes_the_student(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    result = finetune(settings(tmp_path / "run", mode="full", epochs=20, lr=0.01, augment=False))
    assert result.evaluation.miou > 0.7
    final, fresh = load_file(tmp_path / "run/student.safetensors"), fresh_student()
    floating = [name for name in fresh if fresh[name].is_floating_point()]
    assert not any(torch.equal(final[name], fresh[name]) for name in floating)


def test_evaluate_reads_the_checkpoint_and_finds_the_same(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    result = finetune(settings(tmp_path / "run", lr=0.05))
    again = evaluate(
        EvaluateSettings.resolve(None, {"checkpoint": tmp_path / "run", "device": "cpu"})
    )
    assert again == result.evaluation


def test_evaluate_takes_the_mean_of_the_run(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    values = {"checkpoint": tmp_path / "run", "device": "cpu"}
    result = finetune(settings(tmp_path / "run", epochs=1, mean="all"))
    again = evaluate(EvaluateSettings.resolve(None, values))
    assert again == result.evaluation
    assert again.mean == "all"
    present = evaluate(EvaluateSettings.resolve(None, {**values, "mean": "present"}))
    total = sum(iou or 0 for iou in again.iou.values())
    assert again.miou == pytest.approx(total / 4)
    assert present.miou == pytest.approx(total / len(again.present))
    # Weights without the settings of their run are measured as their dataset's benchmark does it.
    (tmp_path / "run/settings.yaml").unlink()
    plain = evaluate(EvaluateSettings.resolve(None, {**values, "out": tmp_path / "plain"}))
    assert plain.mean == "present"


@pytest.mark.parametrize("changes", [{}, {"augment": True}, {"mode": "full", "loss": "ce"}])
def test_stopped_and_taken_up_again_equals_uninterrupted(
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    forward, steps = SegmentationStep.forward, 0

    def interrupted(step: SegmentationStep, batch: Any, totals: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return forward(step, batch, totals)

    monkeypatch.setattr(SegmentationStep, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finetune(settings(tmp_path / "stopped", **changes))
    monkeypatch.setattr(SegmentationStep, "forward", forward)
    stopped, whole = (
        finetune(settings(tmp_path / name, **changes)) for name in ("stopped", "whole")
    )
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    assert stopped.evaluation == whole.evaluation


def test_remembered_features_are_those_computed_anew(
    datasets: dict[str, LidarDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(settings(tmp_path / "kept"))
    monkeypatch.setattr(segmentation, "FEATURE_BYTES", 0)
    finetune(settings(tmp_path / "anew"))
    assert losses(tmp_path / "kept") == losses(tmp_path / "anew")


@pytest.mark.parametrize("loss", ["ce", "ce+lovasz"])
def test_ignored_points_take_no_part_in_the_loss(
    datasets: dict[str, LidarDataset], loss: SegmentationLoss
) -> None:
    student = build_student("minkunet-tiny", 0.5)
    segmenter = Segmenter(student, LinearProbe(student.out_channels, 4))
    step = SegmentationStep(segmenter, frozen=True, loss=loss, augmentation=None, mix3d=0).train()
    batch = collate_labelled(
        [LabelledFrames(datasets["train"], [0, 1, 2])[number, 0] for number in range(3)]
    )
    labelled = batch.labels != IGNORE
    logits, labels = segmenter.eval()(batch.points)[labelled], batch.labels[labelled]
    expected = torch.nn.functional.cross_entropy(logits, labels)
    if loss == "ce+lovasz":
        expected = expected + lovasz_softmax(logits.softmax(1), labels)
    torch.testing.assert_close(step(batch, {"frames": torch.tensor(3.0)})["loss"], expected)
    torch.testing.assert_close(step(batch, {"frames": torch.tensor(6.0)})["loss"], expected / 2)


@pytest.mark.parametrize("mode", ["probe", "full"])
def test_a_scan_of_one_point_is_left_out_by_name(
    datasets: dict[str, LidarDataset], tmp_path: Path, mode: str
) -> None:
    train: Any = datasets["train"]
    for name, rows in ((TRAIN[0], 1), (TRAIN[1], 2)):
        train.clouds[name] = train.clouds[name][1 : 1 + rows] * [0.1, 0.1, 0.1, 1]
        train.truth[name] = train.truth[name][1 : 1 + rows]
    train.clouds[TRAIN[2]][5, 1] = 40_000
    result = finetune(settings(tmp_path / "run", mode=mode, epochs=1, batch_size=2))
    reasons = {frame.id: frame.reason for frame in result.bad}
    assert list(reasons) == list(TRAIN[:3])
    assert "its only point spans 0 m" in reasons[TRAIN[0]]
    assert "its 2 points span 0." in reasons[TRAIN[1]]
    assert "point 5, at 40000 m" in reasons[TRAIN[2]]


def test_the_folder_keeps_what_the_settings_left_open(
    datasets: dict[str, LidarDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was decided is written down, and the same command takes the run up again."""
    job = settings(tmp_path / "run", mode="full", epochs=1)
    result = finetune(job)
    assert f"{tmp_path / 'run'}: 6 frames, 2 steps of 4, cpu\n" in capsys.readouterr().err
    record = FinetuneSettings.resolve(tmp_path / "run/settings.yaml", {})
    decided = {"lr": 1e-3, "batch_norm": False, "augment": True, "mix3d": 0.8, "loss": "ce"}
    assert record == job.decided(**decided, mean="present")
    assert finetune(job) == result
    assert "is finished already; nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("student", "mode", "recipe", "expected"),
    [
        ("ptv3-tiny", "probe", "paper", (50, False, True, 0.8, "ce+lovasz", 2e-3)),
        ("minkunet-tiny", "probe", "paper", (50, False, True, 0.8, "ce+lovasz", 1e-3)),
        ("ptv3-tiny", "full", "paper", (100, False, True, 0.8, "ce+lovasz", 2e-3)),
        ("minkunet-tiny", "full", "paper", (100, False, True, 0.8, "ce", 1e-3)),
        ("ptv3-tiny", "probe", "scalr", (20, True, False, 0.0, "ce+lovasz", 1e-3)),
    ],
)
def test_a_recipe_decides_what_is_left_open(
    tmp_path: Path, student: str, mode: str, recipe: str, expected: tuple[object, ...]
) -> None:
    start = starting_student("none", student, 0.5, 0)

    def decided(**changes: Any) -> tuple[tuple[object, ...], ClassMean]:
        job = settings(tmp_path, mode=mode, recipe=recipe, **{"epochs": None} | changes)
        record = FinetunePlan.of(job, start, "all").record(job)
        names = ("epochs", "batch_norm", "augment", "mix3d", "loss", "lr")
        assert record.mean is not None
        return tuple(getattr(record, name) for name in names), record.mean

    assert decided() == (expected, "all")
    overrides = {
        "epochs": 3,
        "batch_norm": not expected[1],
        "augment": not expected[2],
        "mix3d": 0.0 if expected[2] else 0.5,  # without augmentation there is none
    }
    overrides |= {"loss": "ce", "lr": 0.1, "mean": "present"}
    assert decided(**overrides) == (
        (3, not expected[1], not expected[2], overrides["mix3d"], "ce", 0.1), "present"
    )  # fmt: skip
    # A frame alone has no other to be mixed with.
    assert decided(batch_size=1)[0][3] == 0.0
    assert decided(batch_size=2)[0][3] == expected[3]


def test_a_recipe_of_probes_alone(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match="`recipe=scalr` has nothing for `mode=full`"):
        finetune_recipe("scalr", "full")
    with pytest.raises(CleverError, match="`keep=best` needs measurements"):
        finetune(settings(tmp_path, keep="best", val_every=0))


def validations(folder: Path) -> dict[int, float]:
    records = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return {record["epoch"]: record["val_miou"] for record in records if "val_miou" in record}


def test_the_validation_part_is_measured_on_the_way_and_changes_nothing(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    changes = {"mode": "full", "epochs": 5, "lr": 0.01, "save_every": 1}
    plain = finetune(settings(tmp_path / "plain", val_every=0, **changes))
    watched = finetune(settings(tmp_path / "watched", val_every=2, **changes))
    assert validations(tmp_path / "plain") == {}
    assert list(validations(tmp_path / "watched")) == [2, 4, 5]
    assert validations(tmp_path / "watched")[5] == watched.evaluation.miou
    assert bits(tmp_path / "plain") == bits(tmp_path / "watched")
    assert plain.evaluation == watched.evaluation


def test_the_best_weights_are_kept_when_asked_and_the_protocol_says_so(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    changes = {"mode": "full", "epochs": 6, "lr": 0.3, "val_every": 1, "seed": 1}
    result = finetune(settings(tmp_path / "best", keep="best", **changes))
    measured = validations(tmp_path / "best")
    best = max(measured, key=lambda epoch: (measured[epoch], -epoch))
    assert measured[best] > measured[6]  # or the test shows nothing
    assert result.evaluation.miou == measured[best]
    note = f"weights of epoch {best}, selected by mIoU on the validation part"
    assert note in result.evaluation.protocol
    again = evaluate(
        EvaluateSettings.resolve(
            None, {"checkpoint": tmp_path / "best", "data_root": tmp_path, "device": "cpu"}
        )
    )
    assert again.confusion == result.evaluation.confusion
    assert note in again.protocol


def test_frames_that_cannot_be_measured_show_in_the_protocol(
    make_labelled: MakeLabelled, datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    datasets["train"] = make_labelled(TRAIN, broken=(TRAIN[1],))
    datasets["val"] = make_labelled(VAL, seed=1, broken=(VAL[0],))
    result = finetune(settings(tmp_path / "run", epochs=1))
    assert "(5 of 6 scans) -> val 08 (1 of 2 scans)" in result.evaluation.protocol


@pytest.mark.parametrize("keep", ["last", "best"])
def test_restored_frames_are_measured_by_the_same_command(
    make_labelled: MakeLabelled,
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keep: str,
) -> None:
    names = (*VAL, "08/000002")
    datasets["val"] = make_labelled(names, seed=1, broken=names[:2])
    job = settings(tmp_path / "run", epochs=2, val_every=1, keep=keep)
    first = finetune(job)
    weights = bits(tmp_path / "run")
    assert finetune(job) == first
    assert "is finished already; nothing to do" in capsys.readouterr().err
    datasets["val"] = make_labelled(names, seed=1, broken=names[:1])
    second = finetune(job)
    line = f"{tmp_path / 'run'} is finished; 1 frame skipped before can be read now: measured again"
    assert line in capsys.readouterr().err.splitlines()
    assert [frame.id for frame in second.evaluation.bad] == [names[0]]
    datasets["val"] = make_labelled(names, seed=1)
    third = finetune(job)
    assert finetune(job) == third
    assert bits(tmp_path / "run") == weights
    assert (third.evaluation.frames, third.evaluation.bad) == (3, [])
    again = evaluate(
        EvaluateSettings.resolve(None, {"checkpoint": tmp_path / "run", "device": "cpu"})
    )
    assert again == third.evaluation
    rows = (tmp_path / "run/confusion.csv").read_text().splitlines()[1:]
    assert [list(map(int, row.split(",")[1:])) for row in rows] == again.confusion
    assert third == first.model_copy(update={"evaluation": again})


def test_the_same_seed_starts_both_rows_alike(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    """A checkpoint that holds the random weights of seed 0 gives the row of ``--checkpoint none``,
    to the bit."""
    with seeded(0, "student"):
        student = build_student("minkunet-tiny", 0.5)
    save_student(tmp_path / "pretrained", student, {"origin": "nothing"})
    values = {"checkpoint": tmp_path / "pretrained", "student": None, "voxel_size": None}
    loaded = finetune(settings(tmp_path / "a", **values))
    random = finetune(settings(tmp_path / "b"))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert loaded.evaluation.confusion == random.evaluation.confusion
    assert loaded.training.initialisation == "from pretrained (nothing)"
    with pytest.raises(
        CleverError, match=r"is a minkunet-tiny with voxels of 0.5 m; leave `student`"
    ):
        finetune(settings(tmp_path / "c", checkpoint=tmp_path / "pretrained", student="minkunet34"))


def test_bad_training_frames_are_named_and_left_out(
    make_labelled: MakeLabelled,
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    datasets["train"] = make_labelled(TRAIN, broken=(TRAIN[1],), unlabelled=(TRAIN[4],))
    datasets["train"].labels(2)[:] = IGNORE
    result = finetune(settings(tmp_path / "run", epochs=1))
    assert [frame.id for frame in result.bad] == [TRAIN[1], TRAIN[2]]
    assert f"skipped frame {TRAIN[2]}: no point has a training label" in capsys.readouterr().err
    assert "(3 of 5 scans)" in result.training.frames


def test_another_run_takes_the_frames_of_a_run(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    """The ids lie beside the run; with them another one trains on the same frames in the same
    order."""
    third = finetune(settings(tmp_path / "third", fraction=1 / 3, seed=3))
    ids = (tmp_path / "third/train_frames.txt").read_text()
    assert ids == "".join(f"{name}\n" for name in (TRAIN[1], TRAIN[4]))
    (tmp_path / "ids.txt").write_text("\n".join(reversed(ids.splitlines())) + "\n\n")
    values = {"frames_file": tmp_path / "ids.txt", "seed": 3}
    result = finetune(settings(tmp_path / "listed", **values))
    assert losses(tmp_path / "listed") == losses(tmp_path / "third")
    assert (tmp_path / "listed/train_frames.txt").read_text() == ids
    assert "(2 scans) -> " in result.evaluation.protocol
    # Three passes over two frames are six draws, in two steps of four.
    assert ", 4.0 epochs (3 asked for, but a step draws more), " in result.evaluation.protocol
    assert ", frames of ids.txt (2 of 6 labelled), " in result.evaluation.protocol
    assert ", 33.3333 % by frames (2 of 6 labelled), " in third.evaluation.protocol
    (tmp_path / "ids.txt").write_text(f"{TRAIN[0]}\n")
    with pytest.raises(CleverError, match="read other training frames than now"):
        finetune(settings(tmp_path / "listed", **values))
    (tmp_path / "ids.txt").write_text(f"{TRAIN[0]}\n{VAL[0]}\n09/000000\n")
    with pytest.raises(
        CleverError,
        match=rf"2 of the 3 frames of .*ids\.txt are not among the 6 labelled frames of "
        rf"semantickitti train, e\.g\. {VAL[0]}; choose",
    ):
        finetune(settings(tmp_path / "other", **values))
    for conflict in ({"fraction": 0.1}, {"sampler": "scenes"}):
        with pytest.raises(CleverError, match=f"leave `{next(iter(conflict))}` out"):
            finetune(settings(tmp_path / "other", **values, **conflict))


def test_training_frames_are_not_measured_on(
    make_labelled: MakeLabelled, datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    datasets["val"] = make_labelled((*VAL, TRAIN[0]))
    with pytest.raises(
        CleverError,
        match=f"1 frame in both the training and the validation part, e.g. {TRAIN[0]}",
    ):
        finetune(settings(tmp_path / "run"))
    datasets["val"] = make_labelled(VAL, unlabelled=VAL)
    with pytest.raises(CleverError, match="none of the 2 frames of semantickitti val has labels"):
        finetune(settings(tmp_path / "run"))


def test_the_newest_finished_pretraining_is_found(tmp_path: Path) -> None:
    for name, kind, finished in (
        ("a", "pretrain", "2024-02"),
        ("b", "pretrain", "2024-01"),
        ("c", "finetune", "2025"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(
            json.dumps({"job": kind, "finished": finished})
        )
    (tmp_path / "unfinished").mkdir()
    assert newest_run("pretrain", tmp_path) == tmp_path / "a"
    with pytest.raises(CleverError, match="no finished evaluate run"):
        newest_run("evaluate", tmp_path)


def test_the_same_command_again_finds_the_finished_run(
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {"out": None, "epochs": 1, "data_root": tmp_path}
    first = finetune(settings(**values))
    weights = first.out / "classifier.safetensors"
    written = weights.stat().st_mtime_ns
    assert finetune(settings(**values)) == first
    assert weights.stat().st_mtime_ns == written
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        f"{first.out} has the same settings and data; `new=yes` begins another run",
        f"{first.out} is finished already; nothing to do",
    ]
    # Another seed, other data whose frames have the same names, and a run that is to be another.
    (tmp_path / "elsewhere").mkdir()
    others = {
        "seed": {**values, "seed": 1},
        "data": {**values, "data_root": tmp_path / "elsewhere"},
        "new": {**values, "new": True},
    }
    for name, changed in others.items():
        folder = tmp_path / "runs" / name
        monkeypatch.setattr(
            "clever.pipeline.results.run_folder.default_folder", lambda _, place=folder: place
        )
        assert finetune(settings(**changed)).out == folder


def test_published_figures_stand_beside_their_own_protocol_only() -> None:
    assert published("nuscenes", "probe", 1.0)["MLP head + occupancy"] == 49.81
    assert published("semantickitti", "full", 0.01)["linear head"] == 44.42
    assert published("semantickitti", "probe", 1.0) == {}


def test_the_paper_stands_beside_what_is_measured_as_there_and_says_what_differs(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    """SemanticKITTI with 1 % is in the paper; three frames and a small student are not."""
    number = iter(range(9))

    def paper_line(**changes: Any) -> str:
        values = {"mode": "full", "fraction": 0.01, "epochs": 1, **changes}
        result = finetune(settings(tmp_path / f"{next(number)}", **values))
        lines = [line for line in str(result).splitlines() if line.startswith("the paper,")]
        return lines[0].partition("; ")[2] if lines else ""

    small = "here minkunet-tiny, voxel_size 0.5, epochs 1"
    assert paper_line() == f"{small}, batch_size 4"
    assert paper_line(batch_size=16, lr=7, mix3d=0.5) == f"{small}, mix3d 0.5, lr 7.0"
    for other in ({"keep": "best"}, {"mean": "all"}, {"sampler": "every-nth"}):
        assert paper_line(**other) == ""
    assert paper_line(mean="present") == f"{small}, batch_size 4"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["probe", "full"])
def test_a_finished_run_is_prolonged_by_one_more_cycle(
    datasets: dict[str, LidarDataset], tmp_path: Path, mode: str
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for out in (first, second):
        finetune(settings(out, mode=mode, epochs=2))
    before = bits(first)
    for out in (first, second):
        result = finetune(settings(out, mode=mode, epochs=4))
        assert len(losses(out)) == result.steps == 6
        assert ", 4 epochs (2 + 2, a cycle each), batch 4," in result.evaluation.protocol
    assert bits(first) == bits(second) != before
    assert losses(first) == losses(second)
    assert (bits(first)[0] == before[0]) == (mode == "probe")


def test_a_run_that_kept_its_best_weights_cannot_be_prolonged(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    """The last ones, from which to go on, are gone."""
    changes = {"mode": "full", "keep": "best", "val_every": 1}
    first = finetune(settings(tmp_path / "run", epochs=2, **changes))
    with pytest.raises(CleverError, match="run kept its best weights, not its last ones, so it"):
        finetune(settings(tmp_path / "run", epochs=4, **changes))
    assert finetune(settings(tmp_path / "run", epochs=2, **changes)) == first


def test_mix3d_without_augmentation_is_refused_or_nothing(
    datasets: dict[str, LidarDataset], tmp_path: Path
) -> None:
    """What a run records is what it does."""
    changes = {"recipe": "paper", "epochs": 1, "augment": False}
    line = r"`mix3d=0\.5` mixes augmented frames alone; leave it out or give `augment=yes`"
    for recipe in ("paper", "scalr"):
        with pytest.raises(CleverError, match=line):
            finetune(settings(tmp_path / "refused", **{**changes, "recipe": recipe, "mix3d": 0.5}))
    finetune(settings(tmp_path / "run", **changes))
    recorded = FinetuneSettings.resolve(tmp_path / "run/settings.yaml", {})
    assert (recorded.augment, recorded.mix3d) == (False, 0)
    assert finetune(settings(tmp_path / "run", **changes, mix3d=0)).steps == 2


def test_labels_that_cannot_be_read_show_before_the_first_step(
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels, damaged = datasets["val"].labels, {1}

    def read(index: int) -> Any:
        if index in damaged:
            raise FrameError(VAL[index], f"{index}.label does not exist")
        return labels(index)

    monkeypatch.setattr(datasets["val"], "labels", read)
    result = finetune(settings(tmp_path / "run", epochs=1))
    told, _, training = capsys.readouterr().err.partition("2 steps of 4")
    line = "val: the labels of 1 of 2 frames to measure on cannot be read; the first: frame "
    assert f"{line}08/000001: 1.label does not exist\n" in told
    assert "skipped frame 08/000001: 1.label does not exist" in training
    assert "-> val 08 (1 of 2 scans)" in result.evaluation.protocol
    damaged.add(0)
    with pytest.raises(CleverError, match="labels of 2 of 2 frames to measure on cannot be read"):
        finetune(settings(tmp_path / "none", epochs=1))
    assert not (tmp_path / "none/log.jsonl").exists()


def test_the_dataset_is_that_of_the_pretraining(
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without one: the student's, else nuScenes; a given one wins. A line says which was taken."""
    opened: list[str] = []

    def open_part(part: DatasetPart, name: str) -> LidarDataset:
        opened.append(name)
        return datasets[part.split]

    monkeypatch.setattr("clever.pipeline.finetuning.frames.open_dataset", open_part)
    with seeded(1, "student"):
        student = build_student("minkunet-tiny", 0.5)
    for name, origin in (("kitti", "kitti"), ("fresh", ""), ("gone", "gone")):
        save_student(tmp_path / name, student, {"dataset": origin} if origin else {})

    def run(name: str, checkpoint: str, **changes: Any) -> tuple[set[str], str]:
        opened.clear()
        fresh = {"student": None, "voxel_size": None, "dataset": None, "epochs": 1}
        finetune(settings(tmp_path / name, checkpoint=tmp_path / checkpoint, **fresh | changes))
        return set(opened), capsys.readouterr().err

    taken, words = run("a", "kitti")
    assert taken == {"kitti"}
    assert "`dataset=kitti`, that of the pre-training\n" in words
    assert "dataset: kitti\n" in (tmp_path / "a/settings.yaml").read_text()
    taken, words = run("b", "fresh")
    assert taken == {"nuscenes"}
    assert "`dataset=nuscenes`, unless told otherwise\n" in words
    taken, words = run("c", "gone", dataset="semantickitti")
    assert taken == {"semantickitti"}
    assert "`dataset=" not in words
    with pytest.raises(CleverError, match="was pre-trained on it, but dataset 'gone': unknown"):
        run("d", "gone")


def test_a_sampler_of_scenes_that_takes_all_says_so(
    make_labelled: MakeLabelled,
    datasets: dict[str, LidarDataset],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A tenth of one scene is that scene."""
    datasets["train"] = make_labelled(TRAIN[:3])
    values = {"epochs": 1, "fraction": 0.1, "sampler": "scenes"}
    assert "(3 of 3 labelled)" in finetune(settings(tmp_path / "a", **values)).training.details
    words = "`sampler=scenes` takes all 3 labelled frames, not 10 %: they are of 1 scene;"
    assert words in capsys.readouterr().err
    finetune(settings(tmp_path / "b", **{**values, "sampler": "frames"}))
    assert "labelled frames, not" not in capsys.readouterr().err
