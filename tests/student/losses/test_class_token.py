"""The class-token loss against the formula written out."""

import pytest
import torch

from clever.student.losses.class_token import class_token_loss, frame_maximum


def test_the_maximum_is_over_the_rows_of_each_frame() -> None:
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) - 3
    frame = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(1))
    frame[frame == 1] = 2
    maximum = frame_maximum(features, frame, 4)
    for number in (0, 2):
        assert torch.equal(maximum[number], features[frame == number].max(0).values)
    assert torch.equal(maximum[[1, 3]], torch.zeros(2, 5))


def test_rows_that_are_equal_share_the_gradient() -> None:
    features = torch.tensor([[1.0], [1.0], [0.0]], requires_grad=True)
    frame_maximum(features, torch.zeros(3, dtype=torch.int64), 1).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[0.5], [0.5], [0.0]]


def test_the_loss_is_the_squared_error_of_frames_with_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, tokens = (torch.randn(3, 4, generator=generator) for _ in range(2))
    loss = class_token_loss(predicted, tokens, (7, 0, 1), 5.0)
    errors = [((predicted[row] - tokens[row]) ** 2).sum() / 4 for row in (0, 2)]
    assert float(loss) == pytest.approx(float(sum(errors)) / 5, rel=1e-6)
