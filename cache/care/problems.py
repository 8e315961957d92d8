"""What a check of a store can find."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...words import quantity

Remedy = Literal["recompute", "rewrite", "remove", "none"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a store.

    Attributes:
        file: path inside the store.
        what: what is wrong with it.
        remedy: what `clever cache repair` does about it: ``recompute`` the shard from the dataset,
            ``rewrite`` the file from the rest of the store, ``remove`` it, or ``none``.
        layer: ``points`` or a teacher id; empty where no layer is concerned.
        shard: number of the shard, None where no single shard is concerned.
        frames: ids of the frames that cannot be trusted; empty for files that can be written again.
    """

    file: str
    what: str
    remedy: Remedy
    layer: str = ""
    shard: int | None = None
    frames: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = (
            f" [layer {self.layer}"
            + (f", shard {self.shard}" if self.shard is not None else "")
            + "]"
        )
        frames = f"; frames {', '.join(self.frames)}" if self.frames else ""
        return f"{self.file}{where if self.layer else ''}: {self.what}{frames}"


def problem_count(problems: Sequence[Problem]) -> str:
    """``no problems``, ``1 problem``, ``2 problems``."""
    return quantity(len(problems), "problem") if problems else "no problems"
