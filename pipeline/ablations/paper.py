"""The paper's figures of a grid's rows."""

from collections.abc import Iterable

from ..results.published import published_row, source_of
from .cells import Measurement, Row


def published_figures(
    row: Row, measurements: Iterable[Measurement]
) -> tuple[dict[str, float], str]:
    """Figures by column of the table, and where they are from; nothing for a row that the paper
    does not have."""
    paper = None if row.untrained else published_row(row.settings)
    if paper is None:
        return {}, ""
    figures = dict(paper.ranks)
    for measurement in measurements:
        own = measurement.settings
        figure = paper.figure((own.dataset or "", own.mode, own.fraction))
        if figure is not None and own.recipe == "paper" and not own.frames_file:
            figures[measurement.key] = figure
    return figures, source_of(paper, row.settings) if figures else ""
