"""Where the time of a training step goes, and where the host waits for the device, by
torch.profiler."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ..steps.distillation import PARTS

STEP = "clever training step"
"""Name of the whole step in the profile."""
COPY, BACKWARD, NORM, OPTIMISER, REST = (
    "batch to device",
    "backward",
    "gradient norm",
    "optimiser",
    "everything else",
)
ALL_PARTS: tuple[str, ...] = (COPY, *PARTS, BACKWARD, NORM, OPTIMISER, REST)
"""In the order of a step; `REST` sums the losses up, moves the schedule on and sends the numbers to
the host."""
_BACKWARD = "autograd::engine::evaluate_function"
_OPTIMISER = ("Optimizer.step#", "Optimizer.zero_grad#")
_PAGEABLE = "Memcpy DtoH (Device -> Pageable)"


@dataclass(frozen=True, slots=True)
class Event:
    """What the profiler saw.

    Attributes:
        start, end: microseconds on the clock of the host.
        device: whether it ran on the GPU; then `number` is that of the host's call that launched
            it.
    """

    name: str
    start: float
    end: float
    device: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class StepProfile:
    """One step.

    Attributes:
        seconds: of the step: on the clock, or, on a GPU, of everything that ran on it.
        parts: seconds of each of `ALL_PARTS`; they add up to the step.
        waits: how often the host waited for the device, by ``part: call``; None on a CPU.
    """

    seconds: float
    parts: dict[str, float]
    waits: dict[str, int] | None


def profile_step(run: Callable[[], object], device: torch.device) -> StepProfile:
    """Run one step of the training loop under the profiler."""
    cuda = device.type == "cuda"
    if not cuda:
        os.environ.setdefault(
            "KINETO_LOG_LEVEL", "5"
        )  # or the profiler reports that it finds no GPU
    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    ) as profiler:
        with record_function(STEP):
            run()
        if cuda:
            torch.cuda.synchronize()
    return analyse(list(_events(profiler.events() or ())), cuda)


def analyse(events: Sequence[Event], cuda: bool) -> StepProfile:
    """Give every moment of the host, or on a GPU everything that ran there by the moment of its
    launch, to a part.

    The backward pass launches from a thread of its own while the host waits, so it is told by time
    and not by thread.
    """
    host = [event for event in events if not event.device]
    step, spans = _spans(host)
    if not cuda:
        parts = {
            name: sum(end - start for part, start, end in spans if part == name) / 1e6
            for name in ALL_PARTS[:-1]
        }
        seconds = (step.end - step.start) / 1e6
        return StepProfile(seconds, parts | {REST: seconds - sum(parts.values())}, None)
    calls = {event.number: event for event in host if event.name.startswith("cu")}
    parts = dict.fromkeys(ALL_PARTS, 0.0)
    waits: Counter[str] = Counter()
    for event in events:
        call = calls.get(event.number) if event.device else event
        if call is None or not step.start <= call.start <= step.end:
            continue
        part = next((name for name, start, end in spans if start <= call.start < end), REST)
        if event.device:
            parts[part] += (event.end - event.start) / 1e6
        if event.name == _PAGEABLE or (
            event.name.startswith("cuda") and event.name.endswith("Synchronize")
        ):
            waits[f"{part}: {event.name}"] += 1
    return StepProfile(sum(parts.values()), parts, dict(waits))


def _spans(host: Sequence[Event]) -> tuple[Event, list[tuple[str, float, float]]]:
    """The step, and the parts in it that have a name: (part, start, end), none within another."""
    step = next(event for event in host if event.name == STEP)
    named = [(event.name, event.start, event.end) for event in host if event.name in PARTS]
    behind = [event for event in host if event.name.startswith(_BACKWARD)]
    updates = [event for event in host if event.name.startswith(_OPTIMISER)]
    start, end = min(event.start for event in behind), max(event.end for event in behind)
    forward = min(start for _, start, _ in named)
    update = min(event.start for event in updates)
    spans = [(COPY, step.start, forward), *named, (BACKWARD, start, end), (NORM, end, update)]
    spans += [(OPTIMISER, event.start, event.end) for event in updates]
    spans.sort(key=lambda span: span[1])
    assert all(first[2] <= second[1] for first, second in pairwise(spans)), (
        "parts of the step overlap"
    )
    return step, spans


def _events(torch_events: Iterable[Any]) -> Iterable[Event]:
    """torch's events without the spans on the GPU that only repeat names of the host."""
    for event in torch_events:
        device = event.device_type.name == "CUDA"
        if not (device and event.is_user_annotation):
            yield Event(event.name, event.time_range.start, event.time_range.end, device, event.id)
