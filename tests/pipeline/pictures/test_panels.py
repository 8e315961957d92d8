"""Colours of features: same features, same colours; directions of variance, not of scale."""

import torch

from clever.pipeline.pictures.panels import FeatureColours


def test_three_directions_become_three_colours() -> None:
    """Unit features on a plane through three axes: the coordinate of largest variance orders the
    red channel."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(500, 3, generator=generator) * torch.tensor([0.10, 0.05, 0.02])
    features = torch.cat([torch.ones(500, 1), spread, torch.zeros(500, 4)], 1)
    colours = torch.from_numpy(FeatureColours(features)(features))
    unit = torch.nn.functional.normalize(features, dim=1)
    for channel in range(3):
        correlation = torch.corrcoef(
            torch.stack([colours[:, channel], unit[:, channel + 1].double()])
        )[0, 1]
        assert abs(correlation) > 0.95
    assert float(colours.min()) == 0
    assert float(colours.max()) == 1


def test_colours_do_not_depend_on_length_or_order() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(200, 16, generator=generator)
    colours = FeatureColours(features)
    shuffled = torch.randperm(200, generator=generator)
    again = FeatureColours(features[shuffled] * 7)
    assert abs(colours(features) - again(features * 3)).max() < 1e-6
