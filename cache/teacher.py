"""Image teachers: frozen timm networks that turn a camera image into a grid of features (paper,
section 3.1)."""

import difflib
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CleverError
from .images import resize_image
from .teacher_settings import TeacherSettings
from .teacher_weights import LoadedNetwork, load_network
from .teachers.known import KnownTeacher
from .teachers.positions import fit_positions
from .teachers.registry import DEFAULT_LAYER, KNOWN, default_layer, known_teacher

DEFAULT_STRIDE = 16
_STRIDE_16 = (DEFAULT_LAYER, f"stride:{DEFAULT_STRIDE}")
"""Default layers of the CNNs whose stage of that stride ``pre-norm`` stands for."""
_BLOCK = re.compile("[0-9]{1,4}|-0*[1-9][0-9]{0,3}")
"""From the start, or from the end: no -0."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Features:
    """What a layer of a teacher says of B images.

    Attributes:
        grid: (B, h, w, C) float32, row 0 at the top; without class and register tokens.
        class_token: (B, C) float32; None where it was not asked for.
    """

    grid: Tensor
    class_token: Tensor | None = None


def load_teacher(settings: TeacherSettings, device: torch.device | str = "cpu") -> "Teacher":
    """One layer of a network; see `load_teachers`."""
    return load_teachers([settings], device)[0]


def load_teachers(
    settings: Sequence[TeacherSettings], device: torch.device | str = "cpu"
) -> list["Teacher"]:
    """Build a network, load its weights, fit it to the image size and move it to `device`.

    Args:
        settings: one for each layer, which differ in nothing else.

    Returns:
        The layers in the order of `settings`; `outputs` runs them in one pass.

    Raises:
        CleverError: unknown model, weights that are missing or of another architecture, an image
            size that the patches do not divide, a layer that the network does not have, or one
            that is named twice.
    """
    first = settings[0]
    entry = known_teacher(first.model)
    architecture = _architecture(first.model, entry)
    dtype = _DTYPES[first.precision]
    loaded = load_network(first.model, architecture, first.weights, entry, dtype)
    module = loaded.module
    _check_grid(first.model, module)
    readouts = _read_outs(settings, module)
    info: list[dict[str, Any]] = list(module.feature_info)  # pyright: ignore
    network = _Network(loaded, first, entry, torch.device(device))
    if not _is_vit(module, info):
        blank = torch.zeros(1, 3, *first.image_size, dtype=torch.uint8)
        _check_pass(first, info, partial(network.run, readouts, blank))
    return [
        Teacher(network, each, readout) for each, readout in zip(settings, readouts, strict=True)
    ]


def _check_grid(model: str, network: nn.Module) -> None:
    """Raise CleverError where timm gives no feature grid of a model."""
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
        raise CleverError(f"model {model}: timm gives no feature grid of it; take another")


def _check_pass(
    settings: TeacherSettings, info: Sequence[dict[str, Any]], run: Callable[[], object]
) -> None:
    """Raise CleverError where a hierarchical network cannot take the image size although the
    strides divide it, as one with windows.

    Args:
        info: timm's feature levels.
        run: passes an image of that size through the network.
    """
    try:
        run()
    except (NotImplementedError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = settings.image_size
        stride = max(int(level["reduction"]) for level in info)
        raise CleverError(
            f"{settings.model} takes no images of {height}x{width} ({str(error).splitlines()[0]}); "
            f"try {' or '.join(_nearest(settings, stride))}"
        ) from error


def outputs(teachers: Sequence["Teacher"], images: Tensor) -> list[Features]:
    """Several layers of one network in one pass.

    Args:
        teachers: of one `load_teachers`.
        images: (B, 3, *image_size) uint8 RGB, preprocessed, on any device.

    Returns:
        Each teacher's features, on its device: the same bits as each gives alone.
    """
    network = teachers[0].network
    if any(teacher.network is not network for teacher in teachers):
        raise ValueError("layers of several networks do not come from one pass")
    return network.run([teacher.readout for teacher in teachers], images)


@dataclass(frozen=True, slots=True)
class _ReadOut:
    """Where a network is read out.

    Attributes:
        layer: canonical name.
        index: among timm's feature levels.
        norm: whether the final norm follows.
        class_token: whether the class token is read too.
        stride, channels: of the grid.
    """

    layer: str
    index: int
    norm: bool
    class_token: bool
    stride: int
    channels: int


class _Network:
    """A frozen network, fitted to the image size, on its device."""

    def __init__(
        self,
        loaded: LoadedNetwork,
        settings: TeacherSettings,
        entry: KnownTeacher | None,
        device: torch.device,
    ) -> None:
        module = loaded.module
        self.settings, self.device = settings, device
        self.weights_description = loaded.source
        config: dict[str, Any] = module.pretrained_cfg  # pyright: ignore[reportAssignmentType]
        identity = entry.identity if entry else None
        positions = fit_positions(
            module,
            settings.image_size,
            entry.positions if entry else "timm",
            settings.position_embedding,
            loaded.periods,
        )
        self.fingerprint: dict[str, Any] = {
            "model": identity or config["architecture"],
            "weights_sha256": loaded.sha256,
            "image_size": list(settings.image_size),
            "resize": settings.resize,
            "mean": list(config["mean"]),
            "std": list(config["std"]),
            "position_embedding": positions,
            "precision": settings.precision,
        }
        self.module: Any = module.eval().requires_grad_(False).to(device)
        self._mean = 255 * torch.tensor(config["mean"], device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(config["std"], device=device).view(3, 1, 1)

    @torch.inference_mode()
    def run(self, readouts: Sequence[_ReadOut], images: Tensor) -> list[Features]:
        """See `outputs`."""
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != (3, *self.settings.image_size):
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}, not preprocessed by this teacher"
            )
        pixels = (images.to(self.device, non_blocking=True).float() - self._mean) / self._std
        # timm gives the levels in the order of the network, each once.
        indices = sorted({readout.index for readout in readouts})
        prefix = {"return_prefix_tokens": True} if any(r.class_token for r in readouts) else {}
        with (
            self._autocast(),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            levels = self.module.forward_intermediates(
                pixels,
                indices=indices,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
                **prefix,
            )
            by_index = dict(zip(indices, levels, strict=True))
            return [self._features(readout, by_index[readout.index]) for readout in readouts]

    def _features(self, readout: _ReadOut, level: Any) -> Features:
        """One layer of what a pass gave: (B, C, h, w), or that and (B, P, C) prefix tokens."""
        grid, prefix = level if isinstance(level, tuple) else (level, None)
        # The final norm looks at one token alone, so that it may follow here.
        norm = (readout.norm and _final_norm(self.module)) or nn.Identity()
        tokens = norm(grid.permute(0, 2, 3, 1).contiguous()).float()
        if not readout.class_token:
            return Features(tokens)
        assert prefix is not None
        return Features(tokens, norm(prefix[:, 0].contiguous()).float())

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _DTYPES[self.settings.precision])


class Teacher:
    """A layer of a frozen image network; `preprocess` runs in the decoding threads, `features` on
    the device.

    Attributes:
        settings: as given.
        network: runs the pass; layers that share it come from one (`outputs`).
        readout: where the network is read out.
        grid: height, width of the feature grid.
        channels: features of a grid cell.
        stride: pixels of the resized image along either side of a grid cell.
        device: of the network.
        alias: short name, such as ``vitb14-224x448``.
        weights_description: where the weights come from, in words; untrained ones are said to be.
        fingerprint: JSON values of everything that changes a feature, weights by their sha256. The
            source of the weights is not in it: the same weights from the hub and from a file give
            the same features.
    """

    def __init__(self, network: _Network, settings: TeacherSettings, readout: _ReadOut) -> None:
        self.settings, self.network, self.readout = settings, network, readout
        self.stride, self.channels = readout.stride, readout.channels
        height, width = settings.image_size
        self.grid = height // readout.stride, width // readout.stride
        self.device = network.device
        self.weights_description = network.weights_description
        self.alias = f"{settings.model}-{height}x{width}"
        self.fingerprint: dict[str, Any] = {**network.fingerprint, "layer": readout.layer}
        if readout.class_token:
            self.fingerprint["class_token"] = True

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """Resize (H, W, 3) uint8 RGB of any size to (3, *image_size) uint8 on the CPU."""
        return resize_image(image, self.settings.image_size, self.settings.resize)

    def features(self, images: Tensor) -> Tensor:
        """The grid (B, *grid, channels) float32 of preprocessed images, see `outputs`."""
        return outputs([self], images)[0].grid


@dataclass(frozen=True, slots=True)
class GridShape:
    """A layer of a network as it is known without weights.

    Attributes:
        alias: of the teacher, as in `Teacher`.
        layer: canonical name.
        grid: height, width.
        channels: features of a grid cell.
        class_token: whether there is one beside the grid.
    """

    alias: str
    layer: str
    grid: tuple[int, int]
    channels: int
    class_token: bool


def grid_shapes(settings: Sequence[TeacherSettings]) -> list[GridShape]:
    """What each layer's features will look like; needs no weights and no memory for them.

    Raises:
        CleverError: as `load_teachers`, but for what only weights can tell.
    """
    network = _bare_network(settings[0].model)
    _check_grid(settings[0].model, network)
    info: list[dict[str, Any]] = list(network.feature_info)  # pyright: ignore
    readouts = _read_outs(settings, network)
    if not _is_vit(network, info):
        blank = torch.zeros(1, 3, *settings[0].image_size, device="meta")
        _check_pass(settings[0], info, partial(cast("Any", network).forward_intermediates, blank))
    shapes = []
    for each, readout in zip(settings, readouts, strict=True):
        height, width = each.image_size
        grid = height // readout.stride, width // readout.stride
        alias = f"{each.model}-{height}x{width}"
        shapes.append(GridShape(alias, readout.layer, grid, readout.channels, readout.class_token))
    return shapes


def keeps_one_grid(model: str) -> bool:
    """Whether a model is a ViT, which keeps one patch grid throughout; builds it without values.

    Raises:
        CleverError: unknown model.
    """
    network = _bare_network(model)
    info = getattr(network, "feature_info", None)
    return info is not None and _is_vit(network, list(cast("Any", info)))


def _bare_network(model: str) -> nn.Module:
    """A model without values; raises CleverError for an unknown one."""
    import timm

    entry = known_teacher(model)
    architecture = _architecture(model, entry)
    with torch.device("meta"):
        return timm.create_model(architecture, **(entry.options(None) if entry else {}))


def _architecture(model: str, entry: KnownTeacher | None) -> str:
    """timm's name of `model`, tag included where one is given."""
    import timm

    architecture = entry.architecture if entry else model
    if timm.is_model(architecture):
        return architecture
    if entry:
        raise CleverError(
            f"{model} is {architecture} of timm, which timm {timm.__version__} does not have yet; "
            "install a newer one"
        )
    plain = model.removeprefix("dinov2_")  # as torch.hub has them: dinov2_vitb14
    if plain in KNOWN:
        raise CleverError(f"unknown model {model!r}; it is {plain} here")
    if "radio" in model.lower():
        raise CleverError(
            f"unknown model {model!r}; C-RADIO was not compared with its own code and has no short "
            "name; timm's vit_base_patch16_radio_v3 and its like run"
        )
    names = sorted({*KNOWN, *timm.list_models()})
    close = difflib.get_close_matches(model.lower(), names, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"take one of {', '.join(KNOWN)}."
    raise CleverError(f"unknown model {model!r}; {hint} Any name of timm works too")


def refuse_twice(settings: Sequence[TeacherSettings], names: Sequence[str | None]) -> None:
    """Raise CleverError where one layer is asked for twice.

    Args:
        names: of the layers that `settings` ask for, canonical.
    """
    if len(set(names)) < len(names):
        spellings = ", ".join(each.layer for each in settings)
        layers = ", ".join(map(str, names))
        raise CleverError(f"`layer` names {spellings}: give each layer once ({layers})")


def _read_outs(settings: Sequence[TeacherSettings], network: nn.Module) -> list[_ReadOut]:
    """Where the network is read out for each of these, which are different layers."""
    readouts = [_read_out(each, network) for each in settings]
    refuse_twice(settings, [readout.layer for readout in readouts])
    return readouts


def _read_out(settings: TeacherSettings, network: nn.Module) -> _ReadOut:
    """Where the network is read out for these settings."""
    info: list[dict[str, Any]] = list(network.feature_info)  # pyright: ignore
    index, norm, layer = _resolve_layer(settings, network, info)
    if settings.class_token and (
        not _is_vit(network, info) or getattr(network, "cls_token", None) is None
    ):
        raise CleverError(f"model {settings.model} has no class token; leave out `class_token`")
    stride, channels = int(info[index]["reduction"]), int(info[index]["num_chs"])
    _check_size(settings, stride)
    return _ReadOut(layer, index, norm, settings.class_token, stride, channels)


def _resolve_layer(
    settings: TeacherSettings, network: nn.Module, info: list[dict[str, Any]]
) -> tuple[int, bool, str]:
    """Index of the layer among timm's feature levels, whether the final norm follows, and its
    canonical name."""
    layer, model = settings.layer, settings.model
    kind, _, number = layer.partition(":")
    strides = [int(level["reduction"]) for level in info]
    if not _is_vit(network, info):
        if layer == "post-norm" and _final_norm(network) is not None:
            return len(strides) - 1, True, layer
        stride = (
            DEFAULT_STRIDE
            if layer == "pre-norm" and default_layer(model) in _STRIDE_16
            else int(number)
            if kind == "stride" and re.fullmatch("[0-9]{1,4}", number)
            else 0
        )
        if stride not in strides:
            choices = ", ".join(f"stride:{stride}" for stride in sorted(set(strides)))
            choices += "" if _final_norm(network) is None else " and post-norm"
            raise CleverError(f"layer {layer!r}: {model} has {choices}")
        return len(strides) - 1 - strides[::-1].index(stride), False, f"stride:{stride}"
    last_block = len(info) - 1
    if layer == "post-norm" and _final_norm(network) is None:
        raise CleverError(
            f"layer 'post-norm': {model} has no final norm on its tokens; use pre-norm"
        )
    if layer in ("pre-norm", "post-norm"):
        return last_block, layer == "post-norm", layer
    block = int(number) if kind == "block" and _BLOCK.fullmatch(number) else len(info)
    if block < 0:  # counted from the end
        block = block + len(info) if block >= -len(info) else len(info)
    if block > last_block:
        raise CleverError(
            f"layer {layer!r}: {model} has pre-norm, post-norm and block:0 to block:{last_block}, "
            f"which are block:-{len(info)} to block:-1 too"
        )
    return block, False, "pre-norm" if block == last_block else f"block:{block}"


def _is_vit(network: nn.Module, info: list[dict[str, Any]]) -> bool:
    """Whether the network keeps one patch grid throughout; hierarchical transformers are taken like
    CNNs."""
    return hasattr(network, "patch_embed") and len({level["reduction"] for level in info}) == 1


def _final_norm(network: Any) -> Callable[[Tensor], Tensor] | None:
    """The norm that follows the last level, on (..., C) tokens; None where a CNN has none. A
    ConvNeXt keeps it in its head, for channels first."""
    norm = getattr(network, "norm", None)
    if isinstance(norm, nn.Module):
        return None if isinstance(norm, nn.Identity) else norm
    norm = getattr(getattr(network, "head", None), "norm", None)
    if not isinstance(norm, nn.LayerNorm) or type(norm) is nn.LayerNorm:
        return None
    return partial(
        F.layer_norm,
        normalized_shape=list(norm.normalized_shape),
        weight=norm.weight,
        bias=norm.bias,
        eps=norm.eps,
    )


def _check_size(settings: TeacherSettings, stride: int) -> None:
    height, width = settings.image_size
    if height % stride or width % stride:
        raise CleverError(
            f"image size {height}x{width} is no multiple of {settings.model}'s {stride}-pixel "
            f"patches; the nearest that are: {' and '.join(_nearest(settings, stride))}"
        )


def _nearest(settings: TeacherSettings, stride: int) -> list[str]:
    """The next smaller and the next greater image size that `stride` divides, each once."""
    below = [max(side // stride, 1) * stride for side in settings.image_size]
    above = [-(-side // stride) * stride for side in settings.image_size]
    return list(dict.fromkeys(f"{height}x{width}" for height, width in (below, above)))
