"""Benchmark of the occlusion test: against the ray-cast truth of generated drives, and as a picture
of a real frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from ...cache.frame import Camera, Frame
from ...cache.images import load_image
from ...cache.occlusion import hidden
from ...cache.projection import in_view, project
from ...errors import CleverError
from ..datasets import open_dataset
from ..drives import (
    CAMERAS,
    CATEGORIES,
    CameraModel,
    Recipe,
    ground_truth,
    recorded_sweep,
    seconds,
)
from ..progress import Track
from ..settings.benchmarks import BenchmarkOcclusionSettings
from ..tables import markdown_table
from .report import Json, machine, write_report

TRUTH_ABSOLUTE, TRUTH_RELATIVE = 0.5, 0.05
"""A point is truly hidden when what the pixel shows is nearer by these metres and by this share of
its depth."""
RANGE_NOISE = 0.02
KEPT, DROPPED = "#35c0f0", "#ff3b30"


@dataclass(frozen=True, slots=True)
class Counts:
    """Pairs, those that are truly hidden, those found hidden, and those that are both."""

    pairs: int = 0
    hidden: int = 0
    found: int = 0
    right: int = 0

    @classmethod
    def of(cls, truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> "Counts":
        return cls(len(truth), int(truth.sum()), int(found.sum()), int((truth & found).sum()))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.pairs + other.pairs,
            self.hidden + other.hidden,
            self.found + other.found,
            self.right + other.right,
        )

    @property
    def precision(self) -> float:
        """Share of those found that are truly hidden."""
        return self.right / max(self.found, 1)

    @property
    def recall(self) -> float:
        """Share of the truly hidden that are found."""
        return self.right / max(self.hidden, 1)

    def to_json(self) -> Json:
        return {
            **{name: getattr(self, name) for name in ("pairs", "hidden", "found", "right")},
            "precision": self.precision,
            "recall": self.recall,
        }


def benchmark_occlusion(settings: BenchmarkOcclusionSettings) -> dict[str, Counts]:
    """Counts by class of the point, the frequent first, and in ``all``; the JSON goes to
    ``settings.out``.

    A point is truly hidden when the farthest thing that the 3x3 pixels around its own show is
    nearer than the point by more than `TRUTH_ABSOLUTE` metres and `TRUTH_RELATIVE` of its depth.

    Raises:
        CleverError: a picture is asked for, but its frame cannot be read.
    """
    recipe = Recipe(settings.seed, 21, settings.image_width, settings.azimuths, RANGE_NOISE)
    moments = np.linspace(0, recipe.keyframes - 1, settings.keyframes).round().astype(int).tolist()
    by_class = [Counts() for _ in CATEGORIES]
    with Track("occlusion", settings.scenes * len(moments), "keyframes") as track:
        for scene in range(1, settings.scenes + 1):
            for keyframe in moments:
                sweep = recorded_sweep(recipe, scene, keyframe)
                points, labels = sweep.points[:, :3].astype(np.float64), sweep.labels
                for model in CAMERAS:
                    seen, truth, found = compare(recipe, scene, keyframe, model, points)
                    for label in np.unique(labels[seen]).tolist():
                        chosen = labels[seen] == label
                        by_class[label] = by_class[label] + Counts.of(truth[chosen], found[chosen])
                track.advance()
    order = sorted(range(len(CATEGORIES)), key=lambda label: -by_class[label].pairs)
    counts = {CATEGORIES[label]: by_class[label] for label in order if by_class[label].pairs}
    counts = {"all": sum(counts.values(), Counts()), **counts}
    if settings.picture:
        draw_occlusion(_frame(settings), settings.picture)
    results: Json = {"classes": {name: found.to_json() for name, found in counts.items()}}
    write_report(
        settings.out, "occlusion", settings.model_dump(mode="json"), machine(("scipy",)), results
    )
    return counts


def compare(
    recipe: Recipe, scene: int, keyframe: int, model: CameraModel, points: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """Indices of the points that project into a camera's image, whether they are truly hidden, and
    whether found so."""
    camera = _camera(recipe, scene, keyframe, model)
    uv, depth = project(points, camera)
    seen = np.flatnonzero(in_view(uv, depth, camera, 1.0, 1.0))
    uv, depth = uv[seen], depth[seen]
    shown = maximum_filter(
        ground_truth(recipe, f"scene-{scene:04}", keyframe, model.channel).depth, 3
    )
    column, row = np.rint(uv).astype(np.intp).T
    truth = shown[row, column] < depth - np.maximum(TRUTH_ABSOLUTE, TRUTH_RELATIVE * depth)
    return seen, truth, hidden(uv, depth, camera)


def occlusion_table(counts: dict[str, Counts]) -> str:
    """A row a class as Markdown."""
    rows = [
        [
            name,
            f"{found.pairs:,}",
            f"{found.hidden:,} ({found.hidden / found.pairs:.1%})",
            f"{found.found:,}",
            f"{found.precision:.3f}" if found.found else "",
            f"{found.recall:.3f}" if found.hidden else "",
        ]
        for name, found in counts.items()
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
        seen = in_view(uv, depth, camera, 1.0, 1.0)
        uv, behind = uv[seen], hidden(uv[seen], depth[seen], camera)
        total, dropped = total + len(uv), dropped + int(behind.sum())
        axes.imshow(load_image(camera.image, camera.width, camera.height))
        axes.scatter(*uv[~behind].T, s=1.2, c=KEPT, linewidths=0)
        axes.scatter(*uv[behind].T, s=7, c=DROPPED, linewidths=0)
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


def _camera(recipe: Recipe, scene: int, keyframe: int, model: CameraModel) -> Camera:
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
            f"--frame {settings.frame}: the dataset has {len(dataset)} frames, counted from 0"
        )
    return dataset.frame(settings.frame)
