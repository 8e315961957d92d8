"""Corrupted sweeps and detectors as measurements of cells."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clever.errors import CleverError
from clever.pipeline.ablations import detection as detection_module
from clever.pipeline.ablations.cells import Row, resolve_grid
from clever.pipeline.ablations.measurements import Measurement
from clever.pipeline.ablations.paper import counterpart, published_figures
from clever.pipeline.corrupted.scores import BASELINES
from clever.pipeline.corruptions.registry import SEVERITIES
from clever.pipeline.results.ablation_table import AblationTable
from clever.pipeline.settings.detect import DetectSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.robustness import RobustnessSettings
from clever.pipeline.settings.shared.choices import CorruptionName
from clever.pipeline.settings.shared.grid import read_grid

from ..detection_runs.kitti_tree import make_tree
from ..test_ablate import Table

CORRUPTIONS: tuple[CorruptionName, ...] = ("beam_missing", "cross_sensor")
MEASURES = {
    "boxes": {
        "verb": "detect", "dataset": "kitti", "fraction": 0.5, "draws": [0, 1], "epochs": 1,
        "batch_size": 2, "points": 200, "cell": 1.0, "bank": False,
    },
    "corrupted": {"verb": "robustness", "of": "probe", "corruptions": list(CORRUPTIONS)},
    "probe": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def boxes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("kitti"), 4, 1)


@pytest.fixture
def table(make_cache: Callable[..., Path], kitti_root: Path, tmp_path: Path) -> Table:
    return Table(tmp_path, make_cache(), kitti_root)


def grid(table: Table, boxes_root: Path, **parts: Any) -> dict[str, Any]:
    """One trained row, everything measured."""
    measure = {name: dict(values) for name, values in MEASURES.items()}
    measure["boxes"]["data_root"] = str(boxes_root)
    small = {"vary": {}, "untrained": False, "measure": measure}
    return table.grid(**{**small, **parts})


def figures(result: AblationTable) -> dict[str, float]:
    """Figures of the one cell by measurement and figure."""
    (cell,) = result.cells
    return {column.short: cell.figures[column.key] for column in result.measured()}


@pytest.mark.slow
def test_a_cell_has_what_the_commands_measure(
    table: Table, boxes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = detection_module.detect

    def broken(settings: DetectSettings) -> Any:
        raise CleverError("no boxes today")

    monkeypatch.setattr(detection_module, "detect", broken)
    first = table.run(grid(table, boxes_root))
    (cell,) = first.cells
    assert cell.failure == "boxes: no boxes today"
    assert list(figures(first)) == ["probe", "corrupted CE", "corrupted RR", "corrupted clean"]

    # What failed is tried again, and nothing else is.
    weights = table.weights()
    monkeypatch.setattr(detection_module, "detect", own)
    monkeypatch.setattr("clever.pipeline.ablations.corrupted_sweeps.robustness", broken)
    second = table.run(grid(table, boxes_root))
    assert second.bad == []
    (cell,) = second.cells
    assert not (table.out / cell.folder / "failure.txt").exists()
    after = table.weights()
    assert {name: after[name] for name in weights} == weights
    assert {name: figures(second)[name] for name in figures(first)} == figures(first)

    folder = table.out / next(run for key, run in cell.runs.items() if key.startswith("boxes"))
    runs = json.loads((folder / "detection.json").read_text())["runs"]
    assert [(run["seed"], run["draw"]) for run in runs] == [(0, 0), (0, 1)]
    summaries = [run["result"]["tables"][0]["scores"]["mean, moderate"] for run in runs]
    assert figures(second)["boxes"] == statistics.fmean(summaries)
    assert runs[0]["result"]["facts"]["student"] == "minkunet-tiny at 0.5 m"

    folder = table.out / next(run for key, run in cell.runs.items() if key.startswith("corrupted"))
    (row,) = json.loads((folder / "robustness.json").read_text())["rows"]
    assert row["checkpoint"].endswith(next(key for key in cell.runs if key.startswith("probe")))
    miou = {(one["corruption"], one["severity"]): one["miou"] for one in row["measurements"]}
    assert len(miou) == 1 + 2 * 3
    base = BASELINES["semantickitti-c"].miou
    levels = {name: [miou[name, one] for one in SEVERITIES] for name in CORRUPTIONS}
    errors = [100 * (300 - sum(levels[name])) / (300 - 3 * base[name]) for name in CORRUPTIONS]
    rates = [100 * sum(own) / (3 * miou[None, None]) for own in levels.values()]
    assert figures(second)["corrupted CE"] == pytest.approx(statistics.fmean(errors))
    assert figures(second)["corrupted RR"] == pytest.approx(statistics.fmean(rates))
    assert figures(second)["corrupted clean"] == miou[None, None]
    text = str(second)
    assert all(f"| corrupted {title} |" in text for title in ("CE %", "RR %", "clean mIoU %"))
    assert (
        "corrupted: of probe, 2 labelled frames, beam_missing, cross_sensor alone (2 of 8" in text
    )
    assert text.count("\ncorrupted: ") == 1
    assert "lower is better in corrupted CE %" in text
    assert "mean over draws 0, 1" in text


def test_their_settings_are_shared_and_set(table: Table, boxes_root: Path) -> None:
    boxes = {"verb": "detect", "dataset": "kitti", "data_root": str(boxes_root)}
    measure = {"boxes": boxes, "probe": {}, "corrupted": {"verb": "robustness"}}
    own = grid(table, boxes_root, detect={"epochs": 3}, robustness={"limit": 2}, measure=measure)
    plain = resolve_grid(table.settings(own)).measurements
    assert [one.name for one in plain] == ["boxes", "probe", "corrupted"]
    boxes, probe, corrupted = plain
    assert isinstance(boxes.settings, DetectSettings)
    assert boxes.settings.epochs == 3
    assert isinstance(corrupted.settings, RobustnessSettings)
    assert (corrupted.settings.limit, corrupted.of) == (2, probe)
    assert corrupted.settings.dataset == "semantickitti"
    again = resolve_grid(
        table.settings(own, set=["detect.epochs=4", "probe.epochs=2", "corrupted.limit=2"])
    ).measurements
    # A corrupted sweep is measured anew where its probe is another.
    assert [one.key == two.key for one, two in zip(plain, again, strict=True)] == [False] * 3


def test_a_shared_strength_goes_to_those_that_have_its_corruption(
    table: Table, boxes_root: Path
) -> None:
    snow, echo = "snow.rate=0.1,0.2,0.3", "incomplete_echo.share=0.7,0.8,0.9"
    measure: dict[str, dict[str, Any]] = {
        "probe": {},
        "snow": {"verb": "robustness", "corruptions": "snow,fog"},
        "every": {"verb": "robustness"},
        "none": {"verb": "robustness", "corruptions": ["fog"]},
        "own": {"verb": "robustness", "strength": "snow.rate=1,2,3"},
    }

    def strengths(shared: object, *names: str, **changes: Any) -> dict[str, tuple[str, ...]]:
        parts = {name: measure[name] for name in ("probe", *names)}
        own = grid(table, boxes_root, robustness={"strength": shared}, measure=parts)
        return {
            one.name: one.settings.strength
            for one in resolve_grid(table.settings(own, **changes)).measurements
            if isinstance(one.settings, RobustnessSettings)
        }

    everyone = strengths([snow, echo], "snow", "every", "none", "own")
    assert everyone["snow"] == (snow,)
    assert everyone["every"] == (snow, echo)
    assert everyone["none"] == ()
    assert everyone["own"] == ("snow.rate=1,2,3",)
    assert strengths("fog.beta=1,2,3", "snow", "none", set=[f"robustness.strength={snow}"]) == {
        "snow": (snow,),
        "none": (),
    }
    # Refused where nobody has it, unless measurements are left out.
    line = (
        r"robustness: `strength=snow\.rate` changes nothing: snow is among the `corruptions` of no "
        "measurement that shares it$"
    )
    for names in (["none"], ["none", "own"]):
        with pytest.raises(CleverError, match=line):
            strengths(snow, *names)
    assert strengths(snow, "snow", "none", measure=["probe", "none"]) == {"none": ()}
    assert strengths(snow) == {}
    with pytest.raises(CleverError, match=r"should be CORRUPTION\.PARAMETER=A,B,C"):
        strengths("snow.rate", "none")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("corrupted", {"severities": "light"}, r"`severities` are all three"),
        ("corrupted", {"of": "nothing"}, r"of is 'nothing'; there are probe"),
        ("corrupted", {"checkpoint": "a"}, r"checkpoint is that of the row"),
        ("corrupted", {"baseline": "b"}, r"`baseline=b` is neither"),
        (
            "boxes",
            {"of": "probe"},
            r"of is .probe., but detect is of the pre-trained student; leave",
        ),
        ("boxes", {"fraction": [0.1, 0.5]}, r"`fraction` is one number; make a measurement of"),
        ("boxes", {"seeds": [3]}, r"seeds is that of the row"),
        (
            "boxes",
            {"dataset": "semantickitti"},
            r".dataset=semantickitti.: detectors are trained on kitti",
        ),
        ("probe", {"verb": "robustness"}, r"there is no fine-tuned student; add a measurement"),
    ],
)
def test_what_does_not_fit_is_one_line(
    table: Table, boxes_root: Path, name: str, values: dict[str, Any], words: str
) -> None:
    own = grid(table, boxes_root)
    own["measure"][name] |= values
    with pytest.raises(CleverError, match=rf"measurement \w+: {words}") as error:
        resolve_grid(table.settings(own))
    assert "\n" not in str(error.value)


def row(untrained: bool = False, **values: Any) -> Row:
    own = PretrainSettings.resolve(None, {"cache": "c.zarr", **values})
    return Row("row", "key", own, untrained)


def test_the_papers_figures_of_table_7_and_a3() -> None:
    _, table7 = read_grid("table7")
    finetune = FinetuneSettings.resolve(None, {"dataset": "nuscenes", "mode": "probe"})
    probe = Measurement("probe", "finetune", "probe-1", finetune)
    corrupted = Measurement(
        "corrupted", "robustness", "corrupted-1",
        RobustnessSettings.resolve(None, {"checkpoint": "none", "dataset": "nuscenes"}), probe,
    )  # fmt: skip
    measured = [probe, corrupted]
    printed = {
        name: published_figures(row(**table7.pretrain, **own), measured)[0]
        for name, own in table7.rows.items()
    }
    errors = {name: own["corrupted-1 mCE"] for name, own in printed.items()}
    assert errors == {
        "PPKT, 50 epochs": 183.44,
        "SLidR, 50 epochs": 179.38,
        "CleverDistiller, 50 epochs": 157.50,
        "SuperFlow, 150 epochs": 161.78,
        "ScaLR, 100 epochs": 173.18,
        "CleverDistiller, 100 epochs": 151.21,
    }
    assert printed["ScaLR, 100 epochs"]["corrupted-1 mRR"] == 78.91
    assert "corrupted-1 clean" not in printed["ScaLR, 100 epochs"]
    own, source = published_figures(row(epochs=100), measured)
    assert (own["probe-1"], own["corrupted-1 mRR"]) == (49.81, 89.99)
    assert [line.partition(",")[0] for line in source.splitlines()] == [
        "paper: minkunet34 at 0.05 m", "paper: Table 7",
    ]  # fmt: skip
    assert counterpart(row(epochs=100)) == "MLP head + occupancy (Table 3)"
    assert counterpart(row(head_hidden=256, occupancy_weight=0)) == "3 layers of 256 (Table 1)"
    assert counterpart(row(mix3d=0)) == "without Mix3D (Table A2)"
    ptv3 = {"student": "ptv3-256", "occupancy_weight": 0.01}
    assert counterpart(row(**ptv3)) == "occupancy weight 0.01 (Table 2)"
    assert [counterpart(own) for own in (row(lr=1, head_hidden=7), row(recipe="slidr"))] == ["", ""]
    assert counterpart(row(untrained=True)) == ""
    some = corrupted.settings.decided(corruptions=("fog",))
    part = Measurement("corrupted", "robustness", "corrupted-1", some, probe)
    assert "corrupted-1 mCE" not in published_figures(row(epochs=100), [part])[0]
    assert "corrupted-1 mCE" not in published_figures(row(epochs=70), measured)[0]

    _, table_a3 = read_grid("tableA3")
    boxes = [
        Measurement(name, "detect", name, DetectSettings.resolve(
            None, {"checkpoint": "none", **table_a3.detect, "fraction": own["fraction"]}))
        for name, own in table_a3.measure.items()
    ]  # fmt: skip
    expected = {"boxes-5": (56.1, 59.8), "boxes-10": (59.1, 66.6), "boxes-20": (61.6, 67.1)}
    distilled, source = published_figures(row(), boxes)
    assert {name: distilled[name] for name in expected} == {
        name: figures[1] for name, figures in expected.items()
    }
    assert "paper: Table A3, PointRCNN" in source
    random, _ = published_figures(row(untrained=True), boxes)
    assert random == {name: figures[0] for name, figures in expected.items()}
    assert "boxes-5" not in published_figures(row(head="linear"), boxes)[0]
    centre = Measurement(
        "boxes-5", "detect", "boxes-5", boxes[0].settings.decided(detector="centre")
    )
    assert "boxes-5" not in published_figures(row(), [centre])[0]
