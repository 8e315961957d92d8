"""What a benchmark wants to be handed in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import CleverError
from .base import LidarDataset


@dataclass(frozen=True, slots=True)
class Submission:
    """Files of a benchmark's submission, relative to its folder.

    Attributes:
        files: of every frame of the dataset, in its order: an integer a point, the class's of
            `label_ids`.
        dtype: numpy name of these integers.
        extra: other files and what they hold.
        note: what a user has to know before handing it in; may be empty.
    """

    files: tuple[Path, ...]
    dtype: str
    extra: Mapping[Path, str] = field(default_factory=dict)
    note: str = ""


def submission_of(dataset: LidarDataset) -> Submission:
    """What the benchmark of `dataset` wants: what its method ``submission()`` returns.

    Raises:
        CleverError: it has no such method, or says what is in the way.
    """
    describe = getattr(dataset, "submission", None)
    if describe is None:
        raise CleverError(
            f"{dataset.name} has no format of submissions here; leave `submission` out"
        )
    return describe()
