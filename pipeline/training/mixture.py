"""The order of a run that reads several stores: which store comes when, and which of its frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch

from ...student.draws import key
from .batches import FrameDraw, FrameOrder


@dataclass(frozen=True, slots=True)
class MixedStore:
    """A store in a mixture.

    Attributes:
        frames: how many it has.
        weight: of its frames among those of all stores, positive.
        identity: of its content; what is drawn for its frames depends on it.
    """

    frames: int
    weight: float
    identity: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """Several stores, whose frames lie behind one another in the dataset.

    Attributes:
        stores: in the order of the dataset.
        together: so many frames that follow one another are of one store: 1, a pair that Mix3D may
            mix, or a batch.
    """

    stores: tuple[MixedStore, ...]
    together: int = 1

    @property
    def frames(self) -> int:
        """Frames of all stores: as many make a pass."""
        return sum(store.frames for store in self.stores)


class MixedOrder(FrameOrder):
    """The order of a mixture's frames.

    A round is a shuffled row of turns; a turn is `together` frames of one store, and a store has
    the same number of turns in every round, its share to the nearest whole turn but at least one.
    Each store's own frames come in shuffled passes one after the other, whatever the others do, so
    none is seen twice before all of its store are seen once. A single store's frames are drawn as
    `FrameOrder` draws them; of several, keys depend on the store's identity too. Every step can be
    computed by itself.
    """

    def __init__(self, mixture: Mixture, epochs: int, batch_size: int, seed: int) -> None:
        super().__init__(mixture.frames, epochs, batch_size, seed)
        self.mixture = mixture
        self._turns = whole_turns(mixture)
        counts = [store.frames for store in mixture.stores]
        self._starts = [sum(counts[:number]) for number in range(len(counts))]
        self._round = lru_cache(maxsize=2)(self._shuffled_turns)
        self._own_pass = lru_cache(maxsize=2 * len(counts))(self._shuffled_store)

    def _draw(self, place: int) -> FrameDraw:
        together, turns = self.mixture.together, sum(self._turns)
        (number, position), offset = divmod(place // together, turns), place % together
        store, earlier = self._round(number)[position]
        own = self.mixture.stores[store]
        # The frames of this store that were drawn before, in all rounds.
        drawn = (number * self._turns[store] + earlier) * together + offset
        epoch, position = divmod(drawn, own.frames)
        index = self._own_pass(store, epoch)[position]
        identity = (own.identity,) if len(self.mixture.stores) > 1 else ()
        draw_key = key(self.seed, "frame", epoch, index, *identity)
        return FrameDraw(self._starts[store] + index, draw_key)

    def _shuffled_turns(self, number: int) -> list[tuple[int, int]]:
        """Of every turn of a round the store, and how many turns that had before in it."""
        turns = [store for store, count in enumerate(self._turns) for _ in range(count)]
        generator = torch.Generator().manual_seed(key(self.seed, "stores", number))
        order = torch.randperm(len(turns), generator=generator).tolist()
        earlier = [0] * len(self._turns)
        row = []
        for store in (turns[place] for place in order):
            row.append((store, earlier[store]))
            earlier[store] += 1
        return row

    def _shuffled_store(self, store: int, epoch: int) -> list[int]:
        own = self.mixture.stores[store]
        identity = (own.identity,) if len(self.mixture.stores) > 1 else ()
        generator = torch.Generator().manual_seed(key(self.seed, "order", epoch, *identity))
        return torch.randperm(own.frames, generator=generator).tolist()


def whole_turns(mixture: Mixture) -> list[int]:
    """Turns of every store in a round, which has as many as a pass needs: by largest remainder, at
    least one each."""
    weights = [Fraction(store.weight) for store in mixture.stores]
    turns = max(-(-mixture.frames // mixture.together), len(weights))
    return _shared_out(turns, weights)


def _shared_out(total: int, weights: Sequence[Fraction]) -> list[int]:
    quotas = [total * weight / sum(weights) for weight in weights]
    counts = [max(1, int(quota)) for quota in quotas]

    def excess(place: int) -> Fraction:
        return counts[place] - quotas[place]

    while sum(counts) < total:
        counts[min(range(len(counts)), key=excess)] += 1
    while sum(counts) > total:
        counts[max((place for place, count in enumerate(counts) if count > 1), key=excess)] -= 1
    return counts
