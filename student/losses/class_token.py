"""What the images of a frame show as a whole: their class token, learned by the points together
(HilDA, section on global distillation)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def frame_maximum(features: Tensor, frame: Tensor, frames: int) -> Tensor:
    """Maximum (F, C) of features (K, C) over the rows of each of `frames` frames; zero for a frame
    without rows.

    Args:
        frame: (K,) int64, the frame of every row.
    """
    index = frame[:, None].expand_as(features)
    lowest = features.new_zeros(frames, features.shape[1])
    # Rows that are equal share the gradient evenly, so that a voxel's points pull as one.
    return lowest.scatter_reduce(0, index, features, "amax", include_self=False)


def class_token_loss(
    predicted: Tensor, tokens: Tensor, rows: Sequence[int], total: Tensor | float
) -> Tensor:
    """Squared error, mean over channels, of predicted class tokens (F, C), summed over the frames
    that have rows and divided by `total`.

    Args:
        tokens: (F, C) float32, the teacher's.
        rows: of every frame, known to the host.
    """
    error = (predicted.float() - tokens).square().mean(1)
    counts = torch.tensor([float(count > 0) for count in rows])
    return (error * counts.to(error.device, non_blocking=True)).sum() / total
