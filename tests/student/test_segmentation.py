"""Lovasz-softmax against its definition, the loss and the probe."""

import itertools

import pytest
import torch
from torch import nn

from clever.errors import CleverError
from clever.student.segmentation import (
    LinearProbe,
    descending_order,
    lovasz_softmax,
    segmentation_loss,
)


def jaccard_loss(mistaken: set[int], truth: set[int]) -> float:
    """1 - IoU of a prediction that is wrong exactly at `mistaken`."""
    predicted = truth ^ mistaken
    return 1 - len(truth & predicted) / len(truth | predicted) if truth | predicted else 0.0


def lovasz_extension(errors: list[float], truth: set[int]) -> float:
    """The convex closure by definition: the best over all orders of sum e_i * (marginal loss of
    i)."""
    best = -1.0
    for order in itertools.permutations(range(len(errors))):
        sets = [set(order[:k]) for k in range(len(order) + 1)]
        steps = [
            jaccard_loss(b, truth) - jaccard_loss(a, truth) for a, b in itertools.pairwise(sets)
        ]
        best = max(best, sum(errors[i] * step for i, step in zip(order, steps, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_equals_its_definition(seed: int):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(6, 4, generator=generator).softmax(1)
    labels = torch.randint(0, 3, (6,), generator=generator)  # class 3 is never present
    expected = []
    for present in labels.unique().tolist():
        truth = {i for i in range(6) if labels[i] == present}
        errors = [abs((i in truth) - probabilities[i, present].item()) for i in range(6)]
        expected.append(lovasz_extension(errors, truth))
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(
        sum(expected) / len(expected), abs=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_of_errors_is_that_of_a_stable_sort(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(3, 70_000, generator=generator, dtype=dtype)
    values[1] = (values[1] * 9).round() / 9  # many are equal, 0 and 1 among them
    values[2, ::3] *= 1e-42  # next to zero, where floats are not normal
    values[2, 1] = torch.inf
    order = descending_order(values)
    assert torch.equal(order, values.argsort(dim=1, descending=True, stable=True))
    # Columns of another tensor, not rows: what is read is the value, not the memory beside it.
    assert torch.equal(descending_order(values.T.contiguous().T), order)


def test_lovasz_of_hard_predictions_is_one_minus_mean_iou():
    generator = torch.Generator().manual_seed(0)
    labels, predicted = torch.randint(0, 5, (2, 300), generator=generator)
    iou = [
        ((labels == c) & (predicted == c)).sum().item()
        / ((labels == c) | (predicted == c)).sum().item()
        for c in range(5)
    ]
    loss = lovasz_softmax(nn.functional.one_hot(predicted, 5).float(), labels)
    assert loss.item() == pytest.approx(1 - sum(iou) / 5, abs=1e-6)


def test_lovasz_gradient():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 0])
    assert torch.autograd.gradcheck(lambda x: lovasz_softmax(x.softmax(1), labels), (logits,))


def test_ignored_points_take_no_part():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(20, 4, generator=generator)
    labels = torch.randint(0, 4, (20,), generator=generator)
    labelled_points = torch.arange(20) % 3 != 0
    expected = nn.functional.cross_entropy(logits[labelled_points], labels[labelled_points])
    expected = expected + lovasz_softmax(
        logits[labelled_points].softmax(1), labels[labelled_points]
    )
    marked = labels.masked_fill(~labelled_points, 255)
    assert torch.equal(segmentation_loss(logits, marked), expected)
    logits.requires_grad_()
    segmentation_loss(logits, marked).backward()
    assert logits.grad is not None
    assert logits.grad[~labelled_points].abs().max() == 0
    with pytest.raises(CleverError, match="no point of this batch carries a label"):
        segmentation_loss(logits, torch.full((20,), 255))


def test_probe_forms():
    torch.manual_seed(0)
    features = torch.randn(50, 6) * 3 + 1
    plain = LinearProbe(6, 4)
    assert torch.equal(
        plain(features), nn.functional.linear(features, plain.linear.weight, plain.linear.bias)
    )
    scalr = LinearProbe(6, 4, batch_norm=True)
    assert scalr(features).abs().max() == 0
    nn.init.eye_(scalr.linear.weight)
    expected = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(scalr(features), expected[:, :4], atol=1e-5, rtol=1e-5)
