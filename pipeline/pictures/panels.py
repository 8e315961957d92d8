"""Pictures of a distillation run: loss curve, features as colours beside the camera images, IoU by
class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ...cache import CachedFrame, FeatureCache
from ...cache.codec import decode
from ...cache.frame import Frame
from ...cache.images import load_image
from ...cache.sampling import sample_tokens
from ...student.heads import ProjectionHead
from ...student.points import PointBatch
from ...student.student import Student

INK = "#222222"
COLOURS = ("#1f5fa8", "#d9822b", "#3f8f5b", "#8a5aa8")


def loss_curve(records: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Losses of a run over its steps, raw and smoothed, one panel a loss.

    Args:
        records: lines of the run's log, each with ``step`` and losses.
    """
    names = [
        name
        for name in ("distillation", "occupancy", "intensity")
        if any(name in line for line in records)
    ]
    figure = Figure(figsize=(4.2 * len(names), 3.2), layout="constrained")
    for axes, name, colour in zip(
        figure.subplots(1, len(names), squeeze=False)[0], names, COLOURS, strict=False
    ):
        lines = [(line["step"], line[name]) for line in records if name in line]
        steps, values = np.array(lines).T
        window = max(1, len(values) // 20)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(
            steps[window - 1 :],
            smooth,
            color=colour,
            linewidth=1.8,
            label=f"mean of {window} steps",
        )
        axes.set(title=name, xlabel="step")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(fill(title, 95), fontsize=9, color=INK)
    _save(figure, path)


def iou_bars(results: Mapping[str, Mapping[str, float | None]], title: str, path: Path) -> None:
    """IoU by class of several runs side by side; a class without points in the split has no bar.

    Args:
        results: class -> IoU in [0, 1], or None, by name of the run.
    """
    classes = [
        name
        for name in next(iter(results.values()))
        if any(run[name] is not None for run in results.values())
    ]
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(classes)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(results)
    for number, ((name, run), colour) in enumerate(zip(results.items(), COLOURS, strict=False)):
        values = [100 * (run[cls] or 0.0) for cls in classes]
        positions = np.arange(len(classes)) + (number - (len(results) - 1) / 2) * height
        bars = axes.barh(positions, values, height * 0.92, color=colour, label=name)
        axes.bar_label(bars, [f"{value:.0f}" for value in values], padding=2, fontsize=7, color=INK)
    axes.set_yticks(np.arange(len(classes)), classes, fontsize=9)
    axes.invert_yaxis()
    axes.set(xlim=(0, 105), xlabel="IoU, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(fill(title, 95), fontsize=9, color=INK)
    _save(figure, path)


class FeatureColours:
    """Three principal directions of a set of features as red, green and blue.

    Args:
        features: (K, C) float32 the directions are fitted on, normalised first.
    """

    def __init__(self, features: Tensor) -> None:
        unit = normalize(features.double(), dim=1)
        self._mean = unit.mean(0)
        _, _, directions = torch.linalg.svd(
            (unit - self._mean)[:: max(1, len(unit) // 20000)], full_matrices=False
        )
        # A direction's sign is arbitrary: fix it, so that the same features always have the same
        # colours.
        largest = directions[:3].gather(1, directions[:3].abs().argmax(1, keepdim=True))
        self._directions = (directions[:3] * largest.sign()).T
        values = (unit - self._mean) @ self._directions
        self._low, self._high = values.quantile(0.02, 0), values.quantile(0.98, 0)

    def __call__(self, features: Tensor) -> NDArray[np.float64]:
        """(..., 3) colours in [0, 1] of (..., C) features."""
        values = (normalize(features.double(), dim=-1) - self._mean) @ self._directions
        return ((values - self._low) / (self._high - self._low)).clamp(0, 1).numpy()


def feature_panels(
    cache_frame: CachedFrame,
    frame: Frame,
    cameras: Sequence[int],
    students: Mapping[str, tuple[Student, ProjectionHead]],
    path: Path,
) -> dict[str, float]:
    """For some cameras of a frame: the image, the teacher's tokens, and what each student predicts
    at its points.

    All panels of features share one set of colours, fitted on the teacher's features at the points.

    Returns:
        Mean cosine between prediction and teacher over the frame's pairs, by student.
    """
    target = sample_tokens(
        cache_frame.tokens,
        cache_frame.pair_camera,
        cache_frame.pair_uv,
        cache_frame.image_size,
        cache_frame.calibration,
    )
    colours = FeatureColours(target)
    predictions = {name: _predict(cache_frame, *networks) for name, networks in students.items()}
    cosines = {
        name: float((normalize(target, dim=1) * values).sum(1).mean())
        for name, values in predictions.items()
    }
    aspect = frame.cameras[cameras[0]].height / frame.cameras[cameras[0]].width
    columns = 2 + len(students)
    figure = Figure(
        figsize=(4.2 * columns, 4.2 * aspect * len(cameras) + 0.4), layout="constrained"
    )
    for row, camera in zip(
        figure.subplots(len(cameras), columns, squeeze=False), cameras, strict=True
    ):
        source = frame.cameras[camera]
        image = load_image(source.image, source.width, source.height)
        extent = (-0.5, source.width - 0.5, source.height - 0.5, -0.5)
        tokens = decode(cache_frame.tokens[camera], cache_frame.calibration).permute(2, 0, 1)[None]
        smooth = interpolate(tokens, scale_factor=8, mode="bilinear")[0].permute(1, 2, 0)
        row[0].imshow(image)
        row[1].imshow(colours(smooth), extent=extent)
        camera_pairs = cache_frame.pair_camera == camera
        pixels = (cache_frame.pair_uv[camera_pairs] * cache_frame.image_size[camera] - 0.5).numpy()
        for axes, values in zip(row[2:], predictions.values(), strict=True):
            axes.imshow(image.mean(2), cmap="gray", alpha=0.35)
            axes.scatter(
                *pixels.T, c=colours(values[camera_pairs]), s=4 * 800 / source.width, linewidths=0
            )
        titles = [
            source.name,
            "teacher",
            *(f"{name}: cosine {cosines[name]:.2f}" for name in students),
        ]
        for axes, title in zip(row, titles, strict=True):
            axes.set_title(title, fontsize=10, color=INK)
            axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
    _save(figure, path)
    return cosines


def cloud_panels(
    cache_frame: CachedFrame, students: Mapping[str, Student], path: Path, radius: float = 35.0
) -> None:
    """The sweep from above, coloured by each student's backbone features, each with colours of its
    own."""
    figure = Figure(figsize=(5 * len(students), 5.2), layout="constrained")
    xy = cache_frame.points[:, :2]
    in_reach = xy.abs().amax(1) < radius
    order = cache_frame.points[in_reach, 2].argsort()
    for axes, (name, student) in zip(
        figure.subplots(1, len(students), squeeze=False)[0], students.items(), strict=True
    ):
        with torch.inference_mode():
            features = student.eval()(PointBatch.from_clouds([cache_frame.points]))[in_reach][order]
        axes.scatter(
            *xy[in_reach][order].T.numpy(),
            c=FeatureColours(features)(features),
            s=1.2,
            linewidths=0,
        )
        axes.set_title(name, fontsize=10, color=INK)
        axes.set(
            aspect="equal",
            xlim=(-radius, radius),
            ylim=(-radius, radius),
            xlabel="x, m",
            ylabel="y, m",
        )
        axes.set_facecolor("#111111")
    _save(figure, path)


def best_cameras(cache: FeatureCache, cache_frame: CachedFrame, count: int) -> list[int]:
    """The cameras of a frame that see most points, in camera order."""
    pair_counts = torch.bincount(cache_frame.pair_camera, minlength=len(cache.cameras))
    return sorted(pair_counts.argsort(descending=True, stable=True)[:count].tolist())


def _predict(cache_frame: CachedFrame, student: Student, head: ProjectionHead) -> Tensor:
    with torch.inference_mode():
        features = student.eval()(PointBatch.from_clouds([cache_frame.points]))
        return normalize(head.eval()(features[cache_frame.pair_point]), dim=1).clone()


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
