"""Benchmark of the occlusion test: against the ray-cast truth of generated drives, and as a picture
of a real frame."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from ...cache.frame import Camera, Frame
from ...cache.images import load_image
from ...cache.occlusion import hidden_points
from ...cache.projection import in_view, project
from ...errors import CleverError
from ...words import quantity
from ..datasets import open_dataset
from ..drives import CAMERAS, CATEGORIES, CameraModel, Recipe, ground_truth, recorded_sweep, seconds
from ..process.progress import Track
from ..results.tables import markdown_table
from ..settings.benchmarks.occlusion import BenchmarkOcclusionSettings
from .report import Json, machine, write_report

TRUTH_ABSOLUTE, TRUTH_RELATIVE = 0.5, 0.05
"""A point is truly hidden when what the pixel shows is nearer by these metres and by this share of
its depth."""
RANGE_NOISE = 0.02
VISIBLE_COLOUR, HIDDEN_COLOUR = "#35c0f0", "#ff3b30"


@dataclass(frozen=True, slots=True)
class OcclusionCounts:
    """How many pairs there are, how many are truly hidden, how many the test calls hidden, and how
    many are both."""

    pairs: int = 0
    hidden: int = 0
    detections: int = 0
    hits: int = 0

    @classmethod
    def of(cls, truth: NDArray[np.bool_], detection: NDArray[np.bool_]) -> "OcclusionCounts":
        """Of the pairs of which `truth` and `detection` (N,) say whether they are hidden."""
        hits = int((truth & detection).sum())
        return cls(len(truth), int(truth.sum()), int(detection.sum()), hits)

    def __add__(self, other: "OcclusionCounts") -> "OcclusionCounts":
        return OcclusionCounts(
            self.pairs + other.pairs,
            self.hidden + other.hidden,
            self.detections + other.detections,
            self.hits + other.hits,
        )

    @property
    def precision(self) -> float:
        """Share of the detections that are truly hidden."""
        return self.hits / max(self.detections, 1)

    @property
    def recall(self) -> float:
        """Share of the truly hidden that are detected."""
        return self.hits / max(self.hidden, 1)

    def to_json(self) -> Json:
        return {**asdict(self), "precision": self.precision, "recall": self.recall}


def benchmark_occlusion(settings: BenchmarkOcclusionSettings) -> dict[str, OcclusionCounts]:
    """Counts by class of the point, the frequent first, and in ``all``; the JSON goes to
    ``settings.out``.

    A point is truly hidden when the farthest thing that the 3x3 pixels around its own show is
    nearer than the point by more than `TRUTH_ABSOLUTE` metres and `TRUTH_RELATIVE` of its depth.

    Raises:
        CleverError: a picture is asked for, but its frame cannot be read.
    """
    recipe = Recipe(settings.seed, 21, settings.image_width, settings.azimuths, RANGE_NOISE)
    moments = np.linspace(0, recipe.keyframes - 1, settings.keyframes).round().astype(int).tolist()
    by_class = [OcclusionCounts() for _ in CATEGORIES]
    with Track("occlusion", settings.scenes * len(moments), "keyframes") as track:
        for scene in range(1, settings.scenes + 1):
            for keyframe in moments:
                sweep = recorded_sweep(recipe, scene, keyframe)
                points, labels = sweep.points[:, :3].astype(np.float64), sweep.labels
                for model in CAMERAS:
                    visible_points, truth, detection = compare(
                        recipe, scene, keyframe, model, points
                    )
                    point_labels = labels[visible_points]
                    for label in np.unique(point_labels).tolist():
                        same = point_labels == label
                        by_class[label] += OcclusionCounts.of(truth[same], detection[same])
                track.advance()
    order = sorted(range(len(CATEGORIES)), key=lambda label: -by_class[label].pairs)
    counts = {CATEGORIES[label]: by_class[label] for label in order if by_class[label].pairs}
    counts = {"all": sum(counts.values(), OcclusionCounts()), **counts}
    if settings.picture:
        draw_occlusion(_frame(settings), settings.picture)
    results: Json = {"classes": {name: count.to_json() for name, count in counts.items()}}
    write_report(
        settings.out, "occlusion", settings.model_dump(mode="json"), machine(("scipy",)), results
    )
    return counts


def compare(
    recipe: Recipe, scene: int, keyframe: int, model: CameraModel, points: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """What the occlusion test says of the points that project into a camera's image.

    Args:
        points: (N, 3) metres, in the LiDAR frame at the time of the keyframe.

    Returns:
        Indices of those M points, whether they are truly hidden (M,), and whether the test calls
        them so (M,).
    """
    camera = recorded_camera(recipe, scene, keyframe, model)
    uv, depth = project(points, camera)
    visible_points = np.flatnonzero(in_view(uv, depth, camera, 1.0, 1.0))
    uv, depth = uv[visible_points], depth[visible_points]
    surface = maximum_filter(
        ground_truth(recipe, f"scene-{scene:04}", keyframe, model.channel).depth, 3
    )
    column, row = np.rint(uv).astype(np.intp).T
    truth = surface[row, column] < depth - np.maximum(TRUTH_ABSOLUTE, TRUTH_RELATIVE * depth)
    return visible_points, truth, hidden_points(uv, depth, camera)


def occlusion_table(counts: dict[str, OcclusionCounts]) -> str:
    """A row a class as Markdown."""
    rows = [
        [
            name,
            f"{count.pairs:,}",
            f"{count.hidden:,} ({count.hidden / count.pairs:.1%})",
            f"{count.detections:,}",
            f"{count.precision:.3f}" if count.detections else "",
            f"{count.recall:.3f}" if count.hidden else "",
        ]
        for name, count in counts.items()
    ]
    return markdown_table(
        ["class", "pairs", "truly hidden", "found hidden", "precision", "recall"], rows
    )


def draw_occlusion(frame: Frame, path: Path) -> None:
    """Every camera image of a frame with its kept and its dropped pairs in two colours, and their
    numbers."""
    columns = min(3, len(frame.cameras))
    rows = -(-len(frame.cameras) // columns)
    width, height = frame.cameras[0].width, frame.cameras[0].height
    panel = 6.4 if columns > 1 else 12.0
    figure = Figure(
        figsize=(panel * columns, (panel * height / width + 0.4) * rows + 0.3), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    total = dropped = 0
    for axes, camera in zip(panels, frame.cameras, strict=False):
        uv, depth = project(frame.points[:, :3], camera)
        visible = in_view(uv, depth, camera, 1.0, 1.0)
        uv, behind = uv[visible], hidden_points(uv[visible], depth[visible], camera)
        total, dropped = total + len(uv), dropped + int(behind.sum())
        axes.imshow(load_image(camera.image, camera.width, camera.height))
        axes.scatter(*uv[~behind].T, s=1.2, c=VISIBLE_COLOUR, linewidths=0)
        axes.scatter(*uv[behind].T, s=7, c=HIDDEN_COLOUR, linewidths=0)
        axes.set_title(
            f"{camera.name}: {len(uv) - behind.sum():,} kept, {behind.sum():,} dropped", fontsize=10
        )
        axes.set(xlim=(0, camera.width), ylim=(camera.height, 0))
    for axes in panels:
        axes.axis("off")
    share = dropped / max(total, 1)
    figure.suptitle(
        f"{frame.id}: {total:,} pairs, {dropped:,} ({share:.1%}) dropped, hidden behind nearer "
        "points"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def recorded_camera(recipe: Recipe, scene: int, keyframe: int, model: CameraModel) -> Camera:
    """A camera of the rig, ego motion between sweep and image compensated; there is no image
    file."""
    ego, width = recipe.world(scene).ego, recipe.image_width
    sweep_ego, image_ego = ego.at(seconds(keyframe)), ego.at(seconds(keyframe, model.trigger))
    pose = model.from_lidar(recipe.lidar, sweep_ego, image_ego)
    return Camera(model.channel, Path(), width, width * 9 // 16, model.intrinsics(width), pose)


def _frame(settings: BenchmarkOcclusionSettings) -> Frame:
    dataset = open_dataset(settings, settings.dataset)
    if settings.frame >= len(dataset):
        raise CleverError(
            f"`frame={settings.frame}`: the dataset has {quantity(len(dataset), 'frame')}, "
            "counted from 0"
        )
    return dataset.frame(settings.frame)
