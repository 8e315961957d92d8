"""Activation checkpointing: store a part's input alone and run the part again in the backward pass
(Chen et al. 2016).

The second run draws the same random numbers, since `Draws` makes a fresh generator for every
purpose.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(part: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)`, which runs `part`; nothing that it computes is stored, but computed again for
    the gradient.

    Whatever else `function` uses it must find unchanged the second time. Results, gradients and the
    running statistics of batch norms are those of a single run.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _own_statistics(part)

    result = checkpoint(
        function, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )
    assert isinstance(result, Tensor)
    return result


@contextmanager
def _own_statistics(part: nn.Module) -> Iterator[None]:
    """Let batch norms update copies of their running statistics.

    Not without statistics (track_running_stats): the second run must save the same tensors as the
    first.
    """
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]
    statistics = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        for name, buffer in norm._buffers.items():
            norm._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for norm, buffers in zip(norms, statistics, strict=True):
            norm._buffers.update(buffers)
