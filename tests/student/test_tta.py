"""Test-time augmentation against ten passes written out."""

import pytest
import torch
from torch import Tensor

from clever.student.points import PointBatch
from clever.student.registry import build_student
from clever.student.segmentation import LinearProbe
from clever.student.segmenter import Segmenter
from clever.student.tta import COPIES, CloudCopy, mean_probabilities, tta_words


def cloud(points: int = 300, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(points, 4, generator=generator) * torch.tensor([8.0, 8, 3, 1]) - torch.tensor(
        [4.0, 4, 1, 0]
    )


def test_the_ten_passes_are_those_of_pointcept() -> None:
    scales = [0.9, 0.95, 1.0, 1.05, 1.1]
    assert [(each.scale, each.mirrored) for each in COPIES] == [
        *((scale, False) for scale in scales), *((scale, True) for scale in scales)
    ]  # fmt: skip


def test_the_mean_of_softmax_over_copies_written_out() -> None:
    torch.manual_seed(0)
    student = build_student("minkunet-tiny", 0.5)
    segmenter = Segmenter(student, LinearProbe(student.out_channels, 5)).eval()
    rows = [cloud(), cloud(100, 1)]
    expected = torch.zeros(400, 5)
    with torch.inference_mode():
        for x, y in ((1, 1), (-1, -1)):
            for scale in (0.9, 0.95, 1.0, 1.05, 1.1):
                factors = torch.tensor([x * scale, y * scale, scale, 1.0])
                logits = segmenter(PointBatch.from_clouds([each * factors for each in rows]))
                expected += logits.exp() / logits.exp().sum(1, keepdim=True) / 10
        result = mean_probabilities(segmenter, PointBatch.from_clouds(rows))
        once = mean_probabilities(segmenter, PointBatch.from_clouds(rows), (CloudCopy(1.0, False),))
        logits = segmenter(PointBatch.from_clouds(rows))
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(result.sum(1), torch.ones(400))
    torch.testing.assert_close(once, logits.softmax(1), rtol=0, atol=0)
    assert (result - once).abs().max() > 1e-3  # or the test shows nothing


def test_intensity_and_order_stay() -> None:
    points = PointBatch.from_clouds([cloud()])
    copy = CloudCopy(1.1, True)(points)
    assert torch.equal(copy.intensity, points.intensity)
    torch.testing.assert_close(copy.xyz, points.xyz * torch.tensor([-1.1, -1.1, 1.1]))
    assert copy.counts == points.counts


@pytest.mark.parametrize(
    ("tta", "words"),
    [
        (False, "no TTA"),
        (
            True,
            "TTA (mean softmax of 10 passes: scale 0.9, 0.95, 1, 1.05, 1.1, as is and mirrored)",
        ),
    ],
)
def test_words_of_the_protocol(tta: bool, words: str) -> None:
    assert tta_words(tta) == words
