"""Random weights under the names of Pointcept's networks, written down from its classes."""

import torch
from torch import Tensor

SPUNET_34 = (32, 5, (32, 64, 128, 256, 256, 128, 96, 96), (2, 3, 4, 6, 2, 2, 2, 2))
SPUNET_18 = (32, 5, (32, 64, 128, 256, 256, 128, 96, 96), (2, 2, 2, 2, 2, 2, 2, 2))
SPUNET_TINY = (16, 3, (24, 32, 48, 48, 32, 32, 24, 64), (1, 1, 1, 1, 1, 1, 1, 1))
"""base_channels, kernel of the stem, channels, layers; the last two are no Pointcept configuration,
but networks that its class can be asked for (but for the stem of the tiny one)."""
PTV3 = ((32, 64, 128, 256, 512), (2, 2, 2, 6, 2), (64, 64, 128, 256), (2, 2, 2, 2))
PTV3_256 = ((32, 64, 128, 256, 512), (2, 2, 2, 6, 2), (256, 256, 256, 256), (2, 2, 2, 2))
PTV3_TINY = ((16, 32, 64, 96), (1, 1, 1, 1), (64, 32, 64), (1, 1, 1))
"""enc_channels, enc_depths, dec_channels, dec_depths; the decoder finest first."""


class Weights(dict[str, Tensor]):
    """Tensors by name, drawn as they are added."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, name: str, *shape: int) -> None:
        scale = 1 / max(1.0, torch.Size(shape[1:]).numel()) ** 0.5
        self[name] = scale * torch.randn(shape, generator=self.generator)

    def linear(self, name: str, inward: int, out: int) -> None:
        self.add(f"{name}.weight", out, inward)
        self.add(f"{name}.bias", out)

    def conv(self, name: str, inward: int, out: int, kernel: int) -> None:
        self.add(f"{name}.weight", out, kernel, kernel, kernel, inward)

    def layer_norm(self, name: str, channels: int) -> None:
        self.add(f"{name}.weight", channels)
        self.add(f"{name}.bias", channels)

    def batch_norm(self, name: str, channels: int) -> None:
        self.layer_norm(name, channels)
        self.add(f"{name}.running_mean", channels)
        self[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self.generator)
        self[f"{name}.num_batches_tracked"] = torch.tensor(len(self))


def spunet(
    base: int,
    stem: int,
    channels: tuple[int, ...],
    layers: tuple[int, ...],
    features: int = 4,
    classes: int = 16,
) -> Weights:
    """Of `SpUNetBase`."""
    weights = Weights()
    weights.conv("conv_input.0", features, base, stem)
    weights.batch_norm("conv_input.1", base)
    last, encoder, decoder = len(channels), base, channels[-1]
    for stage in range(last // 2):
        weights.conv(f"down.{stage}.0", encoder, channels[stage], 2)
        weights.batch_norm(f"down.{stage}.1", channels[stage])
        for block in range(layers[stage]):
            _block(weights, f"enc.{stage}.block{block}", channels[stage], channels[stage])
        weights.conv(f"up.{stage}.0", channels[last - stage - 2], decoder, 2)
        weights.batch_norm(f"up.{stage}.1", decoder)
        for block in range(layers[last - stage - 1]):
            inward = decoder if block else decoder + encoder
            _block(weights, f"dec.{stage}.block{block}", inward, decoder)
        encoder, decoder = channels[stage], channels[last - stage - 2]
    if classes:
        weights.conv("final", channels[-1], classes, 1)
        weights.add("final.bias", classes)
    return weights


def _block(weights: Weights, name: str, inward: int, out: int) -> None:
    if inward != out:
        weights.conv(f"{name}.proj.0", inward, out, 1)
        weights.batch_norm(f"{name}.proj.1", out)
    weights.conv(f"{name}.conv1", inward, out, 3)
    weights.batch_norm(f"{name}.bn1", out)
    weights.conv(f"{name}.conv2", out, out, 3)
    weights.batch_norm(f"{name}.bn2", out)


def ptv3(
    encoder: tuple[int, ...],
    encoder_depths: tuple[int, ...],
    decoder: tuple[int, ...],
    decoder_depths: tuple[int, ...],
    features: int = 4,
) -> Weights:
    """Of `PointTransformerV3` in v3m1."""
    weights = Weights()
    weights.conv("embedding.stem.conv", features, encoder[0], 5)
    weights.batch_norm("embedding.stem.norm", encoder[0])
    for stage, depth in enumerate(encoder_depths):
        name, width = f"enc.enc{stage}", encoder[stage]
        if stage:
            weights.linear(f"{name}.down.proj", encoder[stage - 1], width)
            weights.batch_norm(f"{name}.down.norm.0", width)
        for block in range(depth):
            _attention(weights, f"{name}.block{block}", width)
    below = (*decoder, encoder[-1])
    for stage in reversed(range(len(decoder))):
        name, width = f"dec.dec{stage}", decoder[stage]
        weights.linear(f"{name}.up.proj.0", below[stage + 1], width)
        weights.batch_norm(f"{name}.up.proj.1", width)
        weights.linear(f"{name}.up.proj_skip.0", encoder[stage], width)
        weights.batch_norm(f"{name}.up.proj_skip.1", width)
        for block in range(decoder_depths[stage]):
            _attention(weights, f"{name}.block{block}", width)
    return weights


def _attention(weights: Weights, name: str, channels: int) -> None:
    weights.conv(f"{name}.cpe.0", channels, channels, 3)
    weights.add(f"{name}.cpe.0.bias", channels)
    weights.linear(f"{name}.cpe.1", channels, channels)
    weights.layer_norm(f"{name}.cpe.2", channels)
    weights.layer_norm(f"{name}.norm1.0", channels)
    weights.linear(f"{name}.attn.qkv", channels, 3 * channels)
    weights.linear(f"{name}.attn.proj", channels, channels)
    weights.layer_norm(f"{name}.norm2.0", channels)
    weights.linear(f"{name}.mlp.0.fc1", channels, 4 * channels)
    weights.linear(f"{name}.mlp.0.fc2", 4 * channels, channels)
