"""What is printed of a pre-training run."""

from pathlib import Path

import pytest

from clever.pipeline.pretraining.result import PretrainResult
from clever.pipeline.training.log import Losses


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2.44, "2.4 s"), (59.0, "59 s"), (180.0, "3.0 min"), (7200.0, "2.0 h")],
)
def test_a_short_run_took_seconds(seconds: float, words: str) -> None:
    result = PretrainResult(
        job="pretrain", finished="2026", seed=0, seconds=seconds, versions={}, student="minkunet34",
        dataset="toy", teachers=["t"], teacher_ids=["t"], fingerprints=[], part="all 4 frames",
        frames=4, unpaired=[], missing=[], epochs=1, steps=2, batch_size=2,
        losses=Losses({"loss": 1.0}, {"loss": 0.5}, 1), best_epoch=1, ranks=None, recipe="clever",
        precision="fp32", processes=1, device="cpu", out=Path("run"),
    )  # fmt: skip
    first = str(result).splitlines()[0]
    assert first.endswith(f", seed 0, fp32, cpu, {words}")
    assert ", 4 used, 1 epoch, " in first
    with_regions = result.model_copy(update={"regions": "regions/slic150-6x9-0000"})
    assert ", 4 used, regions/slic150-6x9-0000, 1 epoch, " in str(with_regions)
