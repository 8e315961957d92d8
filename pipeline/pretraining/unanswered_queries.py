"""Steps of a pre-training in which nothing answered the queries of the occupancy task."""

from collections.abc import Sequence

from ...words import quantity
from ..settings.pretrain import PretrainSettings
from ..training.log import Scalars
from .networks import occupancy_task


def unanswered_queries(
    settings: PretrainSettings, voxel_size: float, records: Sequence[Scalars]
) -> str:
    """A line on the steps of a run's log without any answer to a query, and what to change; empty
    where there are none.

    The loss of such a step is exactly 0, which that of answers never is.
    """
    losses = [record["occupancy"] for record in records if "occupancy" in record]
    empty = losses.count(0)
    if not empty:
        return ""
    share = f"in {empty} of {quantity(len(losses), 'step')}"
    task = occupancy_task(settings)
    if task.aggregation == "source":
        return (
            f"no occupancy query counted {share}: every source point lies within "
            f"`occupancy_delta={task.delta:g}` m of the sensor; choose a smaller one"
        )
    return (
        f"no occupancy query had a voxel in reach {share}: `occupancy_radius={task.radius:g}` m, "
        f"voxels of {voxel_size:g} m; choose a larger radius, or smaller voxels or a smaller "
        "`occupancy_delta`"
    )
