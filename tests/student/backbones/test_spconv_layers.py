"""spconv is imported for a GPU alone, and quietly."""

from collections.abc import Iterator

import pytest

from ...interpreter import Interpreter

HIDDEN = """
import sys
for name in ("spconv", "spconv_triton", "cumm"):
    sys.modules[name] = None  # importing it fails
"""
TRAIN = """
import torch
from clever.student.draws import Draws
from clever.student.points import PointBatch
from clever.student.registry import build_student

torch.manual_seed(0)
cloud = torch.rand(500, 4) * torch.tensor([8, 8, 2, 1])
points = PointBatch.from_clouds([cloud, cloud[:200] + 0.1])
for name in ("minkunet-tiny", "ptv3-tiny"):
    student = build_student(name, 0.25)
    student(points, Draws(points, [1, 2])).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in student.parameters()), name
    assert student.eval()(points).isfinite().all()
"""


STEP = """
import torch
from clever.student.draws import Draws
from clever.student.points import PointBatch
from clever.student.registry import build_student

torch.manual_seed(0)
cloud = torch.rand(500, 4) * torch.tensor([8, 8, 2, 1])
points = PointBatch.from_clouds([cloud, cloud[:200] + 0.1])
student = build_student("minkunet-tiny", 0.25)
optimizer = torch.optim.AdamW(student.parameters(), 1e-3)
for step in range(2):
    loss = (student(points, Draws(points, [step, 7])) - cloud[0, 0]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item().hex())
for name, value in student.state_dict().items():
    print(name, value.double().sum().item().hex(), value.double().square().sum().item().hex())
"""


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    """One that has imported of torch what its optimizers take, and nothing else."""
    with Interpreter("import torch._dynamo\n") as interpreter:
        yield interpreter


def test_students_train_on_a_cpu_without_spconv(interpreter: Interpreter) -> None:
    process = interpreter.run(HIDDEN + TRAIN)
    assert process.returncode == 0, process.stderr


def test_training_steps_on_a_cpu_are_the_same_without_spconv(interpreter: Interpreter) -> None:
    pytest.importorskip("spconv", exc_type=ImportError)
    installed, hidden = interpreter.run(STEP), interpreter.run(HIDDEN + STEP)
    assert installed.returncode == hidden.returncode == 0, installed.stderr + hidden.stderr
    assert hidden.stdout == installed.stdout
    assert len(hidden.stdout.splitlines()) > 50


def test_training_on_a_cpu_does_not_import_spconv(interpreter: Interpreter) -> None:
    process = interpreter.run(
        TRAIN + "import sys; print([name for name in sys.modules if 'spconv' in name "
        "and sys.modules[name] is not None])"
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == "['clever.student.backbones.spconv_layers']\n"


def test_without_spconv_a_gpu_is_told_what_to_install(interpreter: Interpreter) -> None:
    script = "from clever.errors import CleverError\n"
    script += "from clever.student.backbones.spconv_layers import spconv\n"
    script += "try: spconv()\nexcept CleverError as error: print(error)"
    assert interpreter.run(HIDDEN + script).stdout == (
        "no sparse convolution on a GPU: install spconv-cu120 (Python 3.11), spconv-cu126 (newer) "
        "or spconv-triton, or choose `device=cpu`\n"
    )


@pytest.mark.slow
def test_import_prints_nothing(interpreter: Interpreter) -> None:
    pytest.importorskip("spconv", exc_type=ImportError)
    script = "import warnings; warnings.simplefilter('default'); "
    script += "from clever.student.backbones.spconv_layers import spconv; import torch; "
    script += "coords = torch.zeros(1, 4, dtype=torch.int32); "
    script += "spconv().SparseConvTensor(torch.zeros(1, 1), coords, (1, 1, 1), 1); "
    script += "warnings.warn('of our own', FutureWarning)"
    process = interpreter.run(script)
    assert process.returncode == 0
    assert "amp.custom" not in process.stderr
    assert "is_fx_tracing" not in process.stderr
    assert "of our own" in process.stderr  # only spconv's are silenced
