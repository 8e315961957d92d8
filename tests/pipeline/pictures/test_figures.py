"""Where titles, legends and panels of pictures lie."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from clever.pipeline.pictures import corruptions, labels, occupancy
from clever.pipeline.pictures.corruptions import DrawnSweep, severity_panels
from clever.pipeline.pictures.figures import (
    above_row,
    camera_grid,
    draw_above,
    draw_camera,
    legend_below,
    write_title,
)
from clever.pipeline.pictures.labels import LabelledCloud, label_panels
from clever.pipeline.pictures.occupancy import OccupancyAnswers, occupancy_panels

PROTOCOL = "linear probe, " + "WIDE WORDS of a protocol that is long, " * 10
CLASSES = [f"a_class_with_a_name_{number}" for number in range(20)]
KITTI, NUSCENES = (1242, 375), (1600, 900)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that would have been written."""
    drawn: list[Figure] = []
    for module in (labels, occupancy, corruptions):
        monkeypatch.setattr(module, "save_figure", lambda figure, *_, **__: drawn.append(figure))
    return drawn


def boxes(figure: Figure) -> dict[str, Bbox]:
    """What title, legend and panels with their own titles and marks cover, in dots."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    parts = {f"panel {n}": axes.get_tightbbox(renderer) for n, axes in enumerate(figure.axes)}
    artists = {f"legend {n}": legend for n, legend in enumerate(figure.legends)}
    artists["title"] = figure._suptitle  # type: ignore[attr-defined]
    parts |= {name: artist.get_window_extent(renderer) for name, artist in artists.items()}
    return {name: box for name, box in parts.items() if box is not None}


def assert_readable(figure: Figure) -> None:
    """Nothing is cut, and nothing prints over another."""
    parts = boxes(figure)
    width, height = figure.bbox.size
    for name, box in parts.items():
        assert -1 <= box.x0 <= box.x1 <= width + 1, (name, box.extents, width)
        assert -1 <= box.y0 <= box.y1 <= height + 1, (name, box.extents, height)
    for (one, a), (other, b) in combinations(parts.items(), 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) <= 0.5, (one, other, overlap)


def draw_labels(truth: bool, path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, len(CLASSES), 500)
    cloud = LabelledCloud(
        rng.uniform(-30, 30, (500, 3)), classes, classes if truth else None, 255, CLASSES
    )
    label_panels(cloud, f"a frame\n{PROTOCOL}", path)


def draw_prediction(path: Path) -> None:
    draw_labels(False, path)


def draw_errors(path: Path) -> None:
    draw_labels(True, path)


def draw_occupancy(path: Path) -> None:
    rng = np.random.default_rng(0)
    place = rng.uniform(-10, 10, (300, 3))
    filled = rng.random(300)
    answers = OccupancyAnswers(place, rng.integers(0, 3, 300), filled > 0.5, filled)
    occupancy_panels(answers, place, place[0], f"a frame\n{PROTOCOL}", path)


def draw_severities(path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 1, (300, 4)).astype(np.float32)
    words = "34688 points, 10.0 % removed, 10.0 % inserted, 99.9 % moved"
    sweep = DrawnSweep(points, points[:, 0] > 0.5, points[:5], 0.7, words)
    severity_panels(dict.fromkeys(["clean", "light", "moderate", "heavy"], sweep), PROTOCOL, path)


@pytest.mark.parametrize("draw", [draw_prediction, draw_errors, draw_occupancy, draw_severities])
def test_title_legend_and_panels_lie_beside_each_other(
    figures: list[Figure], tmp_path: Path, draw: Callable[[Path], None]
) -> None:
    draw(tmp_path / "x.png")
    assert_readable(figures[0])


def test_panels_of_wide_images_stand_one_above_another() -> None:
    beside, grid = camera_grid([NUSCENES] * 3, 4, width=4.0)
    assert grid.shape == (3, 4)
    assert tuple(beside.get_size_inches()) == (16, 3 * (4 * 900 / 1600 + 0.3))
    assert grid[1, 2].get_subplotspec().get_geometry()[:2] == (3, 4)
    stacked, grid = camera_grid([KITTI] * 2, 4, width=4.0)
    assert grid.shape == (2, 4)
    assert tuple(stacked.get_size_inches()) == pytest.approx((11, 8 * (11 * 375 / 1242 + 0.3)))
    assert grid[1, 2].get_subplotspec().get_geometry() == (8, 1, 6, 6)
    mixed, _ = camera_grid([KITTI, NUSCENES], 4, width=4.0)
    assert tuple(mixed.get_size_inches()) == (16, 2 * (4 * 900 / 1600 + 0.3))


def test_a_legend_makes_its_figure_higher_by_its_rows() -> None:
    """Eight columns at most, and as many as fit: rows of 8 points, 1.5 of them a line."""
    heights = {}
    for width, names in ((20, "abcdefgh"), (20, "abcdefghi"), (1, "abc")):
        figure = Figure(figsize=(width, 2))
        legend_below(figure, dict.fromkeys(names, "red"))
        heights[width, names] = figure.get_figheight() - 2
        assert [text.get_text() for text in figure.legends[0].get_texts()] == list(names)
    rows = [(height * 72 / 8 - 1) / 1.5 for height in heights.values()]
    assert rows == pytest.approx([1, 2, 3])


def test_a_sweep_from_above_is_cut_around_its_centre_the_highest_points_on_top() -> None:
    figure, (axes, other) = above_row(2)
    assert tuple(figure.get_size_inches()) == (10, 5.4)
    xyz = np.array([[3, -2, 5], [4, -1, 1], [3, -6, 0], [0, -2, 0], [3.5, -2, 2]], float)
    colours = np.eye(5)[:, :3]
    draw_above(axes, xyz, colours, "name", radius=2, centre=(3, -2))
    assert (axes.get_xlim(), axes.get_ylim()) == ((1, 5), (-4, 0))
    (points,) = axes.collections
    np.testing.assert_array_equal(points.get_offsets(), xyz[[1, 4, 0], :2])
    faces = np.asarray(points.get_facecolor())[:, :3]
    np.testing.assert_array_equal(faces, colours[[1, 4, 0]])
    assert axes.get_title() == "name"
    draw_above(other, xyz, colours, "around the sensor")
    assert (other.get_xlim(), other.get_ylim()) == ((-35, 35), (-35, 35))
    assert np.shape(other.collections[0].get_offsets()) == (5, 2)


def test_pixels_lie_on_their_image_to_its_edges() -> None:
    _, axes = above_row(3)
    image = np.full((4, 6, 3), (10, 20, 60), np.uint8)
    pixels, colours = np.array([[0, 0], [5, 3.0]]), np.array([[1, 0, 0], [0, 1.0, 0]])
    draw_camera(axes[0], image, (6, 4), "image")
    draw_camera(axes[1], image, (6, 4), "points", pixels, colours)
    draw_camera(axes[2], None, (6, 4), "no image", pixels, colours)
    for each in axes:
        assert (each.get_xlim(), each.get_ylim()) == ((-0.5, 5.5), (3.5, -0.5))
    assert [len(each.images) for each in axes] == [1, 1, 0]
    np.testing.assert_array_equal(np.asarray(axes[0].images[0].get_array()), image)
    np.testing.assert_array_equal(np.asarray(axes[1].images[0].get_array()), np.full((4, 6), 10))
    for each in axes[1:]:
        np.testing.assert_array_equal(each.collections[0].get_offsets(), pixels)


def test_a_title_makes_its_figure_higher_and_never_wider() -> None:
    figure = Figure(figsize=(3, 2))
    write_title(figure, "W" * 200)
    assert boxes(figure)["title"].width <= figure.bbox.width
    assert figure.get_figwidth() == 3
    assert figure.get_figheight() > 3
