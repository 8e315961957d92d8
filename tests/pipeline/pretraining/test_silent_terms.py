"""Losses that nothing ever counted in are told after a pre-training."""

from clever.pipeline.pretraining.silent_terms import silent_terms
from clever.pipeline.settings.pretrain import PretrainSettings


def test_terms_that_are_zero_in_every_step_are_named() -> None:
    terms = "regions=1,flow=1,prototypes=1,distance=1"
    settings = PretrainSettings.resolve(None, {"cache": "x", "terms": terms})
    step = {"loss": 1.0, "regions": 0.0, "flow": 0.0, "prototypes": 0.0}
    other = {**step, "flow": 0.5}
    line = silent_terms(settings, [{"val_miou": 0.1}, step, step])
    assert line.startswith(
        "nothing was learnt from regions, flow: the loss was 0 in all of 2 steps,"
    )
    assert silent_terms(settings, [step, other]).startswith("nothing was learnt from regions: ")
    assert silent_terms(settings, [{**other, "regions": 0.1}, step]) == ""
    assert silent_terms(settings, []) == ""
    plain = PretrainSettings.resolve(None, {"cache": "x"})
    assert silent_terms(plain, [{"loss": 1.0, "distillation": 1.0}]) == ""
