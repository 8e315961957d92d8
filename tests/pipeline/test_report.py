"""`clever report`: what the page says of runs and tables, and what it says of what is wrong."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from clever.cli.main import build_app
from clever.errors import CleverError
from clever.pipeline import report as report_module
from clever.pipeline.corrupted.table import CheckpointRow, Measurement, RobustnessResult
from clever.pipeline.pretrain import pretrain
from clever.pipeline.report import report
from clever.pipeline.report_page import page as page_module
from clever.pipeline.report_page.images import Picture
from clever.pipeline.report_page.page import Gallery, Page
from clever.pipeline.results.ablation_table import AblationTable, CellRecord, Column, RowRecord
from clever.pipeline.settings.evaluate import EvaluateSettings
from clever.pipeline.settings.finetune import FinetuneSettings
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.settings.report import ReportSettings
from clever.pipeline.settings.shared.base import save_settings


def settings(*places: Path, **changes: Any) -> ReportSettings:
    return ReportSettings.resolve(None, {"places": list(map(str, places)), **changes})


@pytest.fixture
def pretrained(make_cache: Callable[..., Path], tmp_path: Path) -> Path:
    values = {"cache": make_cache(), "out": tmp_path / "runs" / "first"}
    values |= {"student": "minkunet-tiny", "head_hidden": 16, "voxel_size": 0.5, "epochs": 2}
    values |= {"batch_size": 3, "device": "cpu", "split": "all", "rankme_every": 0}
    return pretrain(PretrainSettings.resolve(None, values)).out


def write_table(folder: Path) -> Path:
    """Two rows of two seeds, the second compared with the first."""
    column = Column(key="p", title="probe mIoU %", places=2, marked=True, measurement="probe")
    figures = {("r", 0): 10.0, ("r", 1): 10.0, ("m", 0): 20.0, ("m", 1): 23.0}
    table = AblationTable(
        grid="heads",
        columns=[column],
        rows=[
            RowRecord(key="r", name="random weights", untrained=True, base="r"),
            RowRecord(key="m", name="head=<mlp>", base="r"),
        ],
        cells=[
            CellRecord(
                row=row, seed=seed, folder="x", figures={"p": value}, facts={"p": {"tta": "no TTA"}}
            )
            for (row, seed), value in figures.items()
        ],
    )
    folder.mkdir(parents=True)
    (folder / "table.json").write_text(table.model_dump_json())
    Image.new("RGB", (30, 20), "red").save(folder / "rankme-probe.png")
    return folder


def test_a_run_and_a_table_become_one_page(pretrained: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "heads")
    result = report(settings(pretrained, table, split="all", device="cpu"))
    assert result.page == pretrained / "report.html"
    assert result.remarks == []
    text = result.page.read_text()
    assert result.bytes == len(text.encode()) == result.page.stat().st_size
    sections = re.findall(r'<section id="(\w+)">', text)
    assert sections == [
        "results",
        "ablations",
        "view",
        "curves",
        "pictures",
        "occupancy",
        "settings",
    ]
    assert re.findall(r'href="#(\w+)"', text.partition("</nav>")[0])[1:] == sections
    # The table: escaped, mean and spread, its protocol.
    row = text.partition('<th scope="row">head=&lt;mlp&gt;</th>')[2].partition("</tr>")[0]
    assert re.findall(r'<td class="number">(.*?)</td>', row)[:2] == ["2", "<b>21.50 ± 2.12</b>"]
    assert "<li>probe: no TTA</li>" in text
    drawn = text.partition('width="30" height="20" alt="rankme-probe: RankMe of every')[2]
    assert drawn.partition("<figcaption>")[2].startswith("RankMe of every pre-trained cell")
    # The run: its protocol, what differs from the recipe with what the recipe says.
    assert "toy, all 5 frames, minkunet-tiny, recipe clever (voxel_size 0.5, " in text
    assert "), seed 0; losses: means over 1 step up to step 4" in text
    rows = re.findall(r"<code>(\w+)</code></th><td>(.*?)</td><td class=\"recipe\">(.*?)</td>", text)
    values = {name: (value, recipe) for name, value, recipe in rows}
    assert values["voxel_size"] == ("0.5", "0.05")
    assert values["head_hidden"] == ("16", "2048")
    assert values["head"] == ("mlp", "mlp")
    order = [name for name, _, _ in rows]
    assert order.index("voxel_size") < order.index("split") < order.index("head")
    captions = re.findall(r"<figcaption>first, frame frame-\d\. (\w+ \w+)", text)
    assert captions == ["Camera image", "The sweep", "Cosine of", "Queries from"]
    # Nothing is loaded from elsewhere, and no folder of this machine is told.
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert not re.findall(r"https?://(?!www\.w3\.org)", text)
    assert str(tmp_path) not in text
    assert values["cache"] == ("…/toy.zarr", "left open")

    leaves_parts_out(pretrained, tmp_path)
    names_what_cannot_be_shown(pretrained, tmp_path)


def leaves_parts_out(run: Path, folder: Path) -> None:
    out = folder / "page.html"
    left_out = {"leave_out": "pictures,view,curves", "title": "A <b> & c"}
    report(settings(run, out=out, **left_out))
    text = out.read_text()
    assert "<h1>A &lt;b&gt; &amp; c</h1>" in text
    assert re.findall(r'<section id="(\w+)">', text) == ["results", "settings"]
    report(settings(run, out=out, leave_out="features,occupancy"))
    assert re.findall(r"<figcaption>first, frame frame-\d\. (\w+ \w+)", out.read_text()) == [
        "The sweep",
        "Cosine of",
    ]
    # The run has no regions, and nothing else is left: its sweep is shown all the same.
    drawn = "features,above,similarity,occupancy"
    assert report(settings(run, out=out, leave_out=drawn)).remarks == []
    assert re.findall(r'<section id="(\w+)">', out.read_text())[1:2] == ["view"]
    with pytest.raises(CleverError, match="`leave_out=views`: there are curves, scores, pictures"):
        report(settings(run, leave_out="views"))


def names_what_cannot_be_shown(run: Path, folder: Path) -> None:
    """A run that cannot be read, and one whose frames cannot be drawn: the rest is there."""
    broken = run.parent / "broken"
    broken.mkdir()
    (broken / "settings.yaml").write_text("cache: [")
    (broken / "log.jsonl").write_text("")
    app = build_app("report")
    result = CliRunner().invoke(app, ["report", str(run.parent), "--frame-ids", "none-such"])
    assert result.exit_code == 3
    text = (run.parent / "report.html").read_text()
    assert "broken: " in text
    assert "first: no pictures: " in text
    assert "has no frame &#39;none-such&#39;" in text
    assert re.findall(r'<section id="(\w+)">', text) == ["results", "curves", "settings"]
    assert "report.html  (0." in result.output
    assert result.output.count("no pictures") == 1


def test_runs_without_pictures_for_the_same_reason_share_a_line(
    pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise CleverError("no such folder")

    monkeypatch.setattr(report_module, "look_and_record", refuse)
    shutil.copytree(pretrained, pretrained.with_name("second"))
    (pretrained / "result.json").unlink()
    result = report(settings(pretrained.parent))
    # The finished run comes first, whatever its name.
    assert result.remarks == ["second, first: no pictures: no such folder"]
    text = result.page.read_text()
    results = text.partition('<section id="results">')[2].partition("</section>")[0]
    assert results.count('<span class="tag">unfinished</span>') == 1
    assert results.index("second") < results.index("first") < results.index('class="tag"')


def test_a_page_that_is_too_large_says_what_to_leave_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "LARGEST", 1_000)
    picture = Picture("data:," + 200_000 * "x", 1, 1, "above", "b")
    page = Page("t", [], "now", galleries=[Gallery("pictures", "Pictures", "all", [picture])])
    with pytest.raises(
        CleverError,
        match=r"the page would have 0\.2 MB, more than 0\.001: 3D view 0\.0 MB, pictures 0\.2 MB; "
        "choose fewer `frames` or `points`, or leave a part out with `leave_out`",
    ):
        page.write(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    monkeypatch.setattr(page_module, "LARGEST", 500_000)
    assert page.write(tmp_path / "page.html") == (tmp_path / "page.html").stat().st_size


def test_an_evaluation_that_repeats_its_fine_tuning_is_no_row(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    runs = {
        probe: FinetuneSettings.resolve(None, {"mode": "probe"}),
        probe / "evaluate-same": EvaluateSettings.resolve(None, {"checkpoint": probe}),
        probe / "evaluate-tta": EvaluateSettings.resolve(None, {"checkpoint": probe, "tta": True}),
    }
    for folder, own in runs.items():
        folder.mkdir()
        save_settings(own, folder)
        (folder / "log.jsonl").write_text("")
        measured = {"miou": 0.25, "protocol": "TTA" if folder.name.endswith("tta") else "no TTA"}
        result = {"job": "finetune", "evaluation": measured} if folder == probe else measured
        (folder / "result.json").write_text(json.dumps(result))
    parts = {"leave_out": "pictures,view,curves,scores"}
    text = report(settings(probe, **parts)).page.read_text()
    results = text.partition('<section id="results">')[2].partition("</section>")[0]
    names = re.findall(r'<th scope="row">(?:<span[^>]*></span>)?(.*?)</th>', results)
    assert names == ["probe", "evaluate-tta"]


def test_the_folder_of_a_robustness_table_is_a_place(tmp_path: Path) -> None:
    clean = Measurement.model_validate(
        {"corruption": None, "severity": None, "strength": {}, "miou": 41.5, "iou": {},
         "points": 1, "frames": 1, "left_out": 0, "protocol": "of clean frames", "bad": []}
    )  # fmt: skip
    row = CheckpointRow(checkpoint="/somewhere/probe", digest="d", measurements=[clean])
    folder = tmp_path / "robust"
    folder.mkdir()
    result = RobustnessResult(rows=[row], baseline=None, source="as read", notes=[])
    (folder / "robustness.json").write_text(result.model_dump_json())
    page = report(settings(folder)).page
    assert page == folder / "report.html"
    assert "41.5" in page.read_text()


def test_another_json_is_not_advised_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    line = r"result\.json is no table of `clever ablate`; give its folder or its table\.json$"
    with pytest.raises(CleverError, match=line):
        report(settings(tmp_path / "result.json"))


def test_a_place_without_run_or_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"a": 1}')
    with pytest.raises(CleverError, match=r"table\.json is damaged or of another version"):
        report(settings(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CleverError, match="no run in"):
        report(settings(tmp_path / "empty"))
    with pytest.raises(CleverError):
        report(settings(tmp_path / "nowhere"))


def test_a_folder_is_no_page_and_nothing_is_drawn_for_it(tmp_path: Path) -> None:
    with pytest.raises(CleverError, match=r"is a folder; name the page, such as report\.html"):
        report(settings(tmp_path, out=tmp_path))
