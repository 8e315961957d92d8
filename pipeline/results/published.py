"""The paper's own figures, to print beside ours: MinkUNet-34, ViT-S teacher, 100 epochs (Tables 1
and 3)."""

_COLUMNS = {
    ("nuscenes", "probe", 1.0): 0,
    ("nuscenes", "full", 0.01): 1,
    ("semantickitti", "full", 0.01): 2,
}
_ROWS = {
    "linear head": (40.76, 53.01, 44.42),
    "linear head + occupancy": (41.67, 52.16, 48.19),
    "MLP head": (46.36, 55.01, 50.15),
    "MLP head + occupancy": (49.81, 56.90, 50.59),
}


def published(dataset: str, mode: str, fraction: float) -> dict[str, float]:
    """mIoU in percent by pre-training variant, on the whole dataset; empty where the paper measured
    nothing alike.

    Args:
        mode: ``probe`` or ``full``.
        fraction: share of the annotated training frames.
    """
    column = _COLUMNS.get((dataset, mode, fraction))
    return {} if column is None else {name: figures[column] for name, figures in _ROWS.items()}
