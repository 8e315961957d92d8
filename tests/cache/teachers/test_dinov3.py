"""DINOv3 against a forward pass written here from the paper; weights in the official format."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from clever.cache.teacher import Teacher, load_teacher, load_teachers, outputs
from clever.cache.teacher_settings import TeacherSettings
from clever.errors import CleverError

from ..random_layers import RandomLayers, Weights

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SIZE = (64, 112)
"""Images of 4 x 7 patches."""


def official_checkpoint(
    width: int, depth: int, hidden: int, *, gated: bool = False, biases: bool = False
) -> Weights:
    """Random weights under the official keys, scaled so that every one of them matters.

    Args:
        hidden: channels inside an MLP.
        gated: whether it is a SwiGLU.
        biases: whether those of query and value are not zero.
    """
    layers = RandomLayers(width, 1)
    normal, linear, norm = layers.normal, layers.linear, layers.norm
    periods = 100 ** (torch.arange(16) / 16)  # 64 channels a head
    weights = {
        "cls_token": normal(1, 1, width, std=0.5),
        "storage_tokens": normal(1, 4, width, std=0.5),
        "mask_token": torch.zeros(1, width),
        "patch_embed.proj.weight": normal(width, 3, 16, 16, std=768**-0.5),
        "patch_embed.proj.bias": normal(width, std=0.1),
        "rope_embed.periods": periods.bfloat16().float(),
    }
    for block in (f"blocks.{index}" for index in range(depth)):
        weights |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", width, 3 * width)
        mask = torch.ones(3 * width)
        mask[width : 2 * width] = 0  # that of the key
        weights[f"{block}.attn.qkv.bias_mask"] = mask
        if not biases:
            weights[f"{block}.attn.qkv.bias"] *= 1 - mask
        weights |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.norm2")
        for scale in ("ls1", "ls2"):
            weights[f"{block}.{scale}.gamma"] = 0.3 + normal(width, std=0.1)
        names = ("w1", "w2") if gated else ("fc1",)
        for name in names:
            weights |= linear(f"{block}.mlp.{name}", width, hidden)
        weights |= linear(f"{block}.mlp.{'w3' if gated else 'fc2'}", hidden, width)
    return weights | norm("norm")


def rotated(x: Tensor, periods: Tensor, h: int, w: int) -> Tensor:
    """Rotary positions of (..., h * w, D) queries or keys, channel pairs half a head apart: the
    first half of the angles turns with the row, the second with the column, both in [-1, 1]."""
    rows, columns = (2 * (torch.arange(side) + 0.5) / side - 1 for side in (h, w))
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).reshape(h * w, 2, 1)
    angle = (2 * math.pi * place / periods).flatten(1)
    first, second = x.chunk(2, -1)
    return torch.cat(
        [
            first * angle.cos() - second * angle.sin(),
            second * angle.cos() + first * angle.sin(),
        ],
        -1,
    )


def reference(
    weights: Weights, images: Tensor, blocks: int, periods: Tensor, norm_last: bool
) -> tuple[Tensor, Tensor]:
    """DINOv3 written out: patch tokens (B, h, w, C) and class tokens (B, C) after `blocks`
    blocks."""

    def linear(name: str, x: Tensor, mask: Tensor | float = 1.0) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"] * mask

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def mlp(name: str, x: Tensor) -> Tensor:
        if f"{name}.w1.weight" in weights:
            gate, value = linear(f"{name}.w1", x), linear(f"{name}.w2", x)
            return linear(f"{name}.w3", gate * gate.sigmoid() * value)
        hidden = linear(f"{name}.fc1", x)
        return linear(f"{name}.fc2", 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2))))

    def attention(name: str, x: Tensor) -> Tensor:
        qkv = linear(f"{name}.qkv", x, weights[f"{name}.qkv.bias_mask"])
        query, key, value = qkv.unflatten(-1, (3, -1, 64)).permute(2, 0, 3, 1, 4)
        query, key = (
            torch.cat([part[..., :5, :], rotated(part[..., 5:, :], periods, h, w)], -2)
            for part in (query, key)
        )
        share = (query @ key.mT / 8).softmax(-1)
        return linear(f"{name}.proj", (share @ value).transpose(1, 2).flatten(2))

    pixels = (images.float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    patches = F.conv2d(
        pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=16
    )
    h, w = patches.shape[-2:]
    prefix = torch.cat([weights["cls_token"], weights["storage_tokens"]], 1)
    x = torch.cat([prefix.expand(len(images), -1, -1), patches.flatten(2).mT], 1)
    for block in (f"blocks.{index}" for index in range(blocks)):
        x = x + weights[f"{block}.ls1.gamma"] * attention(
            f"{block}.attn", norm(f"{block}.norm1", x)
        )
        x = x + weights[f"{block}.ls2.gamma"] * mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
    x = norm("norm", x) if norm_last else x
    return x[:, 5:].unflatten(1, (h, w)), x[:, 0]


@pytest.fixture
def two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts timm's networks to their first two blocks."""
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **options: create(name, depth=2, **options)
    )


def images(size: tuple[int, int]) -> Tensor:
    random = torch.Generator().manual_seed(5)
    return torch.randint(256, (2, 3, *size), dtype=torch.uint8, generator=random)


def load(weights: Weights, folder: Path, model: str, **settings: Any) -> Teacher:
    torch.save(weights, folder / "weights.pth")
    values = {"image_size": SIZE, "weights": str(folder / "weights.pth"), **settings}
    return load_teacher(TeacherSettings(model=model, **values))


@pytest.mark.parametrize(
    ("model", "width", "hidden", "kind"),
    [
        ("dinov3-vits16", 384, 1536, {}),
        ("dinov3-vits16-qkvb", 384, 1536, {"biases": True}),
        ("dinov3-vits16plus", 384, 1536, {"gated": True}),
        ("dinov3-vitb16", 768, 3072, {}),
    ],
)
def test_official_files_give_the_papers_tokens(
    two_blocks: None, tmp_path: Path, model: str, width: int, hidden: int, kind: dict[str, bool]
) -> None:
    weights = official_checkpoint(width, 2, hidden, **kind)
    torch.save(weights, tmp_path / "weights.pth")
    layers = (None, "pre-norm", "block:0")
    settings = [
        TeacherSettings.model_validate(
            {
                "model": model,
                "weights": str(tmp_path / "weights.pth"),
                "image_size": SIZE,
                "class_token": True,
                **({"layer": layer} if layer else {}),
            }
        )
        for layer in layers
    ]
    assert settings[0].layer == "post-norm"
    periods = weights["rope_embed.periods"]
    expected = [
        reference(weights, images(SIZE), blocks, periods, norm_last)
        for blocks, norm_last in ((2, True), (2, False), (1, False))
    ]
    levels = outputs(load_teachers(settings), images(SIZE))
    for level, (grid, token) in zip(levels, expected, strict=True):
        assert level.class_token is not None
        torch.testing.assert_close(level.grid, grid, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(level.class_token, token, rtol=1e-4, atol=1e-4)


def test_periods_are_those_of_the_file_or_of_the_released_ones(
    two_blocks: None, tmp_path: Path
) -> None:
    weights = official_checkpoint(384, 2, 1536)
    exact, rounded = 100 ** (torch.arange(16) / 16), weights["rope_embed.periods"]

    def tokens(teacher: Teacher, periods: Tensor) -> None:
        grid, _ = reference(weights, images(SIZE), 2, periods, norm_last=True)
        torch.testing.assert_close(teacher.features(images(SIZE)), grid, rtol=1e-4, atol=1e-4)

    file = load(weights, tmp_path, "dinov3-vits16")
    tokens(file, rounded)
    assert file.fingerprint["position_embedding"] == "rotary, periods rounded to bfloat16"
    timms = load(weights, tmp_path, "dinov3-vits16", position_embedding="timm")
    tokens(timms, exact)
    assert timms.fingerprint["position_embedding"] == "rotary, periods in float32"
    tokens(load({**weights, "rope_embed.periods": exact}, tmp_path, "dinov3-vits16"), exact)
    del weights["rope_embed.periods"]
    tokens(load(weights, tmp_path, "dinov3-vits16"), rounded)
    with pytest.raises(
        CleverError, match=r"rotary periods of the weights are not those of vit_small"
    ):
        load({**weights, "rope_embed.periods": 2 * exact}, tmp_path, "dinov3-vits16")


def test_rotary_positions_fit_every_image_size(two_blocks: None, tmp_path: Path) -> None:
    weights = official_checkpoint(384, 2, 1536)
    for size in ((32, 32), (16, 160), (256, 256)):
        teacher = load(weights, tmp_path, "dinov3-vits16", image_size=size)
        grid, _ = reference(weights, images(size), 2, weights["rope_embed.periods"], norm_last=True)
        assert teacher.grid == (size[0] // 16, size[1] // 16)
        torch.testing.assert_close(teacher.features(images(size)), grid, rtol=1e-4, atol=1e-4)


def test_a_file_with_biases_names_the_model_that_has_them(two_blocks: None, tmp_path: Path) -> None:
    weights = official_checkpoint(384, 2, 1536, biases=True)
    with pytest.raises(CleverError, match=r"qkv.bias is not zero.*dinov3-vits16-qkvb"):
        load(weights, tmp_path, "dinov3-vits16")
    with pytest.raises(CleverError, match=r"do not fit vits14: patch_embed"):
        load(weights, tmp_path, "vits14", image_size=(28, 28))


def test_sizes_that_patches_do_not_divide_name_the_nearest_that_they_do() -> None:
    settings = TeacherSettings(
        model="dinov3-vits16", weights="random:0", image_size=(225, 450), layer="post-norm"
    )
    with pytest.raises(CleverError, match=r"16-pixel patches; .*: 224x448 and 240x464"):
        load_teacher(settings)


def convnext_checkpoint(channels: tuple[int, ...], depths: tuple[int, ...]) -> Weights:
    """Random weights of a ConvNeXt under DINOv3's official keys."""
    random = torch.Generator().manual_seed(2)
    weights: Weights = {}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        fan_in = math.prod(shape[1:])
        weights[f"{name}.weight"] = fan_in**-0.5 * torch.randn(*shape, generator=random)
        weights[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=random)

    def add_norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=random)
        weights[f"{name}.bias"] = 0.1 * torch.randn(width, generator=random)

    for stage, (width, depth) in enumerate(zip(channels, depths, strict=True)):
        down = f"downsample_layers.{stage}"
        if stage:
            add_norm(f"{down}.0", channels[stage - 1])
            add(f"{down}.1", width, channels[stage - 1], 2, 2)
        else:
            add(f"{down}.0", width, 3, 4, 4)
            add_norm(f"{down}.1", width)
        for block in (f"stages.{stage}.{number}" for number in range(depth)):
            weights[f"{block}.gamma"] = 0.3 + 0.1 * torch.randn(width, generator=random)
            add(f"{block}.dwconv", width, 1, 7, 7)
            add_norm(f"{block}.norm", width)
            add(f"{block}.pwconv1", 4 * width, width)
            add(f"{block}.pwconv2", width, 4 * width)
    add_norm("norm", channels[-1])
    for part in ("weight", "bias"):
        weights[f"norms.3.{part}"] = weights[f"norm.{part}"]
    return weights


def convnext_reference(weights: Weights, images: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
    """A ConvNeXt written out: tokens (B, h, w, C) of each stage, and of the last one normed."""

    def norm(name: str, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        scaled = (x - mean) / (variance + 1e-6).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def convolve(name: str, x: Tensor, **options: int) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, **options).permute(0, 2, 3, 1)

    x = ((images.float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)).permute(0, 2, 3, 1)
    levels = []
    for stage, depth in enumerate(depths):
        down = f"downsample_layers.{stage}"
        x = norm(f"{down}.0", x) if stage else x
        x = convolve(f"{down}.{min(stage, 1)}", x, stride=2 if stage else 4)
        x = x if stage else norm(f"{down}.1", x)
        for block in (f"stages.{stage}.{number}" for number in range(depth)):
            y = norm(f"{block}.norm", convolve(f"{block}.dwconv", x, padding=3, groups=x.shape[-1]))
            y = y @ weights[f"{block}.pwconv1.weight"].T + weights[f"{block}.pwconv1.bias"]
            y = F.gelu(y) @ weights[f"{block}.pwconv2.weight"].T + weights[f"{block}.pwconv2.bias"]
            x = x + weights[f"{block}.gamma"] * y
        levels.append(x)
    return [*levels, norm("norm", x)]


def test_convnexts_from_official_files(tmp_path: Path) -> None:
    depths = (3, 3, 9, 3)
    weights = convnext_checkpoint((96, 192, 384, 768), depths)
    levels = convnext_reference(weights, images((64, 96)), depths)
    model = "dinov3-convnext-tiny"
    for layer, expected in (
        ({}, levels[4]),
        ({"layer": "stride:32"}, levels[3]),
        ({"layer": "stride:16"}, levels[2]),
    ):
        teacher = load(weights, tmp_path, model, image_size=(64, 96), **layer)
        torch.testing.assert_close(
            teacher.features(images((64, 96))), expected, rtol=1e-3, atol=1e-3
        )
    teacher = load(weights, tmp_path, model, image_size=(64, 96))
    assert (teacher.readout.layer, teacher.stride, teacher.grid) == ("post-norm", 32, (2, 3))
