"""Projection heads against the paper's sizes and DINO's form."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clever.student.heads import ProjectionHead


@pytest.mark.parametrize(
    ("width", "parameters"), [(384, 5_181_824), (768, 5_968_640), (1024, 6_493_184)]
)
def test_parameters_of_the_paper_head(width: int, parameters: int):
    assert sum(p.numel() for p in ProjectionHead(96, width).parameters()) == parameters


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_output_is_linear_layers_with_gelu_between(layers: int):
    torch.manual_seed(0)
    head = ProjectionHead(6, 5, layers, hidden=7)
    x = torch.randn(4, 6)
    expected = x
    for number, linear in enumerate(module for module in head if isinstance(module, nn.Linear)):
        expected = F.linear(F.gelu(expected) if number else expected, linear.weight, linear.bias)
    assert torch.equal(head(x), expected)
    assert sum(isinstance(module, nn.Linear) for module in head) == layers


def test_initial_weights():
    torch.manual_seed(0)
    for module in ProjectionHead(96, 384):
        if isinstance(module, nn.Linear):
            assert module.bias.abs().max() == 0
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.02)
