"""Every known teacher against timm: architecture, grid, tokens before the grid, default layer."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg

import clever
from clever.cache.teacher_settings import TeacherSettings
from clever.cache.teachers.known import KnownTeacher
from clever.cache.teachers.registry import FAMILIES, KNOWN, default_layer, known_teacher, licence_of

NOTICE = Path(clever.__file__).parent / "NOTICE"
IMAGENET, HALF, UNIT = (0.485, 0.456, 0.406), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)
CLIP, SATELLITE = (0.48145466, 0.4578275, 0.40821073), (0.43, 0.411, 0.296)


def skeleton(teacher: KnownTeacher) -> Any:
    """The network without its weights."""
    with torch.device("meta"):
        return timm.create_model(teacher.architecture, num_classes=0, **teacher.options(None))


@pytest.mark.parametrize(
    ("name", "channels", "stride", "before", "depth", "million", "mean"),
    [
        ("vitl14", 1024, 14, 1, 24, 304, IMAGENET),
        ("vitg14_reg", 1536, 14, 5, 40, 1136, IMAGENET),
        ("dinov3-vits16", 384, 16, 5, 12, 21.6, IMAGENET),
        ("dinov3-vits16plus", 384, 16, 5, 12, 28.7, IMAGENET),
        ("dinov3-vitb16", 768, 16, 5, 12, 86, IMAGENET),
        ("dinov3-vitl16", 1024, 16, 5, 24, 303, IMAGENET),
        ("dinov3-vitl16-sat", 1024, 16, 5, 24, 303, SATELLITE),
        ("dinov3-vith16plus", 1280, 16, 5, 32, 841, IMAGENET),
        ("dinov3-vit7b16", 4096, 16, 5, 40, 6716, IMAGENET),
        ("siglip2-vitb16", 768, 16, 0, 12, 93, HALF),
        ("siglip2-so400m14", 1152, 14, 0, 27, 428, HALF),
        ("tipsv2-vitb14", 768, 14, 2, 12, 86, UNIT),
        ("eupe-vitt16", 192, 16, 5, 12, 5.5, IMAGENET),
        ("pe-spatial-small", 384, 16, 1, 12, 22, HALF),
        ("pe-core-large", 1024, 14, 1, 24, 317, HALF),
        ("aimv2-vitl14", 1024, 14, 0, 24, 310, CLIP),
        ("franca-vitb14", 768, 14, 1, 12, 86.6, IMAGENET),
        ("franca-vitg14", 1536, 14, 1, 40, 1135, IMAGENET),
    ],
)
def test_vits_are_what_their_papers_say(
    name: str, channels: int, stride: int, before: int, depth: int, million: float, mean: Any
) -> None:
    network = skeleton(KNOWN[name])
    levels = [(level["num_chs"], level["reduction"]) for level in network.feature_info]
    assert levels == [(channels, stride)] * depth
    assert network.num_prefix_tokens == before
    parameters = sum(value.numel() for value in network.parameters()) / 1e6
    assert parameters == pytest.approx(million, rel=0.02)
    assert network.pretrained_cfg["mean"] == mean


@pytest.mark.parametrize("name", ["dinov3-convnext-large", "eupe-convnext-tiny", "sam2-hiera-tiny"])
def test_hierarchical_teachers_have_four_strides(name: str) -> None:
    strides = [level["reduction"] for level in skeleton(KNOWN[name]).feature_info]
    assert strides == [4, 8, 16, 32]


def test_every_row_is_known_to_timm_with_its_licence() -> None:
    """timm's own notes of the weights' licences agree with the table's."""
    words = {
        "dinov3-license": "DINOv3",
        "fair-noncommercial-research-license": "FAIR",
        "apple-ascl": "Apple",
    }
    assert len(KNOWN) == sum(len(family.TEACHERS) for family in FAMILIES)
    for teacher in KNOWN.values():
        assert timm.is_model(teacher.architecture), teacher.name
        assert teacher.licence
        if teacher.download:  # not from timm
            continue
        noted = getattr(get_pretrained_cfg(teacher.architecture), "license", None) or "apache-2.0"
        assert teacher.licence.startswith(words.get(noted, "Apache-2.0")), teacher.name


@pytest.mark.skipif(not NOTICE.exists(), reason="an installed package has no NOTICE beside it")
def test_notice_names_the_licence_of_every_family() -> None:
    rows = {" ".join(line.split()) for line in NOTICE.read_text().splitlines()}
    assert {f"{teacher.family} {teacher.licence}" for teacher in KNOWN.values()} <= rows


def test_default_layers() -> None:
    layers = {
        "vits14": "pre-norm",
        "vitb14_reg": "pre-norm",
        "dinov3-vits16": "post-norm",
        "vit_small_patch16_dinov3": "post-norm",
        "vit_small_patch16_dinov3.lvd1689m": "post-norm",
        "dinov3-convnext-tiny": "post-norm",
        "convnext_tiny.dinov3_lvd1689m": "post-norm",
        "convnext_tiny": "pre-norm",
        "siglip2-vitb16": "post-norm",
        "pe-spatial-base": "pre-norm",
        "pe-core-base": "post-norm",
        "sam2-hiera-tiny": "stride:16",
        "efficientnet_lite0": "stride:16",
        "resnet18": "pre-norm",
        "vit_base_patch14_dinov2": "pre-norm",
    }
    assert {model: default_layer(model) for model in layers} == layers
    assert {model: TeacherSettings(model=model).layer for model in layers} == layers
    assert TeacherSettings().layer == "pre-norm"
    assert TeacherSettings(model="dinov3-vits16", layer="block:-2").layer == "block:-2"


def test_names_without_a_tag_mean_what_timm_means_by_them() -> None:
    def name_of(model: str) -> str | None:
        teacher = known_teacher(model)
        return teacher and teacher.name

    assert name_of("vit_base_patch16_dinov3_qkvb") == "dinov3-vitb16-qkvb"
    assert name_of("vit_base_patch16_dinov3_qkvb.eupe_lvd1689m") == "eupe-vitb16"
    assert name_of("vit_base_patch14_dinov2") == "vitb14"
    assert name_of("convnext_base") is None
    assert licence_of("eupe-vitb16") == licence_of("convnext_tiny.eupe_lvd1689m")
    assert licence_of("resnet18") is None
