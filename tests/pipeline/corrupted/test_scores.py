"""The formulae recompute the paper's tables from their rows."""

import json
from pathlib import Path

import pytest

from clever.errors import CleverError
from clever.pipeline.corrupted.published import TABLE_7, TABLE_A5, PublishedRow
from clever.pipeline.corrupted.scores import BASELINES, OF_DATASET, read_baseline, scores
from clever.pipeline.corruptions.registry import CORRUPTIONS
from clever.pipeline.datasets.registry import DATASETS
from clever.pipeline.settings.shared.choices import CorruptionName

Levels = dict[CorruptionName, tuple[float | None, ...]]
NUSCENES = BASELINES["nuscenes-c"]
OFF = {
    # Printed figures that do not follow from their row: mCE, average.
    ("7", "ScaLR, 100 epochs"): (None, 32.35),
    ("A5", "PPKT, 50 epochs"): (105.94, None),
    ("A5", "CleverDistiller, 50 epochs"): (96.22, 62.84),
    ("A5", "CleverDistiller, 100 epochs"): (89.96, 65.19),
}
ROWS = [("7", name) for name in TABLE_7] + [("A5", name) for name in TABLE_A5]


def row_of(table: str, name: str) -> PublishedRow:
    return (TABLE_7 if table == "7" else TABLE_A5)[name]


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_errors_and_averages_of_the_paper_follow_from_its_rows(table: str, name: str) -> None:
    row = row_of(table, name)
    levels = Levels(
        {
            corruption: (value - 1.5, value, value + 1.5)
            for corruption, value in zip(CORRUPTIONS, row.miou, strict=True)
        }
    )
    # The clean score that the printed resilience implies.
    clean = 100 * sum(row.miou) / 8 / row.mrr
    ours = scores(levels, clean, NUSCENES)
    mce, average = OFF.get((table, name), (None, None))
    assert ours.mce == pytest.approx(mce or row.mce, abs=0.011)
    assert ours.miou == pytest.approx(average or row.average, abs=0.0055)
    assert ours.mrr == pytest.approx(row.mrr, abs=1e-9)
    if mce:
        assert abs(row.mce - mce) > 0.2
    if average:
        assert abs(row.average - average) > 0.2


def test_clean_scores_that_the_paper_implies() -> None:
    def implied(row: PublishedRow) -> float:
        return 100 * sum(row.miou) / 8 / row.mrr

    assert implied(TABLE_7["CleverDistiller, 100 epochs"]) == pytest.approx(45.99, abs=0.01)
    assert implied(TABLE_A5["CleverDistiller, 100 epochs"]) == pytest.approx(74.57, abs=0.01)


def test_scores_by_hand() -> None:
    ours = scores({"fog": (60.0, 50.0, 10.0)}, 80.0, NUSCENES)
    fog = ours.by_corruption["fog"]
    assert fog.miou == 40
    assert fog.error == pytest.approx(100 * (40 + 50 + 90) / (3 * (100 - 53.64)))
    assert fog.resilience == pytest.approx(100 * (60 + 50 + 10) / (3 * 80))
    assert (ours.mce, ours.mrr, ours.miou) == (None, None, None)


def test_a_corruption_without_all_severities_has_no_score() -> None:
    levels = Levels(dict.fromkeys(CORRUPTIONS, (50.0, 40.0, 30.0)))
    whole = scores(levels, 50.0, NUSCENES)
    assert whole.miou == pytest.approx(40)
    assert whole.mrr == pytest.approx(80)
    part = scores(Levels({**levels, "snow": (50.0, None, 30.0)}), 50.0, NUSCENES)
    assert part.by_corruption["snow"].miou is None
    assert part.by_corruption["fog"] == whole.by_corruption["fog"]
    assert (part.mce, part.mrr, part.miou) == (None, None, None)
    assert scores({"fog": ()}, 50.0, NUSCENES).by_corruption["fog"].miou is None


def test_without_baseline_or_clean_score_there_is_no_error_or_rate() -> None:
    levels = Levels(dict.fromkeys(CORRUPTIONS, (50.0, 40.0, 30.0)))
    bare = scores(levels, None, None)
    assert (bare.mce, bare.mrr) == (None, None)
    assert bare.miou == pytest.approx(40)
    assert scores(levels, 0.0, NUSCENES).mrr is None


@pytest.mark.parametrize(
    ("name", "resilience"), [("nuscenes-c", 74.44), ("semantickitti-c", 81.90), ("wod-c", 91.22)]
)
def test_baselines_are_100_percent_of_themselves(name: str, resilience: float) -> None:
    base = BASELINES[name]
    ours = scores({key: (value,) * 3 for key, value in base.miou.items()}, base.clean, base)
    assert ours.mce == pytest.approx(100)
    assert ours.mrr == pytest.approx(resilience, abs=0.006)
    assert list(base.miou) == list(CORRUPTIONS)


def test_baselines_by_dataset_and_by_file(tmp_path: Path) -> None:
    assert OF_DATASET.keys() <= DATASETS.keys()
    assert set(OF_DATASET.values()) <= BASELINES.keys()
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "clean": 70.0, "miou": {"fog": 20.0}}))
    base = read_baseline(str(path))
    assert scores({"fog": (60.0,) * 3}, 70.0, base).by_corruption["fog"].error == 50
    assert scores({"snow": (60.0,) * 3}, 70.0, base).by_corruption["snow"].error is None
    assert read_baseline("wod-c") is BASELINES["wod-c"]
    with pytest.raises(CleverError, match=r"neither nuscenes-c.*nor a file"):
        read_baseline(str(tmp_path / "absent.json"))
    path.write_text(json.dumps({"name": "mine", "clean": 170.0, "miou": {"fig": 20.0}}))
    with pytest.raises(CleverError, match=r"mine\.json is no baseline.*fig"):
        read_baseline(str(path))
    for clean, fog in ((100.1, 20.0), (-0.1, 20.0), (70.0, 100.1), (70.0, -0.1)):
        path.write_text(json.dumps({"name": "mine", "clean": clean, "miou": {"fog": fog}}))
        with pytest.raises(CleverError, match=r"no baseline.*(greater|less) than or equal to"):
            read_baseline(str(path))
    path.write_text(json.dumps({"clean": "a", "miou": []}))
    with pytest.raises(CleverError, match=r"baseline: name: Field required; clean: .*; it") as bad:
        read_baseline(str(path))
    assert "http" not in str(bad.value)
    path.write_text(json.dumps({"name": "mine", "clean": 100, "miou": {"fog": 0}}))
    assert read_baseline(str(path)).miou == {"fog": 0}
