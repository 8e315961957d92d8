"""Counts in words that are printed."""


def quantity(count: int, noun: str, plural: str = "") -> str:
    """``1 frame``, ``2 frames``, ``0 passes``.

    Args:
        noun: of one.
        plural: of several, where it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
