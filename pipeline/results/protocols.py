"""One line that says how the figures of several runs were made, and in what the runs differ."""

from collections.abc import Sequence

Facts = dict[str, str]
"""Named parts of a protocol, in their order: what it is about, and its words."""
LISTED = 4
"""Different words of one part that a line lists."""


def protocol_line(protocols: Sequence[Facts]) -> str:
    """The parts of several protocols: those that are equal in all as they are, the others with
    their name and what they are; a part that some lack is among the others."""
    names = dict.fromkeys(name for facts in protocols for name in facts)
    parts = []
    for name in names:
        words = list(dict.fromkeys(facts.get(name, "none") for facts in protocols))
        parts.append(words[0] if len(words) == 1 else f"{name} differs ({_listed(words)})")
    return ", ".join(parts)


def _listed(words: Sequence[str]) -> str:
    more = f" | and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return " | ".join(words[:LISTED]) + more
