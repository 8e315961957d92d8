"""The perceptron that all heads on points end in."""

from torch import nn


def perceptron(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Two hidden layers with batch norm, then a linear one."""
    layers: list[nn.Module] = []
    for channels in (in_channels, width):
        layers += [nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, out_channels))
