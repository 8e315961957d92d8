"""Franca's official files: DINOv2's formulas with gated layers, blocks in chunks."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from clever.cache.teacher import load_teacher
from clever.cache.teacher_settings import TeacherSettings
from clever.errors import CleverError

from ..test_teacher import official_checkpoint, random_images, reference_tokens, worst_cosine


def official_file(weights: dict[str, Tensor], chunk: int) -> dict[str, dict[str, Tensor]]:
    """The same tensors as Franca's files hold them: the teacher's backbone, `chunk` blocks in each
    part, and a head."""

    def key(name: str) -> str:
        parts = name.split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // chunk))
        return f"module.backbone.{'.'.join(parts)}"

    state = {key(name): value for name, value in weights.items()}
    return {"teacher": {**state, "module.dino_head.last.weight": torch.zeros(3, 3)}}


def settings(path: Path, model: str, layer: str | None = None) -> TeacherSettings:
    values = {"model": model, "weights": str(path), "image_size": (56, 84)}
    values |= {"layer": layer} if layer else {}
    return TeacherSettings.model_validate(values)


@pytest.mark.parametrize(
    ("model", "width", "side"), [("franca-vitb14", 768, 37), ("franca-vitl14", 1024, 16)]
)
def test_official_files_give_the_formulas_tokens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, width: int, side: int
) -> None:
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, **options: create(name, **{**options, "depth": 2})
    )
    weights = official_checkpoint(width, 2, swiglu=True)
    weights["pos_embed"] = weights["pos_embed"][:, : 1 + side * side]
    torch.save(official_file(weights, chunk=1), tmp_path / "franca.pth")
    images = random_images(56, 84)
    for layer, blocks in ((None, None), ("pre-norm", 2)):
        teacher = load_teacher(settings(tmp_path / "franca.pth", model, layer))
        expected = reference_tokens(weights, images, False, blocks, side=side)
        assert worst_cosine(teacher.features(images), expected) > 0.99999
    assert teacher.fingerprint["model"] == model.replace("-", "_")
    assert teacher.fingerprint["position_embedding"] == "bicubic, scale factor with offset 0.1"


def test_other_files_and_the_hub_are_refused(tmp_path: Path) -> None:
    torch.save(official_checkpoint(768, 1), tmp_path / "dinov2.pth")
    with pytest.raises(CleverError, match=r"do not fit franca-vitb14: it has no SwiGLU"):
        load_teacher(settings(tmp_path / "dinov2.pth", "franca-vitb14"))
    hub = TeacherSettings(model="franca-vitb14", image_size=(56, 84))
    with pytest.raises(CleverError, match=r"hub has no weights of franca-vitb14; get .*releases"):
        load_teacher(hub)
