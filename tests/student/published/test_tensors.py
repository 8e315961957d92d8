"""Names and kinds of a published checkpoint's tensors are checked before they are used."""

import pytest
import torch
from torch import Tensor

from clever.errors import CleverError
from clever.student.published.tensors import plain_tensors

WEIGHT = torch.arange(6.0).reshape(2, 3)


def test_wrappers_go_and_tensors_stay() -> None:
    state = {
        "module.module.a.weight": WEIGHT,
        "b.module.weight": WEIGHT.half(),
        "module.norm.num_batches_tracked": torch.tensor(7),
        "norm.running_var": torch.zeros(3),
        "norm.running_mean": torch.tensor([-1.0]),
    }
    plain = plain_tensors(state, "file")
    assert list(plain) == [
        "a.weight",
        "b.module.weight",
        "norm.num_batches_tracked",
        "norm.running_var",
        "norm.running_mean",
    ]
    assert all(ours is theirs for ours, theirs in zip(plain.values(), state.values(), strict=True))


@pytest.mark.parametrize(
    ("tensor", "fault"),
    [
        (WEIGHT.to_sparse(), r"is torch\.float32, torch\.sparse_coo, not dense floating-point"),
        (WEIGHT.to("meta"), "is on the device meta, not dense floating-point numbers"),
        (WEIGHT.to(torch.int8), r"is torch\.int8, torch\.strided, not dense floating-point"),
        (WEIGHT.to(torch.complex64), r"is torch\.complex64, "),
        (torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8), r"is torch\.qint8, "),
    ],
)
def test_what_is_no_dense_floating_point_is_refused(tensor: Tensor, fault: str) -> None:
    with pytest.raises(CleverError, match=rf"^file: a\.weight {fault}"):
        plain_tensors({"module.a.weight": tensor}, "file")


def test_two_of_one_name_and_negative_variances() -> None:
    with pytest.raises(CleverError, match=r"holds a\.weight twice, with and without 'module\.'"):
        plain_tensors({"a.weight": WEIGHT, "module.a.weight": WEIGHT}, "file")
    with pytest.raises(CleverError, match=r"norm\.running_var has negative values"):
        plain_tensors({"norm.running_var": torch.tensor([1.0, -1e-9])}, "file")
