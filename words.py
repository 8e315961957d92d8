"""Counts and sizes in words that are printed."""


def quantity(count: int, noun: str, plural: str = "") -> str:
    """``1 frame``, ``2 frames``, ``0 passes``.

    Args:
        noun: of one.
        plural: of several, where it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def percent(part: float) -> str:
    """A part of one in percent: ``12.3%``; ``<0.1%`` of what is little, and not nothing."""
    return "<0.1%" if 0 < part < 0.0005 else f"{part:.1%}"


def storage(count: float) -> str:
    """Bytes: ``1,234.5 GB``, ``1.0 MB``, ``17 B``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} B"
