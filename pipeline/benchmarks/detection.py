"""How long overlaps and suppression of boxes take, beside polygons of shapely."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..detection.boxes import Boxes
from ..detection.overlap import bev_iou, iou_3d
from ..detection.suppression import suppressed
from ..process.device import choose_device
from ..process.progress import Track
from ..results.tables import markdown_table
from ..settings.benchmarks.detection import BenchmarkDetectionSettings
from ..training.seeds import stream
from .durations import Stopwatch
from .report import Json, machine, ratios, spread, write_report

PACKAGES = ("shapely",)
_REACH = 40.0
"""Metres around the LiDAR in which objects lie."""


@dataclass(frozen=True, slots=True)
class Side:
    """Rounds of one thing that is timed.

    Attributes:
        work: how much it was.
        seconds: median and quartiles of the rounds.
        ratio: the other side's seconds over these, round by round; None where there is no other.
    """

    name: str
    work: str
    seconds: Json
    ratio: Json | None = None

    def to_json(self) -> Json:
        return {"name": self.name, "work": self.work, "seconds": self.seconds, "ratio": self.ratio}


def benchmark_detection(settings: BenchmarkDetectionSettings) -> list[Side]:
    """Time everything once in every round; the JSON goes to ``settings.out``."""
    device = choose_device(settings.device)
    boxes, others = (
        _crowd(settings, settings.boxes, part).rows.to(device) for part in ("first", "second")
    )
    crowd = _crowd(settings, settings.proposals, "proposals")
    proposals = Boxes(crowd.rows.to(device))
    scores = torch.rand(len(crowd), generator=stream(settings.seed, "scores")).to(device)
    pairs = f"{settings.boxes} x {settings.boxes} boxes"
    sides: dict[str, tuple[str, Callable[[], object]]] = {
        "overlap from above": (pairs, lambda: bev_iou(Boxes(boxes), Boxes(others))),
        "overlap in space": (pairs, lambda: iou_3d(Boxes(boxes), Boxes(others))),
        "overlap from above, shapely": (pairs, lambda: _polygons(boxes.cpu(), others.cpu())),
    }
    for overlap, survivors in ((0.1, 500), (0.8, 512), (0.85, 100)):
        sides[f"suppression at {overlap:g}, {survivors} remain at most"] = (
            f"{settings.proposals} boxes",
            lambda overlap=overlap, survivors=survivors: suppressed(
                proposals, scores, overlap, None, survivors
            ),
        )
    times: dict[str, list[float]] = {name: [] for name in sides}
    with Track("detection", settings.rounds, "rounds") as track:
        for _ in range(settings.rounds):
            for name, (_, work) in sides.items():
                watch = Stopwatch(device)
                with watch:
                    work()
                times[name].append(watch.duration.seconds)
            track.advance()
    ours, theirs = times["overlap from above"], times["overlap from above, shapely"]
    results = [
        Side(name, work, spread(times[name]), ratios(theirs, ours) if times[name] is ours else None)
        for name, (work, _) in sides.items()
    ]
    rows = {"rows": [side.to_json() for side in results]}
    content = settings.model_dump(mode="json")
    write_report(settings.out, "detection", content, machine(PACKAGES), rows)
    return results


def _crowd(settings: BenchmarkDetectionSettings, count: int, part: str) -> Boxes:
    """Boxes as an untrained head makes them: nine tenths around objects of a frame, the others
    anywhere."""
    generator = stream(settings.seed, "objects")
    objects = _REACH * (2 * torch.rand(settings.objects, 2, generator=generator) - 1)
    yaws = 2 * torch.pi * torch.rand(settings.objects, generator=generator)
    generator = stream(settings.seed, part)
    owner = torch.randint(settings.objects, (count,), generator=generator)
    near = torch.rand(count, generator=generator) < 0.9
    places = objects[owner] + 0.4 * torch.randn(count, 2, generator=generator)
    anywhere = _REACH * (2 * torch.rand(count, 2, generator=generator) - 1)
    sizes = torch.tensor([3.9, 1.6, 1.56]) * (1 + 0.1 * torch.randn(count, 3, generator=generator))
    offsets = 0.2 * torch.randn(count, 2, generator=generator)
    rows = [torch.where(near[:, None], places, anywhere), offsets[:, :1], sizes]
    return Boxes(torch.cat([*rows, (yaws[owner] + offsets[:, 1])[:, None]], 1))


def _polygons(rows: Tensor, others: Tensor) -> Tensor:
    """(N, M): the overlap by shapely, in C, one pair after another; its tree finds the pairs."""
    from shapely import STRtree, area, intersection, polygons

    ours, theirs = (
        np.asarray(polygons(Boxes(part.double()).corners()[:, :4, :2].numpy()))
        for part in (rows, others)
    )
    first, second = STRtree(theirs).query(ours)
    shared = np.asarray(area(intersection(ours[first], theirs[second])))
    whole = np.asarray(area(ours))[first] + np.asarray(area(theirs))[second] - shared
    overlaps = np.zeros((len(ours), len(theirs)))
    overlaps[first, second] = shared / whole
    return torch.from_numpy(overlaps)


def detection_table(sides: list[Side]) -> str:
    """A row a side: milliseconds, and how many times as long the other side takes."""
    rows = [
        [
            side.name,
            side.work,
            _text(side.seconds, 1000, 1),
            _text(side.ratio, 1, 2) if side.ratio else "",
        ]
        for side in sides
    ]
    header = ["", "work", "ms, median [quartiles]", "shapely over it"]
    return markdown_table(header, rows)


def _text(values: Json, factor: float, places: int) -> str:
    low, median, high = (factor * values[name] for name in ("low", "median", "high"))
    return f"{median:.{places}f} [{low:.{places}f}-{high:.{places}f}]"
