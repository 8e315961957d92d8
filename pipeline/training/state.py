"""Where a training run stands, on disk: all that is needed to go on as if it had never stopped.

No random generator is saved: every draw depends on seed, pass and frame (see `student.draws`).
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ...errors import CleverError
from ...files import atomic_write


@dataclass(slots=True)
class TrainingProgress:
    """Where a run stands.

    Attributes:
        step: steps done.
        seconds: wall time spent in them.
        epoch_loss, epoch_steps: sum and number of the losses of the pass that is under way.
        best_loss, best_epoch: lowest mean loss of a pass, and which, from 1.
    """

    step: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_steps: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The parts of a run that change, and the file that keeps them.

    Attributes:
        path: safetensors file.
        module: what training changes.
        scaler: of float16 training, or None.
        inputs: digests of what the run reads.
    """

    path: Path
    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: GradScaler | None
    inputs: dict[str, str]

    def save(self, progress: TrainingProgress) -> None:
        """Write everything in one atomic step, as one safetensors file with JSON metadata."""
        tensors = {f"model.{name}": tensor for name, tensor in self.module.state_dict().items()}
        content = self.optimizer.state_dict()
        for index, moments in content["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        metadata = {
            "groups": content["param_groups"],
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "progress": asdict(progress),
            "inputs": self.inputs,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        atomic_write(self.path, save(tensors, {"training": json.dumps(metadata)}))

    def load(self) -> TrainingProgress | None:
        """Put the saved state back, where there is a file.

        Raises:
            CleverError: the file is damaged, or the run read other data.
        """
        if not self.path.exists():
            return None
        metadata, tensors = self._read()
        changed = [
            name for name in self.inputs if metadata["inputs"].get(name) != self.inputs[name]
        ]
        if changed:
            raise CleverError(
                f"the run in {self.path.parent} read other {', '.join(changed)} than now; choose "
                "another `out`"
            )
        moments: dict[int, dict[str, Tensor]] = {}
        weights: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            part, key = name.split(".", 1)
            if part == "model":
                weights[key] = tensor
            else:
                index, moment = key.split(".")
                moments.setdefault(int(index), {})[moment] = tensor
        self.module.load_state_dict(weights)
        self.optimizer.load_state_dict({"state": moments, "param_groups": metadata["groups"]})
        self.schedule.load_state_dict(metadata["schedule"])
        if self.scaler and metadata["scaler"]:
            self.scaler.load_state_dict(metadata["scaler"])
        return TrainingProgress(**metadata["progress"])

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            with safe_open(self.path, "pt") as file:
                metadata, names = json.loads(file.metadata()["training"]), file.keys()
                return metadata, {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CleverError(
                f"{self.path} is damaged ({error}); delete {self.path.parent} and start again"
            ) from error
