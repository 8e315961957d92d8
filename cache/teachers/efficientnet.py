"""EfficientNet-Lite0 (Google, 2020), the one pretrained image network that PyPI has: a supervised
CNN, in TensorFlow's variant."""

from .known import KnownTeacher

TEACHERS = (
    KnownTeacher(
        name="efficientnet_lite0",
        architecture="tf_efficientnet_lite0",
        family="EfficientNet-Lite",
        licence="Apache-2.0",
        layer="stride:16",
    ),
)
