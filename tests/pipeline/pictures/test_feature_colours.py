"""Colours of features: same features, same colours; directions of variance, not of scale; a student
around its own mean."""

import numpy as np
import torch
from torch.nn.functional import normalize

from clever.pipeline.pictures.feature_colours import FeatureColours


def test_three_directions_become_three_colours() -> None:
    """Unit features on a plane through three axes: the coordinate of largest variance orders the
    red channel."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(500, 3, generator=generator) * torch.tensor([0.10, 0.05, 0.02])
    features = torch.cat([torch.ones(500, 1), spread, torch.zeros(500, 4)], 1)
    colours = torch.from_numpy(FeatureColours(features).stretched(features)(features))
    unit = normalize(features, dim=1)
    for channel in range(3):
        correlation = torch.corrcoef(
            torch.stack([colours[:, channel], unit[:, channel + 1].double()])
        )[0, 1]
        assert abs(correlation) > 0.95
        # The mean of the features is the middle of the colour, and one tail has its end.
        values = unit[:, channel + 1].double()
        middle = colours[(values - values.mean()).abs().argmin(), channel]
        assert abs(float(middle) - 0.5) < 0.02
    assert float(colours.min()) == 0
    assert float(colours.max()) == 1


def test_colours_do_not_depend_on_length_or_order() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(200, 16, generator=generator)
    colours = FeatureColours(features).stretched(features)
    shuffled = torch.randperm(200, generator=generator)
    again = FeatureColours(features[shuffled] * 7).stretched(features * 0.1)
    assert abs(colours(features) - again(features * 3)).max() < 1e-6


def test_a_student_closer_to_its_mean_has_its_teachers_colours() -> None:
    """What is predicted lies halfway between the teacher's feature and a common direction: around
    the teacher's mean all would change colour, around its own nothing does."""
    generator = torch.Generator().manual_seed(2)
    teacher = normalize(torch.randn(400, 24, generator=generator), dim=1)
    common = normalize(torch.randn(24, generator=generator), dim=0)
    student = 0.1 * teacher + common
    colours = FeatureColours(teacher)
    own = colours.stretched(student)(student)
    true = colours.stretched(teacher)(teacher)
    shifted = colours.stretched(teacher)(student)
    assert np.corrcoef(own[:, 0], true[:, 0])[0, 1] > 0.95
    assert abs(own - true).mean() < 0.1
    assert abs(shifted - true).mean() > 0.2
