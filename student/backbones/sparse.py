"""Sparse 3D convolution: the one place that knows spconv (or spconv-triton, where spconv has no
wheel)."""

import logging
import warnings
from types import ModuleType

import torch
from torch import Tensor, nn

from ...errors import CleverError

_TRACING_LOG = logging.getLogger("torch.fx._symbolic_trace")


def _import_spconv() -> ModuleType:
    """spconv.pytorch, without the notices that it causes in current versions of torch."""
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
                    "no sparse convolution: install spconv-cu120 (Python 3.11), spconv-cu126 "
                    "(newer) "
                    "or spconv-triton (GPU only)"
                ) from error
    # torch logs, once a process, that is_fx_tracing changed its meaning; spconv asks it for its
    # first tensor.
    _TRACING_LOG.addFilter(_other_notices)
    module.SparseConvTensor(torch.zeros(1, 1), torch.zeros(1, 4, dtype=torch.int32), [1, 1, 1], 1)
    _TRACING_LOG.removeFilter(_other_notices)
    return module


def _other_notices(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("is_fx_tracing will return true")


_spconv = _import_spconv()
SparseTensor = _spconv.SparseConvTensor
"""Features (V, C) at integer voxel coordinates (V, 4) int32: scene, x, y, z."""


class _ByDevice:
    """Chooses algorithm and precision at every call, so that a network may be built on one device
    and moved.

    On the CPU spconv has only its native algorithm. It knows no bfloat16, and under autocast it
    casts to float16 in training but not in evaluation: here float16 autocast holds in training on
    CUDA, and everything else runs in the precision of the weights.
    """

    weight: Tensor
    training: bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        key: str,
        bias: bool = False,
        **options: int,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, bias=False, indice_key=key, **options)  # pyright: ignore
        # Not spconv's own bias: on the CPU it refuses one in evaluation.
        self.shift = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.algo_on_device = self.algo
        self.algo_on_cpu = type(self.algo).Native

    def forward(self, x: SparseTensor) -> SparseTensor:
        device = x.features.device.type
        self.algo = self.algo_on_cpu if device == "cpu" else self.algo_on_device
        half = (
            self.training
            and device == "cuda"
            and torch.is_autocast_enabled(device)
            and torch.get_autocast_dtype(device) == torch.float16
        )
        with torch.autocast(device, enabled=half):
            features = x.features if half else x.features.to(self.weight.dtype)
            out = super().forward(x.replace_feature(features))  # pyright: ignore[reportAttributeAccessIssue]
        return out if self.shift is None else out.replace_feature(out.features + self.shift)


class SubmanifoldConv(_ByDevice, _spconv.SubMConv3d):
    """Convolution of odd `kernel` whose output voxels are its input voxels; layers with one `key`
    share indices.

    For a kernel of 1 take nn.Linear: spconv reads those weights as (in, out) though it stores (out,
    in).
    """


class DownConv(_ByDevice, _spconv.SparseConv3d):
    """Convolution with kernel = stride = `kernel`; `key` names the step for the `UpConv` that
    undoes it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, key: str) -> None:
        super().__init__(in_channels, out_channels, kernel, key, stride=kernel)


class UpConv(_ByDevice, _spconv.SparseInverseConv3d):
    """Transposed convolution onto exactly the voxels that the `DownConv` of the same `key` started
    from."""


def sparse_tensor(
    features: Tensor, coords: Tensor, shape: tuple[int, int, int], scenes: int, steps: int
) -> SparseTensor:
    """Features (V, C) at `coords` (V, 4) int32 (scene, x, y, z), each below `shape`.

    The grid is enlarged to a multiple of 2**steps, so that no voxel falls off it in `steps`
    halvings.
    """
    cell = 2**steps
    return SparseTensor(features, coords, [-(-extent // cell) * cell for extent in shape], scenes)
