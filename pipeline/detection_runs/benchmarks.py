"""The benchmark of each dataset with boxes."""

from typing import Any

from ...errors import CleverError
from .benchmark import DetectionBenchmark
from .kitti import KittiBenchmark
from .nuscenes import NuScenesBenchmark

BENCHMARKS: dict[str, type[DetectionBenchmark[Any]]] = {
    "kitti": KittiBenchmark,
    "nuscenes": NuScenesBenchmark,
}
"""By the name of the dataset."""


def benchmark_of(dataset: str) -> DetectionBenchmark[Any]:
    """The benchmark of a dataset.

    Raises:
        CleverError: none is known for it.
    """
    if dataset not in BENCHMARKS:
        raise CleverError(
            f"`dataset={dataset}`: detectors are trained on {' and '.join(BENCHMARKS)}; choose one"
        )
    return BENCHMARKS[dataset]()
