"""Sparse convolution on a GPU: the one place that knows spconv (or spconv-triton, where spconv has
no wheel). It is imported when the first voxels on a GPU ask for it."""

import logging
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Literal

import torch

from ...errors import CleverError

Kind = Literal["SubMConv3d", "SparseConv3d", "SparseInverseConv3d"]
_TRACING_LOG = logging.getLogger("torch.fx._symbolic_trace")


@cache
def spconv() -> ModuleType:
    """spconv.pytorch, without the notices that it causes in current versions of torch.

    Raises:
        CleverError: neither it nor spconv-triton is installed.
    """
    with warnings.catch_warnings():
        for name in ("custom_fwd", "custom_bwd"):
            warnings.filterwarnings("ignore", rf"`torch\.cuda\.amp\.{name}", FutureWarning)
        try:
            import spconv.pytorch as module
        except ImportError:
            try:
                import spconv_triton.pytorch as module  # pyright: ignore[reportMissingImports]
            except ImportError as error:
                raise CleverError(
                    "no sparse convolution on a GPU: install spconv-cu120 (Python 3.11), "
                    "spconv-cu126 (newer) or spconv-triton, or choose `device=cpu`"
                ) from error
    # torch logs, once a process, that is_fx_tracing changed its meaning; spconv asks it for its
    # first tensor.
    _TRACING_LOG.addFilter(_other_notices)
    module.SparseConvTensor(torch.zeros(1, 1), torch.zeros(1, 4, dtype=torch.int32), [1, 1, 1], 1)
    _TRACING_LOG.removeFilter(_other_notices)
    return module


def _other_notices(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("is_fx_tracing will return true")


def spconv_layer(
    kind: Kind, in_channels: int, out_channels: int, kernel: int, key: str, **options: int
) -> Callable[..., Any]:
    """A layer of spconv's without weights and bias: those are given to it at every call.

    Raises:
        CleverError: see `spconv`.
    """
    with torch.device("meta"):
        return getattr(spconv(), kind)(
            in_channels, out_channels, kernel, bias=False, indice_key=key, **options
        )
