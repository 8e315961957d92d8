"""What every training job shares: random streams, device, optimiser and schedule, the loop, exact resume.

A job gives a `TrainingStep` (batch in, losses out) and the frames; `fit` does the rest. Every random number comes from
a stream named by seed, purpose and position, so a run taken up again after an epoch draws what it would have drawn.
"""

import hashlib
import json
import math
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import CleverError
from ..files import atomic_write
from .progress import Track
from .runs import Run, Scalars

NOT_LOSSES = frozenset({"step", "epoch", "lr", "grad_norm", "frames_per_s"})
"""What a log record holds beside the losses."""


class Batch(Protocol):
    """Frames of one step."""

    @property
    def ids(self) -> list[str]: ...

    def to(self, device: torch.device) -> Self: ...


AnyBatch = TypeVar("AnyBatch", bound=Batch)


class TrainingStep(nn.Module, ABC):
    """All that is trained in a job, as one module: its forward pass turns a batch into losses."""

    @abstractmethod
    def forward(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalar losses by name; ``loss`` is the one to minimise. Random numbers come from `generator` alone."""

    def changing(self) -> nn.Module:
        """The part that training changes: what must be saved to take a run up again."""
        return self


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast to train (Table A1)."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    seed: int
    workers: int | None
    device: torch.device


def stream(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator that depends on `seed` and `purpose` alone."""
    digest = hashlib.blake2b(json.dumps([seed, *purpose]).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little", signed=True))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Initialise modules inside from a stream of their own (torch's layers know the global CPU generator only)."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, purpose).initial_seed())
        yield


def choose_device(name: str) -> torch.device:
    """``auto`` takes the GPU where there is one.

    Raises:
        CleverError: CUDA was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise CleverError("--device cuda: torch finds no CUDA device; use --device cpu or repair the driver")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def default_lr(student: str) -> float:
    """Peak learning rate of Table A1."""
    return 2e-3 if student.startswith("ptv3") else 1e-3


def make_optimizer(module: nn.Module, recipe: Recipe, steps: int) -> tuple[Optimizer, LRScheduler]:
    """AdamW with a one-cycle cosine schedule over `steps` steps (Table A1).

    Table A1 names neither warm-up nor end points: they are those of Pointcept's stock configurations, which the paper
    builds on (4 % warm-up from a tenth of the peak, down to a thousandth). Short runs get two steps of warm-up.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    warmup = max(0.04, min(0.3, 2 / steps))
    schedule = OneCycleLR(
        optimizer, recipe.lr, total_steps=steps, pct_start=warmup, div_factor=10.0, final_div_factor=100.0
    )
    return optimizer, schedule


class EpochBatches(Sampler[list[int]]):
    """Batches of shuffled frame indices: the order depends on seed and epoch alone; the last batch may be smaller."""

    def __init__(self, frames: int, batch_size: int, seed: int) -> None:
        self.frames, self.batch_size, self.seed = frames, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self.frames / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.frames, generator=stream(self.seed, "order", self.epoch)).tolist()
        return (order[start : start + self.batch_size] for start in range(0, self.frames, self.batch_size))


@dataclass(slots=True)
class Progress:
    """Where a run stands: whole epochs done, steps in them, seconds spent."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


def save_state(
    path: Path,
    module: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    progress: Progress,
    inputs: dict[str, str],
) -> None:
    """Write everything a run needs to go on, as one safetensors file with JSON metadata."""
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    content = optimizer.state_dict()
    for index, moments in content["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    metadata = {
        "groups": content["param_groups"],
        "schedule": schedule.state_dict(),
        "progress": asdict(progress),
        "inputs": inputs,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, save(tensors, {"training": json.dumps(metadata)}))


def load_state(
    path: Path, module: nn.Module, optimizer: Optimizer, schedule: LRScheduler, inputs: dict[str, str]
) -> Progress:
    """Put a saved state back; without one, the run starts at its beginning.

    Raises:
        CleverError: the file is damaged, or the run read other data.
    """
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CleverError(f"{path} is damaged ({error}); delete {path.parent} and start again") from error
    changed = [name for name in inputs if metadata["inputs"].get(name) != inputs[name]]
    if changed:
        raise CleverError(f"the run in {path.parent} read other {', '.join(changed)} than now; choose another --out")
    moments: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        if part == "model":
            weights[rest] = tensor
        else:
            index, moment = rest.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
    module.load_state_dict(weights)
    optimizer.load_state_dict({"state": moments, "param_groups": metadata["groups"]})
    schedule.load_state_dict(metadata["schedule"])
    return Progress(**metadata["progress"])


def make_loader(
    frames: Dataset[Any], batches: EpochBatches, collate: Callable[[list[Any]], AnyBatch], recipe: Recipe
) -> DataLoader[Any]:
    """Loader with worker processes where a GPU would wait; they are not forked, so open stores are safe."""
    workers = recipe.workers
    if workers is None:
        workers = min(8, (os.cpu_count() or 1) - 1) if recipe.device.type == "cuda" else 0
    return DataLoader(
        frames,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_ignore_interrupt,
        persistent_workers=workers > 0,
    )


def _ignore_interrupt(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the parent alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def fit(
    step: TrainingStep,
    frames: Dataset[Any],
    count: int,
    collate: Callable[[list[Any]], AnyBatch],
    recipe: Recipe,
    run: Run,
    label: str,
    inputs: dict[str, str],
    export: Callable[[], None],
) -> Progress:
    """Train `step` on `count` `frames`, from where `run` stands to the last epoch.

    Args:
        collate: makes one `Batch` of a list of frames.
        inputs: digests of what the run reads; taking a run up with others is an error.
        export: writes the weights a user loads; called at the end, and on Ctrl-C with those of the last whole epoch.

    Raises:
        CleverError: loss or gradient is not finite; the message names the frames of that batch.
        KeyboardInterrupt: with a message that says how to go on.
    """
    step.to(recipe.device)
    batches = EpochBatches(count, recipe.batch_size, recipe.seed)
    optimizer, schedule = make_optimizer(step, recipe, len(batches) * recipe.epochs)
    progress = load_state(run.state, step.changing(), optimizer, schedule, inputs)
    loader = make_loader(frames, batches, collate, recipe)
    total = count * recipe.epochs
    with Track(label, total, "frames", done=progress.epoch * count) as track, run.log(progress.step) as log:
        try:
            for epoch in range(progress.epoch, recipe.epochs):
                batches.epoch = epoch
                _run_epoch(step, loader, optimizer, schedule, recipe, progress, track, log, run)
                progress.epoch = epoch + 1
                save_state(run.state, step.changing(), optimizer, schedule, progress, inputs)
        except KeyboardInterrupt:
            progress = load_state(run.state, step.changing(), optimizer, schedule, inputs)
            if progress.epoch:
                export()
            raise KeyboardInterrupt(
                f"stopped; {progress.epoch} whole epochs are kept: the same command with --out {run.folder} goes on"
            ) from None
    export()
    return progress


def _run_epoch(
    step: TrainingStep,
    loader: DataLoader[Any],
    optimizer: Optimizer,
    schedule: LRScheduler,
    recipe: Recipe,
    progress: Progress,
    track: Track,
    log: Callable[[Scalars], None],
    run: Run,
) -> None:
    step.train()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    started = time.monotonic()
    for batch in loader:
        generator = stream(recipe.seed, "step", progress.step, device=recipe.device)
        losses = _losses(step, batch.to(recipe.device), generator, progress)
        optimizer.zero_grad()
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(parameters, math.inf)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not math.isfinite(values["loss"]) or not math.isfinite(norm):
            raise CleverError(
                f"loss {values['loss']} and gradient norm {float(norm)} at step {progress.step + 1} in frames "
                f"{', '.join(batch.ids)}; the checkpoint of epoch {progress.epoch} stays in {run.folder}; "
                "look at these frames or lower --lr"
            )
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        progress.step += 1
        finished = time.monotonic()
        spent, started = finished - started, finished
        progress.seconds += spent
        place = {"step": progress.step, "epoch": progress.epoch + 1}
        log({**place, **values, "lr": rate, "grad_norm": float(norm), "frames_per_s": len(batch.ids) / spent})
        track.advance(len(batch.ids), "  ".join(f"{name} {value:.4f}" for name, value in values.items()))


def _losses(step: TrainingStep, batch: Any, generator: torch.Generator, progress: Progress) -> dict[str, Tensor]:
    """The step's losses; what it finds wrong with the batch is told with the frames' ids."""
    try:
        return step(batch, generator)
    except CleverError as error:
        raise CleverError(f"step {progress.step + 1}, frames {', '.join(batch.ids)}: {error}") from error


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses over the first and over the last `window` steps of a run."""

    first: dict[str, float]
    last: dict[str, float]
    window: int

    def __str__(self) -> str:
        pairs = ", ".join(f"{name} {value:.4f} -> {self.last[name]:.4f}" for name, value in self.first.items())
        return f"{pairs} (means over the first and the last {self.window} steps)"


def first_and_last(records: list[Scalars]) -> Losses:
    """How the losses of a log began and ended: means over a tenth of the steps."""
    window = max(1, len(records) // 10)
    return Losses(_means(records[:window]), _means(records[-window:]), window)


def _means(records: list[Scalars]) -> dict[str, float]:
    names = dict.fromkeys(name for record in records for name in record if name not in NOT_LOSSES)
    values = {name: [float(record[name]) for record in records if name in record] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}
