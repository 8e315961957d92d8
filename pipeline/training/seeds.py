"""Random numbers of a run: a stream of its own for every purpose."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator that depends on `seed` and `purpose` alone."""
    digest = hashlib.blake2b(json.dumps([seed, *purpose]).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little", signed=True))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Initialise modules inside from a stream of their own (torch's layers know the global CPU
    generator only)."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, purpose).initial_seed())
        yield
