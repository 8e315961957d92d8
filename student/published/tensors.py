"""The tensors of a published checkpoint by their plain names, checked before any is used."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import CleverError

WRAPPER = "module."
"""What each wrapper for several processes puts before every name."""
COUNTER, VARIANCE = "num_batches_tracked", "running_var"
"""Parts of a batch norm: a whole number, and what is never negative."""


def plain_tensors(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors without the wrappers' names before theirs.

    Args:
        source: where they are from, for messages.

    Raises:
        CleverError: two of one name, one that is not of dense floating-point numbers, a negative
            variance.
    """
    tensors: dict[str, Tensor] = {}
    for wrapped, tensor in state.items():
        name = wrapped
        while name.startswith(WRAPPER):
            name = name.removeprefix(WRAPPER)
        if name in tensors:
            raise CleverError(
                f"{source} holds {name} twice, with and without {WRAPPER!r}; save one of them"
            )
        if fault := _fault(name, tensor):
            raise CleverError(f"{source}: {name} {fault}")
        tensors[name] = tensor
    return tensors


def _fault(name: str, tensor: Tensor) -> str:
    """What is wrong with a tensor; empty where nothing is."""
    part = name.rpartition(".")[2]
    if part == COUNTER:
        return ""
    dense = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized)
    if not dense or not tensor.is_floating_point():
        kind = "on the device meta" if tensor.is_meta else f"{tensor.dtype}, {tensor.layout}"
        return f"is {kind}, not dense floating-point numbers; save it as such"
    if part == VARIANCE and bool((tensor < 0).any()):
        return "has negative values, which no variance has; get the file again"
    return ""
