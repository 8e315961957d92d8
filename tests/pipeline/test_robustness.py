"""The robustness table: what is measured, kept, scored and shown."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clever.cache.store.files.lock import writer_lock
from clever.cli.output import json_text, table_text
from clever.cli.printers import print_robustness
from clever.cli.tables import robustness as robustness_table
from clever.errors import CleverError
from clever.pipeline import robustness as module
from clever.pipeline.corrupt import corrupt_dataset
from clever.pipeline.corrupted.scores import BASELINES
from clever.pipeline.corruptions.registry import CORRUPTIONS, SEVERITIES
from clever.pipeline.datasets.semantickitti import SemanticKittiDataset
from clever.pipeline.evaluate import evaluate
from clever.pipeline.report import report
from clever.pipeline.robustness import RobustnessResult, robustness
from clever.pipeline.settings.corrupt import CorruptSettings
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.report import ReportSettings
from clever.pipeline.settings.robustness import RobustnessSettings
from clever.pipeline.settings.shared.base import save_settings
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import Segmenter, Training

TRAINING = Training(
    dataset="semantickitti",
    version=None,
    class_names=SemanticKittiDataset.class_names,
    batch_norm=False,
    head="linear probe",
    initialisation="random initialisation",
    frames="train 00 (3 scans)",
    scenes=("00",),
    details="50 epochs",
)


def save_run(folder: Path, seed: int, training: Training = TRAINING) -> Path:
    torch.manual_seed(seed)
    student = build_student("minkunet-tiny", 0.5)
    classes = len(training.class_names)
    Segmenter(student, LinearProbe(student.out_channels, classes)).save(folder, training)
    return folder


@pytest.fixture
def setup(write_kitti: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    """Two untrained runs and two labelled frames."""
    root = write_kitti({"08": 2}, points=1500, images=False)
    runs = [save_run(tmp_path / name, seed) for seed, name in enumerate(("first", "second"))]
    return {"runs": [str(run) for run in runs], "root": root, "out": tmp_path / "table"}


def measured(setup: dict[str, Any], **values: Any) -> RobustnessResult:
    flags = {
        "checkpoint": setup["runs"][0],
        "data_root": setup["root"],
        "out": setup["out"],
        "device": "cpu",
        **values,
    }
    return robustness(RobustnessSettings.resolve(None, flags))


@pytest.mark.slow
def test_the_whole_table(setup: dict[str, Any]) -> None:
    result = measured(setup)
    (row,) = result.rows
    assert len(row.measurements) == 1 + 8 * 3
    clean = evaluate(
        EvaluateSettings.resolve(
            None,
            {"checkpoint": setup["runs"][0], "data_root": setup["root"], "device": "cpu"},
        )
    )
    assert row.miou(None, None) == pytest.approx(100 * clean.miou)
    assert row.measurements[0].protocol == f"{clean.protocol}, clean frames"
    scores = row.scores(result.baseline)
    base = BASELINES["semantickitti-c"]
    assert result.baseline == base
    errors, rates = [], []
    for name in CORRUPTIONS:
        levels = [row.miou(name, severity) for severity in SEVERITIES]
        assert None not in levels
        total = sum(level for level in levels if level is not None)
        errors.append((300 - total) / (3 * (100 - base.miou[name])))
        rates.append(total / (3 * 100 * clean.miou))
    assert scores.mce == pytest.approx(100 * sum(errors) / 8)
    assert scores.mrr == pytest.approx(100 * sum(rates) / 8)
    text = str(result)
    lines = text.splitlines()
    columns = [word.strip() for word in lines[0].split("|")[1:-1]]
    assert columns == [
        "checkpoint", "mCE", "mRR", "fog", "wet_ground", "snow", "motion_blur", "beam_missing",
        "crosstalk", "incomplete_echo", "cross_sensor", "mean", "clean",
    ]  # fmt: skip
    cells = [word.strip() for word in lines[2].split("|")[1:-1]]
    assert cells[1:3] == [f"{scores.mce:.2f}", f"{scores.mrr:.2f}"]
    assert cells[-1] == f"{100 * clean.miou:.2f}"
    assert "inserted points are ignored" in text
    assert "as of semantickitti, seed 0" in text
    assert "snow: the sensor's file of focal distances" in text
    assert (setup["out"] / "table.md").read_text() == f"{text}\n"
    stored = json.loads((setup["out"] / "robustness.json").read_text())
    assert RobustnessResult.model_validate(stored) == result
    fog = next(entry for entry in row.measurements if entry.corruption == "fog")
    assert fog.protocol.endswith("fog light (beta 0.008), seed 0")


def test_what_is_measured_stays_measured(
    setup: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    measure = module.measure_segmenter

    def counted(segmenter: Any, training: Any, frames: Any, *rest: Any) -> Any:
        calls.append(type(frames).__name__)
        return measure(segmenter, training, frames, *rest)

    monkeypatch.setattr(module, "measure_segmenter", counted)
    few = {"corruptions": "fog,crosstalk", "severities": "heavy"}
    first = measured(setup, **few)
    assert calls == ["SemanticKittiDataset", "CorruptedFrames", "CorruptedFrames"]
    assert measured(setup, **few) == first
    assert len(calls) == 3
    second = measured(setup, **few, checkpoint=",".join(setup["runs"]))
    assert len(calls) == 6
    assert second.rows[0] == first.rows[0]
    assert second.rows[1].digest != first.rows[0].digest
    assert [row.checkpoint for row in second.rows] == setup["runs"]
    # Another seed or strength measures what depends on it anew, and clean frames not at all.
    measured(setup, **few, seed=1)
    assert len(calls) == 8
    measured(setup, **few, strength="fog.beta=1,1,1")
    assert len(calls) == 9
    measured(setup, **few, limit=1)
    assert len(calls) == 12
    measured(setup, **few, mean="present")
    assert len(calls) == 15
    file = next((setup["out"] / "measured").glob("*-fog-heavy-*.json"))
    file.write_text("{")
    for name in (few, {**few, "seed": 1}, {**few, "limit": 1}):
        measured(setup, **name)
    measured(setup, **few, mean="present")
    measured(setup, **few, strength="fog.beta=1,1,1")
    measured(setup, **few, checkpoint=setup["runs"][1])
    assert len(calls) == 16, "one damaged file is measured again"
    # The same weights elsewhere are known.
    moved = Path(setup["runs"][0]).rename(Path(setup["runs"][0]).with_name("moved"))
    assert measured(setup, **few, checkpoint=str(moved)).rows[0].digest == first.rows[0].digest
    assert len(calls) == 16


def test_means_over_other_classes_are_named(
    setup: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under fog two classes fewer occur; the second checkpoint's classes are always the same."""
    measure = module.measure_segmenter
    seen: list[str] = []

    def thinned(segmenter: Any, training: Any, frames: Any, *rest: Any) -> Any:
        result = measure(segmenter, training, frames, *rest)
        seen.append(type(frames).__name__)
        number = 17 if seen[:2] == ["SemanticKittiDataset", "CorruptedFrames"] == seen else 19
        iou = {name: 0.1 if index < number else None for index, name in enumerate(result.iou)}
        return result.model_copy(update={"iou": iou})

    monkeypatch.setattr(module, "measure_segmenter", thinned)
    part = {"corruptions": "fog", "severities": "heavy", "checkpoint": ",".join(setup["runs"])}
    present = measured(setup, **part, mean="present")
    assert [line for line in present.notes if "classes" in line] == [
        f"{setup['runs'][0]}: means over the classes that occur are over 17 to 19 classes, by "
        "measurement, so that rates may rise above what is kept; `mean=all` is over the same "
        "classes everywhere"
    ]
    seen.clear()
    assert not any("classes" in line for line in measured(setup, **part, mean="all").notes)
    assert len(seen) == 4


def test_a_table_that_holds_more_is_moved_aside(setup: dict[str, Any]) -> None:
    few = {"corruptions": "fog,crosstalk", "severities": "heavy", "limit": 1}
    first = measured(setup, **few)
    assert measured(setup, **few) == first
    assert not (setup["out"] / "table-1.md").exists()
    measured(setup, **{**few, "corruptions": "fog"})
    stored = (setup["out"] / "robustness-1.json").read_text()
    assert RobustnessResult.model_validate_json(stored) == first
    assert (setup["out"] / "table-1.md").read_text() == f"{first}\n"
    measured(setup, **{**few, "checkpoint": ",".join(setup["runs"])})
    assert not (setup["out"] / "table-2.md").exists()  # it holds all that was there


def test_two_commands_in_one_folder(setup: dict[str, Any]) -> None:
    with writer_lock(setup["out"]), pytest.raises(CleverError, match="is being written by proces"):
        measured(setup, corruptions="fog", severities="heavy")
    assert not setup["out"].exists()


def test_a_written_set_scores_as_the_frames_it_was_made_of(
    setup: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"corruptions": "crosstalk,incomplete_echo,fog", "severities": "1,3", "seed": 4}
    derived = measured(setup, **part)
    root = tmp_path / "set"
    flags = {"dataset": "semantickitti", "data_root": setup["root"], "out": root, **part}
    corrupt_dataset(CorruptSettings.resolve(None, flags))
    shutil.rmtree(root / "fog/light")
    released = measured(setup, **part, corrupted_root=root)
    assert f"{root} holds no fog/light; left out" in capsys.readouterr().err
    for entry in released.rows[0].measurements:
        same = derived.rows[0].miou(entry.corruption, entry.severity)
        assert entry.miou == pytest.approx(same)
    assert released.rows[0].miou("fog", "light") is None
    assert released.source == f"corrupted frames read from {root}"
    assert released.rows[0].measurements[-1].protocol.endswith(f"fog heavy of {root}")
    assert released.notes == [f"{root} holds no fog/light"]
    blur = {"corruptions": "motion_blur", "severities": "1"}
    corrupt_dataset(CorruptSettings.resolve(None, {**flags, **blur}))
    shutil.rmtree(root / "motion_blur/light/labels")
    bare = measured(setup, **blur, corrupted_root=root)
    words = f"motion_blur light of {root}, labels of the clean frames"
    assert bare.rows[0].measurements[-1].protocol.endswith(words)
    note = "motion_blur/light: labels of the clean frames, as the set has none; its points must be "
    assert bare.notes == [f"{note}in their order"]
    with pytest.raises(CleverError, match="set holds none of the `corruptions` and `severities`"):
        measured(setup, corruptions="snow", severities="1", corrupted_root=root)
    with pytest.raises(CleverError, match="leave `strength` out"):
        measured(setup, **part, corrupted_root=root, strength="fog.beta=1,2,3")


def test_a_restored_file_is_measured_and_a_lost_corruption_costs_no_other(
    setup: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = {"corruptions": "fog,motion_blur", "severities": "1"}
    root = tmp_path / "set"
    flags = {"dataset": "semantickitti", "data_root": setup["root"], "out": root, **part}
    corrupt_dataset(CorruptSettings.resolve(None, flags))
    place = root / "fog/light/labels"
    whole = measured(setup, **part, corrupted_root=root, out=tmp_path / "whole")
    lost, content = place / "000000.label", (place / "000000.label").read_bytes()
    lost.unlink()
    first = measured(setup, **part, corrupted_root=root)
    assert [frame.id for frame in first.bad] == ["08/000000"]
    assert first.rows[0].measurements[1].frames == 1
    lost.write_bytes(content)
    capsys.readouterr()
    again = measured(setup, **part, corrupted_root=root)
    assert "fog light: 1 frame skipped before; measured again" in capsys.readouterr().err
    assert (again.bad, again.rows[0].measurements) == ([], whole.rows[0].measurements)
    # Nothing of fog can be measured: motion blur is.
    shutil.rmtree(place)
    without = measured(setup, **part, corrupted_root=root, out=tmp_path / "third")
    assert list(without.unmeasured) == ["fog light"]
    assert "none of 2 frames could be measured" in without.unmeasured["fog light"]
    assert without.rows[0].measurements[1:] == whole.rows[0].measurements[2:]
    assert "\nfog light is not measured: none of 2 frames" in str(without)
    own = RobustnessSettings.resolve(None, {"checkpoint": "x", "data_root": setup["root"]})
    assert print_robustness(own, without) == 3
    assert print_robustness(own, whole) == 0
    with pytest.raises(CleverError, match="no corruption could be measured; the first, fog light:"):
        measured(setup, corruptions="fog", severities="1", corrupted_root=root, out=tmp_path / "f")
    # What is wrong with all of them ends it at the first.
    with monkeypatch.context() as patch:
        patch.setattr(SemanticKittiDataset, "released_format", None)
        with pytest.raises(CleverError, match="no published corrupted set of semantickitti"):
            measured(setup, **part, corrupted_root=root, out=tmp_path / "other")
    # Clean frames are what all others are compared with.
    shutil.rmtree(setup["root"] / "sequences/08/velodyne")
    with pytest.raises(CleverError):
        measured(setup, **part, out=tmp_path / "fourth")


def test_results_for_other_programs(setup: dict[str, Any]) -> None:
    result = measured(setup, corruptions="motion_blur", checkpoint=",".join(setup["runs"]))
    rows = list(robustness_table(result))
    assert len(rows) == 2 * (1 + 3 + 1 + 1)
    own = result.rows[0].scores(result.baseline).by_corruption["motion_blur"]
    assert rows[4] == {
        "checkpoint": setup["runs"][0],
        "corruption": "motion_blur",
        "severity": "mean",
        "mIoU": own.miou,
        "CE": own.error,
        "RR": own.resilience,
        "protocol": f"{result.rows[0].measurements[0].protocol}; {result.source}",
    }
    assert rows[5]["corruption"] == "all"
    assert rows[5]["CE"] is None
    assert rows[0]["severity"] is None
    assert len(table_text(rows).splitlines()) == 13
    content = json.loads(json_text(result))
    assert content["rows"][1]["measurements"][0]["miou"] == result.rows[1].miou(None, None)


def test_other_classes_and_absent_parts_are_one_line(setup: dict[str, Any], tmp_path: Path) -> None:
    other = TRAINING.model_copy(update={"dataset": "nuscenes", "class_names": ("a", "b")})
    foreign = save_run(tmp_path / "foreign", 0, other)
    both = f"{setup['runs'][0]},{foreign}"
    with pytest.raises(CleverError, match=r"foreign was trained for the classes of nuscenes"):
        measured(setup, checkpoint=both, corruptions="fog", severities="1")
    assert not list(setup["out"].rglob("*.json"))  # said before anything is measured
    with pytest.raises(CleverError, match=r"`strength=fog\.alpha`: there is no such parameter"):
        measured(setup, strength="fog.alpha=1,2,3", corruptions="fog")
    with pytest.raises(CleverError, match=r"neither nuscenes-c"):
        measured(setup, baseline="nothing")
    with pytest.raises(CleverError, match=r"holds no <corruption>/<severity>"):
        measured(setup, corrupted_root=tmp_path)
    for name, value in (("severities", "4"), ("severities", "1,light"), ("corruptions", "fug")):
        with pytest.raises(CleverError, match=f"`{name}`"):
            measured(setup, **{name: value})
    for text in ("fog.beta=1,2", "fog=1,2,3", "fog.beta=a,b,c"):
        with pytest.raises(CleverError, match=r"CORRUPTION\.PARAMETER=A,B,C"):
            measured(setup, strength=text)
    with pytest.raises(CleverError, match=r"`strength=fog.beta` changes nothing: fog is not"):
        measured(setup, strength="fog.beta=1,2,3", corruptions="snow")
    with pytest.raises(CleverError, match=r"fog\.beta is given 2 times"):
        measured(setup, strength=["fog.beta=1,2,3", "fog.beta=2,3,4"], corruptions="fog")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fog.beta=nan,1,1", "`strength=fog.beta` is nan for light: should be a number, 0 or more"),
        (
            "beam_missing.beams=1,-1,1",
            "beam_missing.beams` is -1 for moderate: should be",
        ),
        (
            "crosstalk.share=1,1,1.5",
            "crosstalk.share` is 1.5 for heavy: should be at most 1",
        ),
        ("cross_sensor.step=0,2,2", "is 0 for light: should be above 0"),
        ("snow.velocity=0,2,2", "is 0 for light: should be above 0"),
        ("beam_missing.first=60,2,2", "is 60 for light: should be at most that of `last`, 58"),
    ],
)
def test_strengths_that_mean_nothing_are_one_line(
    setup: dict[str, Any], text: str, complaint: str
) -> None:
    with pytest.raises(CleverError, match=complaint):
        measured(setup, strength=text)


def test_pictures_and_bad_frames(
    setup: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = setup["root"] / "sequences/08/velodyne/000001.bin"
    path.write_bytes(b"1")
    result = measured(
        setup, corruptions="crosstalk", severities="2", pictures=tmp_path / "pictures"
    )
    assert [frame.id for frame in result.bad] == ["08/000001"]
    assert str(result).count("skipped frame 08/000001") == 1
    table = [line.split() for line in str(result).splitlines() if line.startswith("| ")]
    assert table[0] == ["|", "checkpoint", "|", "crosstalk", "moderate", "|", "clean", "|"]
    assert ["|", "mIoU", "|", "moderate", "|", "mean", "|"] in table
    assert "1 of 2 scans" in result.rows[0].measurements[1].protocol
    for name in ("overview.png", "crosstalk.png", "distributions.md"):
        assert (tmp_path / "pictures" / name).stat().st_size > 300
    assert any("pictures: " in note for note in result.notes)
    assert result.distributions is not None
    assert [row[0] for row in result.distributions.rows] == ["clean", "crosstalk moderate"]
    assert not any("|" in note for note in result.notes)
    assert str(result.distributions) in str(result)
    page = _page(setup["out"])
    assert "<caption>What the corruptions did to a frame</caption>" in page
    assert '<th scope="row">crosstalk moderate</th>' in page
    # Another command in the folder draws nothing, and keeps what was drawn.
    again = measured(setup, corruptions="crosstalk", severities="2")
    assert again.distributions == result.distributions
    assert capsys.readouterr().err.endswith(f"written to {setup['out']}\n")


def _page(folder: Path) -> str:
    """The report of a table."""
    return report(ReportSettings.resolve(None, {"places": [str(folder)]})).page.read_text()


def test_the_mean_is_that_of_the_first_run(setup: dict[str, Any]) -> None:
    """SemanticKITTI's benchmark counts absent classes 0; a run that did not is measured as it was,
    unless a mean is asked for."""
    few = {"corruptions": "motion_blur", "severities": "1"}
    assert measured(setup, **few).rows[0].measurements[0].protocol.endswith("count 0, clean frames")
    run = Path(setup["runs"][0])
    save_settings(
        FinetuneSettings.resolve(None, {"data_root": "d", "mode": "probe", "mean": "present"}), run
    )
    own, asked = (measured(setup, **few, **mean).rows[0] for mean in ({}, {"mean": "all"}))
    assert "labels or predictions" in own.measurements[0].protocol
    assert asked.measurements[0].protocol.endswith("count 0, clean frames")


def test_default_folder_is_in_the_first_checkpoint(setup: dict[str, Any]) -> None:
    measured(setup, out=None, corruptions="motion_blur", severities="1")
    folder = Path(setup["runs"][0]) / "robustness-semantickitti-val"
    assert (folder / "table.md").is_file()
