"""The paper's figures of a grid's rows."""

from collections.abc import Iterable

from ..results.published import RIVALS, published_row, source_of
from ..settings.shared.recipes import read_recipe
from .cells import Measurement, Row


def published_figures(
    row: Row, measurements: Iterable[Measurement]
) -> tuple[dict[str, float], str]:
    """Figures by column of the table, and where they are from; nothing for a row that the paper
    does not have."""
    if row.untrained:
        return {}, ""
    own_terms = tuple(read_recipe(row.settings.recipe).get("terms", ()))
    whole = row.settings.terms == own_terms
    rival, source = RIVALS.get(row.settings.recipe, (None, "")) if whole else (None, "")
    paper = rival or published_row(row.settings)
    if paper is None:
        return {}, ""
    figures = dict(paper.ranks)
    for measurement in measurements:
        own = measurement.settings
        figure = paper.figure((own.dataset or "", own.mode, own.fraction))
        if figure is not None and own.recipe == "paper" and not own.frames_file:
            figures[measurement.key] = figure
    source = source or source_of(paper, row.settings)
    return figures, source if figures else ""
