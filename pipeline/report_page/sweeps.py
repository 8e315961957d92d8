"""Sweeps for the page's 3D view: points, colours and features in as few bytes as they need."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from ..pictures.class_colours import class_colours
from ..pictures.feature_colours import FeatureColours
from ..pictures.figures import draw_above
from ..pictures.labels import RIGHT, UNKNOWN, WRONG, LabelledCloud
from ..pictures.recording import RecordedFrame
from .images import Picture, figure_picture

STEP = 0.01
"""Metres between neighbouring values of a coordinate, where the sweep is not too wide for it."""
WIDEST = np.iinfo(np.int16).max
LEVELS = 127
"""Of an int8 feature, on either side of 0."""
FIT_ROWS = 20_000
"""Features that principal directions are fitted on, at most."""
STEPS = 8
"""Dimensions are taken in steps of so many."""
ENOUGH = 0.995
"""Share of the variance of the cosine that is enough."""
QUERIES = 64
"""Points whose similarity to all others is compared with that of the full features."""
OWN_COLOURS = (
    "Red, green and blue: three principal directions of the student's features; like features have "
    "like colours."
)
TEACHER_COLOURS = (
    "Red, green and blue: three principal directions of the teacher's features. Grey: no camera "
    "sees the point."
)
PREDICTION_COLOURS = "What the student predicts of the teacher's features, in the same colours."
POINT_COLOURS = {
    "teacher, where a camera sees": ("teacher", "teacher", TEACHER_COLOURS),
    "features of student": ("prediction", "prediction of the teacher", PREDICTION_COLOURS),
}
"""Colours of a frame that the view offers: key, name and words there."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How much of the similarity of full features the reduced ones tell.

    Attributes:
        dimensions, of: principal dimensions that are kept, of how many.
        share: share of the variance of the cosine, over pairs of points, that is kept (R squared).
        error: mean absolute difference of the cosine.
    """

    dimensions: int
    of: int
    share: float
    error: float

    def __str__(self) -> str:
        return (
            f"{self.dimensions} of {self.of} principal dimensions in 8 bits: they keep "
            f"{100 * self.share:.2f} % of the variance of the cosine similarity and miss it by "
            f"{self.error:.3f} in the mean"
        )


@dataclass(frozen=True, slots=True)
class ReducedFeatures:
    """Unit features along their first principal directions, in 8 bits.

    Attributes:
        codes: (N, D) int8.
        scales: (D,) float32: a coordinate is its code times its scale.
        fidelity: what that keeps.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    fidelity: Fidelity

    @classmethod
    def of(cls, features: Tensor, dimensions: int, seed: int = 0) -> "ReducedFeatures":
        """Reduce features (N, C), float32, of which only directions count.

        The directions are those of the uncentred features, which keep inner products best. Of
        `dimensions` at most so many are taken, in steps of `STEPS`, as keep `ENOUGH`.
        """
        unit = normalize(features.double(), dim=1)
        spread = unit[:: max(1, len(unit) // FIT_ROWS)]
        _, vectors = torch.linalg.eigh(spread.T @ spread)  # eigenvalues ascend
        most = min(dimensions, unit.shape[1])
        reduced = (unit @ vectors.flip(1)[:, :most]).numpy()
        queries = np.random.default_rng(seed).permutation(len(unit))[:QUERIES]
        for count in range(STEPS, most, STEPS):
            candidate = cls._of_coordinates(reduced[:, :count], unit.numpy(), queries)
            if candidate.fidelity.share >= ENOUGH:
                return candidate
        return cls._of_coordinates(reduced, unit.numpy(), queries)

    @classmethod
    def _of_coordinates(
        cls, reduced: NDArray[np.float64], unit: NDArray[np.float64], queries: NDArray[np.integer]
    ) -> "ReducedFeatures":
        scales = (np.abs(reduced).max(0, initial=0) / LEVELS).astype(np.float32)
        scales[scales == 0] = 1
        codes = np.rint(reduced / scales).astype(np.int8)
        return cls(codes, scales, _kept(unit, codes * scales.astype(np.float64), queries))

    def similarity(self, point: int) -> NDArray[np.float64]:
        """(N,) cosines to a point as the page computes them: inner products of the reduced
        features. They are not brought to length one again, which would add what was left out to
        every point alike."""
        reduced = self.codes * self.scales.astype(np.float64)
        return reduced @ reduced[point]


def _kept(
    unit: NDArray[np.float64], reduced: NDArray[np.float64], queries: NDArray[np.integer]
) -> Fidelity:
    """What `reduced` keeps of the cosines of some rows to all."""
    full, own = unit[queries] @ unit.T, reduced[queries] @ reduced.T
    variance = ((full - full.mean()) ** 2).mean()
    share = 1 - ((full - own) ** 2).mean() / variance if variance > 0 else 1.0
    error = float(np.abs(full - own).mean())
    return Fidelity(reduced.shape[1], unit.shape[1], float(share), error)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep as the 3D view gets it.

    Attributes:
        title: run and frame.
        points: how many are drawn, of how many.
        fidelity: what the features keep; None without features.
        data: what JavaScript reads, see `view.js`.
        picture: of the sweep from above, where there is no WebGL.
    """

    title: str
    points: tuple[int, int]
    fidelity: Fidelity | None
    data: Mapping[str, Any]
    picture: Picture

    @property
    def has_classes(self) -> bool:
        """Whether its points can be coloured by class."""
        return any("legend" in colouring for colouring in self.data["colourings"])

    @property
    def words(self) -> str:
        """How many points are drawn, and what their features keep."""
        drawn, total = self.points
        share = f"{drawn:,} points" if drawn == total else f"{drawn:,} of {total:,} points, drawn"
        share += "" if drawn == total else " at random"
        return f"{share}; features: {self.fidelity}" if self.fidelity else share

    @classmethod
    def of(
        cls, frame: RecordedFrame, run: str, limit: int, dimensions: int, seed: int = 0
    ) -> "Sweep":
        """Pack a frame that was looked at; of more than `limit` points so many drawn by `seed`."""
        total = len(frame.xyz)
        rows = np.sort(np.random.default_rng(seed).permutation(total)[:limit])
        xyz = np.asarray(frame.xyz)[rows]
        colourings = _class_colourings(frame.cloud, rows) if frame.cloud else []
        reduced = None
        if frame.features is not None:
            features = frame.features[torch.from_numpy(rows)]
            own = FeatureColours(features).stretched(features)(features)
            colourings.append(_colours("features", "features", own, OWN_COLOURS))
            reduced = ReducedFeatures.of(features, dimensions, seed)
        if not frame.cloud:
            for name, colours in frame.colours.items():
                if name in POINT_COLOURS:
                    key, title, words = POINT_COLOURS[name]
                    colourings.append(_colours(key, title, colours[rows], words))
        title = f"{run}, {frame.id}"
        data = {"title": title, **_places(xyz), "colourings": colourings}
        if reduced:
            data["features"] = {
                "codes": _text(reduced.codes),
                "scales": reduced.scales.tolist(),
                "dimensions": reduced.codes.shape[1],
            }
        picture = _picture(xyz, _first_colours(frame)[rows], title)
        return cls(title, (len(rows), total), reduced and reduced.fidelity, data, picture)


def viridis() -> str:
    """The colours of a similarity, (256, 3) uint8 as base64: those of `pictures.similarity`."""
    return _text(np.rint(255 * colormaps["viridis"](np.arange(256))[:, :3]).astype(np.uint8))


def _text(values: NDArray[Any]) -> str:
    """Little-endian bytes as base64."""
    return b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()


def _places(xyz: NDArray[np.floating]) -> dict[str, Any]:
    """Coordinates as int16 multiples of a step, from the middle of the sweep."""
    low, high = xyz.min(0).astype(np.float64), xyz.max(0).astype(np.float64)
    middle = (low + high) / 2
    step = max(STEP, float((high - low).max()) / 2 / WIDEST)
    codes = np.rint((xyz - middle) / step).astype(np.int16)
    return {"count": len(xyz), "xyz": _text(codes), "step": step, "middle": middle.tolist()}


def _colours(key: str, name: str, colours: NDArray[np.float64], words: str) -> dict[str, Any]:
    """A colouring with a colour a point, and what the colours mean."""
    return {
        "key": key,
        "name": name,
        "words": words,
        "rgb": _text(np.rint(255 * colours).astype(np.uint8)),
    }


def _class_colourings(cloud: LabelledCloud, rows: NDArray[np.integer]) -> list[dict[str, Any]]:
    """Prediction, truth and errors, each a number a point and what the numbers mean."""
    names = list(cloud.class_names)
    palette = class_colours(names).tolist()
    classes = [
        {"name": name, "colour": colour} for name, colour in zip(names, palette, strict=True)
    ]
    prediction = cloud.prediction[rows].astype(np.uint8)
    colourings: list[dict[str, Any]] = [
        {
            "key": "class",
            "name": "prediction",
            "values": _text(prediction),
            "legend": classes,
        }
    ]
    if cloud.truth is None:
        return colourings
    truth = cloud.truth[rows]
    counts = truth != cloud.ignore
    none = {"name": "no label", "colour": _bytes(UNKNOWN)}
    truth_values = np.where(counts, truth, len(names)).astype(np.uint8)
    errors = np.where(counts, (truth != prediction).astype(np.uint8), 2).astype(np.uint8)
    right = {"name": "right", "colour": _bytes(RIGHT)}
    wrong = {"name": "wrong", "colour": _bytes(WRONG)}
    return [
        *colourings,
        {"key": "truth", "name": "labels", "values": _text(truth_values),
         "legend": [*classes, none]},
        {"key": "error", "name": "errors", "values": _text(errors),
         "legend": [right, wrong, none]},
    ]  # fmt: skip


def _bytes(colour: Sequence[float]) -> list[int]:
    return [round(255 * part) for part in colour]


def _first_colours(frame: RecordedFrame) -> NDArray[np.float64]:
    return next(iter(frame.colours.values()))


def _picture(xyz: NDArray[np.floating], colours: NDArray[np.float64], title: str) -> Picture:
    """The sweep from above."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    draw_above(figure.subplots(), xyz, colours, title)
    return figure_picture(figure, "above", f"{title} from above.")
