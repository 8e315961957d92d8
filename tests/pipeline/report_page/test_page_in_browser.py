"""The page in a real browser: it draws what the data says, answers hands and keys, loads
nothing."""

import io
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from clever.pipeline.pictures.class_colours import class_colours
from clever.pipeline.pictures.labels import LabelledCloud
from clever.pipeline.pictures.recording import RecordedFrame
from clever.pipeline.report_page.curves import LoggedRun, charts
from clever.pipeline.report_page.page import Page
from clever.pipeline.report_page.run_tables import ResultRow, ResultTable
from clever.pipeline.report_page.scores import Scores, confusion_table, iou_tables
from clever.pipeline.report_page.sweeps import Sweep

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("car", "driveable_surface", "vegetation", "pole")
SIDE = 12
"""Points along a side of the grid; so few that none hides another."""
CANVAS = ".stage canvas"


@dataclass
class Opened:
    """The page, its sweeps, and what the browser complained of or asked for."""

    page: Any
    frame: RecordedFrame
    path: Path
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def view(self, expression: str) -> Any:
        """What JavaScript says of the view `v`."""
        return self.page.evaluate(f"(() => {{ const v = document.querySelector('{CANVAS}').view; "
                                  f"return {expression}; }})()")  # fmt: skip

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3): the canvas as it is on the screen, without the mark of the chosen point."""
        self.page.evaluate("document.querySelector('.target').style.opacity = 0")
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        with Image.open(io.BytesIO(self.page.locator(CANVAS).screenshot())) as image:
            return np.array(image.convert("RGB"))

    def pixels(self) -> NDArray[np.int64]:
        """(N, 2) columns and rows of all points."""
        places = self.view("Array.from({ length: v.sweep.count }, (_, n) => v.project(n))")
        return np.floor(np.array(places)[:, :2]).astype(int)

    def colours(self) -> NDArray[np.uint8]:
        """(N, 3) on the screen, at all points."""
        picture, (columns, rows) = self.picture(), self.pixels().T
        return picture[rows, columns]

    def choose(self, key: str) -> None:
        self.page.locator(f".colouring input[value={key}]").check(force=True)

    def click(self, point: int) -> None:
        column, row = self.pixels()[point].tolist()
        self.page.locator(CANVAS).click(position={"x": column + 0.5, "y": row + 0.5})


def sweep_frame() -> RecordedFrame:
    """Points in a grid on the ground, with classes and features that lie on a circle."""
    place = np.linspace(-11, 11, SIDE)
    xyz = np.stack([*np.meshgrid(place, place), np.zeros((SIDE, SIDE))], -1).reshape(-1, 3)
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 4, len(xyz))
    truth = np.where(rng.random(len(xyz)) < 0.3, 255, rng.integers(0, 4, len(xyz)))
    cloud = LabelledCloud(xyz, prediction, truth, 255, NAMES)
    angle = torch.from_numpy(np.linspace(0, 5, len(xyz)))
    features = torch.stack([angle.cos(), angle.sin(), 0.3 * (2 * angle).cos()], 1).float()
    return RecordedFrame("frame-1", xyz, cloud.panels(), {}, features, cloud)


def make_page(frame: RecordedFrame) -> Page:
    records = [{"step": n, "loss": 10.0 / n} for n in range(1, 41)]
    iou = {"car": 0.5, "driveable_surface": 1.0, "vegetation": None, "pole": 0.0}
    confusion = [[5, 5, 0, 0], [0, 30, 0, 0], [0, 0, 0, 0], [1, 3, 0, 0]]
    scores = Scores(0, "probe", 1, 0.5, iou, confusion)
    columns = [f"a figure {number}" for number in range(9)]
    row = ResultRow(0, "probe", "finetune", True, "finished", ["12.34"] * len(columns), None)
    bare = RecordedFrame("frame-2", frame.xyz[:9], {"features of student": np.eye(9)[:, :3]}, {})
    return Page(
        "A <page>",
        ["What it is."],
        "Made by a test.",
        results=ResultTable(columns, [row], []),
        sweeps=[Sweep.of(frame, "probe", 1000, 32), Sweep.of(bare, "pretrain", 1000, 32)],
        iou=iou_tables([scores]),
        confusions=[confusion_table(scores)],
        charts=charts([LoggedRun(0, "probe", "finetune", records)]),
    )


SHAPES = """async () => {
  const place = document.createElement("figure");
  place.className = "picture";
  place.innerHTML = '<div class="wide"><img></div>';
  document.querySelector("main").append(place);
  const img = place.querySelector("img");
  const shapes = [];
  for (const [width, height] of [[1600, 500], [500, 700]]) {
    const size = `width="${width}" height="${height}"`;
    img.src = `data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" ${size}/>`;
    img.style.setProperty("--ratio", width / height);
    await img.decode();
    shapes.push(img.clientWidth / img.clientHeight);
  }
  place.remove();
  return shapes;
}"""
"""Width over height of a wide picture and of a high one as they stand on the page."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    frame, path = sweep_frame(), tmp_path_factory.mktemp("report") / "report.html"
    make_page(frame).write(path)
    with sync_api.sync_playwright() as playwright:
        # A user-data-dir of its own for every start, removed at the end.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 900, "height": 700}, color_scheme="light")
        own = Opened(page, frame, path)
        page.on("console", lambda message: own.complaints.append(message.text))
        page.on("pageerror", lambda error: own.complaints.append(str(error)))
        page.on("request", lambda request: own.requests.append(request.url))
        page.goto(path.as_uri())
        page.locator("input[name=size]").fill("3")
        yield own
        browser.close()


def test_points_have_the_colours_of_their_classes(opened: Opened) -> None:
    cloud, palette = opened.frame.cloud, class_colours(NAMES)
    assert cloud
    assert cloud.truth is not None
    assert opened.view("v.mode") == "class"
    np.testing.assert_allclose(opened.colours(), palette[cloud.prediction], atol=2)
    ground = np.array([17, 20, 23])
    coloured = (np.abs(opened.picture().astype(int) - ground).max(2) > 20).sum()
    assert coloured > 20 * len(opened.frame.xyz)
    opened.choose("error")
    panels = {name: np.rint(255 * colours) for name, colours in cloud.panels().items()}
    np.testing.assert_allclose(opened.colours(), panels["errors"], atol=2)
    opened.choose("truth")
    np.testing.assert_allclose(opened.colours(), panels["ground truth"], atol=2)
    legend = opened.page.locator(".legend button").all_inner_texts()
    share = 100 * (cloud.truth == 255).mean()
    assert legend[-1] == f"no label {share:.1f} %"
    # A class that is hidden is no longer there, for the eye and for a click.
    opened.choose("class")
    opened.page.locator(".legend button", has_text="pole").click()
    ghosts = np.abs(opened.colours().astype(int) - ground).max(1) <= 2
    assert ghosts.tolist() == (cloud.prediction == 3).tolist()
    opened.click(int(np.flatnonzero(ghosts)[0]))
    assert opened.view("v.picked") is None
    opened.page.locator(".legend button", has_text="pole").click()


def test_a_click_colours_by_similarity_to_the_point(opened: Opened) -> None:
    data = json.loads(opened.page.locator("#view-data").text_content())["sweeps"][0]["features"]
    codes = np.frombuffer(b64decode(data["codes"]), np.int8).reshape(-1, data["dimensions"])
    features = codes * np.array(data["scales"])
    opened.choose("similarity")
    maps = []
    for point in (14, 100):
        opened.click(point)
        assert opened.view("v.picked") == point
        expected = features @ features[point]
        np.testing.assert_allclose(opened.view("[...v.similarity]"), expected, atol=1e-5)
        full = opened.frame.features
        assert full is not None
        cosine = torch.nn.functional.cosine_similarity(full, full[point : point + 1]).numpy()
        np.testing.assert_allclose(expected, cosine, atol=0.02)
        low, high = np.quantile(expected, [0.02, 0.98], method="nearest")
        level = np.rint(255 * ((expected - low) / (high - low)).clip(0, 1)).astype(int)
        viridis = 255 * colormaps["viridis"](level)[:, :3]
        maps.append(opened.colours().astype(int))
        np.testing.assert_allclose(maps[-1], viridis, atol=6)
        shown = opened.page.locator(".legend").inner_text()
        assert shown.split() == ["cosine", f"{low:.2f}", f"{high:.2f}"]
    assert np.abs(maps[0] - maps[1]).max() > 100
    x, y, _ = opened.frame.xyz[100]
    status = opened.page.locator("#view-status").inner_text()
    assert status.startswith(f"Point at x {x:.1f}, y {y:.1f}, z 0.0 m, prediction: ")
    opened.choose("class")


def test_keys_and_drags_turn_shift_and_zoom(opened: Opened) -> None:
    keyboard, canvas = opened.page.keyboard, opened.page.locator(CANVAS)
    canvas.focus()
    keyboard.press("0")
    home, before = opened.picture(), opened.view("[v.yaw, v.pitch, v.distance, ...v.centre]")

    def camera() -> list[float]:
        return opened.view("[v.yaw, v.pitch, v.distance, ...v.centre]")

    keyboard.press("ArrowLeft")
    assert camera() == pytest.approx([before[0] - 0.09, *before[1:]])
    assert np.abs(opened.picture().astype(int) - home).mean() > 1
    keyboard.press("ArrowUp")
    keyboard.press("+")
    assert camera() == pytest.approx(
        [before[0] - 0.09, before[1] + 0.09, 0.85 * before[2], *before[3:]]
    )
    keyboard.press("Shift+ArrowRight")
    assert np.linalg.norm(camera()[3:]) > 0.1
    keyboard.press("0")
    assert camera() == before
    assert np.abs(opened.picture().astype(int) - home).max() <= 2
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.page.mouse.move(*middle)
    opened.page.mouse.down()
    opened.page.mouse.move(middle[0] + 50, middle[1])
    opened.page.mouse.up()
    assert camera()[0] == pytest.approx(before[0] - 50 * 0.008)
    opened.page.mouse.wheel(0, 100)
    assert opened.view("v.distance") == pytest.approx(before[2] * np.exp(0.15))
    keyboard.press("0")
    keyboard.press("Enter")
    pixels, size = opened.pixels(), (box["width"] / 2, box["height"] / 2)
    nearest = np.linalg.norm(pixels - np.array(size), axis=1)
    assert nearest[opened.view("v.picked")] <= nearest.min() + 8


def test_another_sweep_offers_what_it_has(opened: Opened) -> None:
    opened.page.locator("select[name=sweep]").select_option("1")
    assert opened.view("v.sweep.count") == 9
    labels = opened.page.locator(".colouring label").all_inner_texts()
    assert labels == ["prediction of the teacher"]
    assert opened.colours()[:3].tolist() == (255 * np.eye(3)).tolist()
    facts = opened.page.locator(".facts li")
    assert [facts.nth(n).is_visible() for n in (0, 1)] == [False, True]
    opened.page.locator("select[name=sweep]").select_option("0")
    assert opened.view("v.sweep.count") == SIDE**2


def test_a_panel_of_curves_tells_values(opened: Opened) -> None:
    panel = opened.page.locator("figure.chart")
    panel.locator("svg").focus()
    for _ in range(5):
        opened.page.keyboard.press("ArrowRight")
    assert re.sub(r"\s+", " ", panel.locator(".readout").inner_text()) == "step 5 probe 2"
    opened.page.keyboard.press("ArrowLeft")
    assert "probe 2.5" in panel.locator(".readout").inner_text()
    panel.locator("svg").blur()
    assert panel.locator(".readout").inner_text().strip() == "probe"


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_in_light_and_dark(opened: Opened, width: int) -> None:
    grounds = set()
    opened.page.set_viewport_size({"width": width, "height": 800})
    for scheme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=scheme)
        widths = opened.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
        grounds.add(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        opened.picture()  # waits until it is drawn
        assert opened.view("v.canvas.width / v.canvas.clientWidth") == 1
    assert len(grounds) == 2
    opened.page.set_viewport_size({"width": 900, "height": 700})


def test_without_webgl_there_are_pictures(opened: Opened) -> None:
    page = opened.page.context.browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
    page.goto(opened.path.as_uri())
    assert not page.locator(".view").is_visible()
    assert "needs JavaScript and WebGL" in page.locator(".still").inner_text()
    loaded = (
        "async (img) => { img.loading = 'eager'; await img.decode(); return img.naturalWidth; }"
    )
    sizes = page.locator(".still img").evaluate_all(f"(all) => Promise.all(all.map({loaded}))")
    assert sizes == [600, 600]
    page.close()


def test_nothing_was_complained_of_and_nothing_loaded(opened: Opened) -> None:
    assert opened.complaints == []
    assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in opened.requests) == 1


def test_what_is_wide_scrolls_in_its_own_place_and_says_so(opened: Opened) -> None:
    page = opened.page
    hint = "getComputedStyle(document.querySelector('#results .wide'), '::before').content"
    before = page.viewport_size
    try:
        for width, scrolls in ((390, True), (420, True), (1280, False)):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function(
                "scrolls => document.querySelector('#results .wide').classList"
                ".contains('overflows') === scrolls",
                arg=scrolls,
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert ("sideways" in page.evaluate(hint)) == scrolls
            assert page.evaluate(SHAPES) == pytest.approx([1600 / 500, 500 / 700], rel=0.01)
    finally:
        page.set_viewport_size(before)
