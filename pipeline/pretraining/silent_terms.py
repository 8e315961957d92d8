"""Losses of a pre-training that nothing ever counted in."""

from collections.abc import Sequence

from ...words import quantity
from ..settings.pretrain import PretrainSettings
from ..training.log import Scalars
from .contrast_run import term_weights


def silent_terms(settings: PretrainSettings, records: Sequence[Scalars]) -> str:
    """A line on the terms whose loss is exactly 0 in every step of a run's log; empty without any.

    A contrast without a pair is 0. That of prototypes is 0 too as long as it gathers statistics, so
    it is not asked.
    """
    names = []
    for name in term_weights(settings):
        losses = [record[name] for record in records if name in record]
        if losses and name != "prototypes" and not any(losses):
            names.append(name)
    if not names:
        return ""
    steps = sum("loss" in record for record in records)
    return (
        f"nothing was learnt from {', '.join(names)}: the loss was 0 in all of "
        f"{quantity(steps, 'step')}, because no pair lies in a region or matches another; look at "
        "the regions with `clever look`"
    )
