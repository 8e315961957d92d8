"""A labelled dataset in memory, for the jobs that train and measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clever.cache.frame import Frame
from clever.errors import FrameError
from clever.pipeline.datasets import IGNORE


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class LabelledDataset:
    """Frames by id with clouds (N, 4) and labels (N,); frames in `broken` raise, those without labels have None."""

    clouds: Mapping[str, NDArray[np.float32]]
    truth: Mapping[str, NDArray[np.uint8] | None]
    broken: frozenset[str] = frozenset()
    name: str = "semantickitti"
    cameras: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ("low", "middle", "high", "never")
    frame_ids: list[str] = field(init=False)
    scenes: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.frame_ids = list(self.clouds)
        self.scenes = [name.split("/")[0] for name in self.clouds]

    def __len__(self) -> int:
        return len(self.frame_ids)

    def frame(self, index: int) -> Frame:
        raise NotImplementedError

    def points(self, index: int) -> NDArray[np.float32]:
        name = self.frame_ids[index]
        if name in self.broken:
            raise FrameError(name, f"cannot read {name}.bin")
        return self.clouds[name]

    def has_labels(self, index: int) -> bool:
        return self.truth[self.frame_ids[index]] is not None

    def labels(self, index: int) -> NDArray[np.uint8]:
        labels = self.truth[self.frame_ids[index]]
        assert labels is not None
        return labels


@pytest.fixture
def make_labelled() -> Callable[..., LabelledDataset]:
    """Makes a dataset of frames with 150 points each; the class is the height, every tenth point has none."""

    def make(
        names: tuple[str, ...], broken: tuple[str, ...] = (), unlabelled: tuple[str, ...] = (), seed: int = 0
    ) -> LabelledDataset:
        rng = np.random.default_rng(seed)
        clouds = {name: rng.uniform([-4, -4, -1, 0], [4, 4, 2, 1], (150, 4)).astype(np.float32) for name in names}
        truth: dict[str, NDArray[np.uint8] | None] = {}
        for name, cloud in clouds.items():
            labels = np.digitize(cloud[:, 2], [0, 1]).astype(np.uint8)
            labels[::10] = IGNORE
            truth[name] = None if name in unlabelled else labels
        return LabelledDataset(clouds, truth, frozenset(broken))

    return make
