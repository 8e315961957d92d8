"""The paper's figures of a grid's rows."""

from collections.abc import Iterable, Iterator

from ..corrupted.published import TABLE_7, TABLE_A5
from ..corrupted.published import PublishedRow as CorruptedRow
from ..results.published import (
    DETECTION,
    LINEAR_HEAD,
    METHOD,
    MINKUNET,
    RIVALS,
    PublishedRow,
    published_row,
    source_of,
)
from ..settings.detect import DetectSettings
from ..settings.finetune import FinetuneSettings
from ..settings.pretrain import PretrainSettings
from ..settings.robustness import RobustnessSettings
from ..settings.shared.recipes import read_recipe
from .cells import Row
from .corrupted_sweeps import EVERY, MCE, MRR
from .measurements import Measurement

OF_ROWS = {METHOD: "CleverDistiller", LINEAR_HEAD: "ScaLR"}
"""What Tables 7 and A5 call rows of Table 3."""
OF_RECIPES = {"ppkt": "PPKT", "slidr": "SLidR", "superflow": "SuperFlow"}
"""And recipes."""
BASELINE = "nuscenes-c"
CORRUPTED_SOURCE = (
    "paper: {table}, MinkUNet-34 on nuScenes-C, epochs of pre-training as in the row, single runs; "
    "it prints no clean mIoU"
)
DETECTION_SOURCE = (
    "paper: Table A3, PointRCNN on MinkUNet-34, KITTI at moderate, ViT-S teacher, single runs"
)
Published = tuple[dict[str, float], str]
"""Figures by column of the table, and where they are from."""


def published_figures(row: Row, measurements: Iterable[Measurement]) -> Published:
    """Figures by column of the table, and where they are from, a line a source; nothing for what
    the paper does not have."""
    figures: dict[str, float] = {}
    sources: list[str] = []
    measurements = list(measurements)
    paper, source = (None, "") if row.untrained else _segmentation_row(row.settings)
    if paper:
        figures |= paper.ranks
        figures |= _segmentation(paper, measurements)
        sources += [source] if figures else []
    for measurement in measurements:
        for own, origin in _others(row, measurement):
            figures |= own
            sources.append(origin)
    return figures, "\n".join(dict.fromkeys(sources))


def counterpart(row: Row) -> str:
    """What the paper calls a row of Tables 1 to 3 and A2; nothing for a row that it does not have,
    and for a rival, which has its own name."""
    if row.untrained or (_whole(row.settings) and row.settings.recipe in RIVALS):
        return ""
    paper = published_row(row.settings)
    return paper.label if paper else ""


def _segmentation_row(settings: PretrainSettings) -> tuple[PublishedRow | None, str]:
    """The row of Tables 1 to 4, A2 and A6, and where it is from."""
    if _whole(settings) and settings.recipe in RIVALS:
        return RIVALS[settings.recipe]
    paper = published_row(settings)
    return paper, source_of(paper, settings) if paper else ""


def _whole(settings: PretrainSettings) -> bool:
    """Whether a run has the loss terms of its recipe."""
    return settings.terms == tuple(read_recipe(settings.recipe).get("terms", ()))


def _segmentation(paper: PublishedRow, measurements: Iterable[Measurement]) -> dict[str, float]:
    figures = {}
    for measurement in measurements:
        own = measurement.settings
        if not isinstance(own, FinetuneSettings) or own.recipe != "paper" or own.frames_file:
            continue
        figure = paper.figure((own.dataset or "", own.mode, own.fraction))
        if figure is not None:
            figures[measurement.key] = figure
    return figures


def _others(row: Row, measurement: Measurement) -> Iterator[Published]:
    """Figures of corrupted sweeps and of detectors."""
    own, basis = measurement.settings, measurement.of and measurement.of.settings
    if isinstance(own, RobustnessSettings) and isinstance(basis, FinetuneSettings):
        yield from _corrupted(row, measurement, own, basis)
    if isinstance(own, DetectSettings):
        yield from _detected(row, measurement, own)


def _corrupted(
    row: Row, measurement: Measurement, own: RobustnessSettings, basis: FinetuneSettings
) -> Iterator[Published]:
    """The row of Table 7 or A5, where all that decides it is the paper's."""
    theirs = (
        own.baseline in (None, BASELINE) and not own.strength and len(own.corruptions) == len(EVERY)
    )
    alike = basis.recipe == "paper" and basis.fraction == 1 and not basis.frames_file
    paper = (TABLE_7 if basis.mode == "probe" else TABLE_A5).get(_corrupted_name(row))
    if paper is None or not theirs or not alike:
        return
    columns = measurement.columns
    figures = {columns[name].key: figure for name, figure in _scores(paper).items()}
    table = "Table 7, linear probes" if basis.mode == "probe" else "Table A5, fine-tuned"
    yield figures, CORRUPTED_SOURCE.format(table=table)


def _scores(paper: CorruptedRow) -> dict[str, float]:
    return {MCE: paper.mce, MRR: paper.mrr}


def _corrupted_name(row: Row) -> str:
    """What Tables 7 and A5 call a row; one that they do not have for what is none of theirs."""
    own = row.settings
    if row.untrained:
        return "Random" if own.student == MINKUNET else ""
    paper = published_row(own)
    if own.student != MINKUNET:
        return ""
    name = OF_ROWS.get(paper.name, "") if paper else ""
    if _whole(own):
        name = OF_RECIPES.get(own.recipe, name)
    return f"{name}, {own.epochs} epochs"


def _detected(row: Row, measurement: Measurement, own: DetectSettings) -> Iterator[Published]:
    """The figures of Table A3, where all that decides them is the paper's."""
    random, distilled = DETECTION.get(own.fraction[0], (None, None))
    paper = None if row.untrained else published_row(row.settings)
    ours = row.untrained or (paper is not None and paper.name == METHOD)
    theirs = own.dataset == "kitti" and own.detector == "point-rcnn" and own.mode == "full"
    if random is None or distilled is None or not ours or not theirs:
        return
    if row.settings.student == MINKUNET:
        (column,) = measurement.columns.values()
        yield {column.key: random if row.untrained else distilled}, DETECTION_SOURCE
