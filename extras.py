"""Packages that only some jobs need, and the extras of the installation that bring them."""

from collections.abc import Mapping

EXTRAS: Mapping[str, str] = {
    "dask": "scale",
    "distributed": "scale",
    "huggingface_hub": "hub",
    "jinja2": "pictures",
    "matplotlib": "pictures",
    "skimage": "regions",
    "timm": "teacher",
    "torchvision": "teacher",
}
"""Extra of each package, by the name that is imported."""


def lacking_extra(error: ImportError) -> str | None:
    """The line about a package of `EXTRAS` that is not installed; None where `error` is another."""
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in EXTRAS:
        return None
    return (
        f"this needs the package {package}, which is not installed: "
        f"pip install 'clever-distiller[{EXTRAS[package]}]'"
    )
