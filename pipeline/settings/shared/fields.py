"""Types of settings that several jobs share, and how they are written."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from ....cache.choices import Codec

Count = Annotated[int, Field(ge=1)]
Device = Literal["auto", "cpu", "cuda"]


def _names(value: object) -> object:
    """Accept ``"00,08"`` for a list; refuse numbers, because YAML reads 010 as 8 and 00 as 0."""
    if isinstance(value, str):
        return _parts(value)
    if isinstance(value, int) or (
        isinstance(value, list | tuple) and any(isinstance(item, int) for item in value)
    ):
        raise ValueError("put each name in quotes, as in ['00', '08']")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _parts(",".join(value)) if value else value
    return value


def _parts(text: str) -> list[str]:
    """What stands between commas; something has to."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("names nothing; give a value or leave it out")
    return parts


def _image_size(value: object) -> object:
    """Accept ``"224x448"``: height x width."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            raise ValueError("should be HEIGHTxWIDTH in pixels, as in 224x448")
        size = tuple(int(part) for part in parts)
        if 0 in size:
            raise ValueError("should be at least one pixel high and wide")
        return size
    return value


ImageSize = Annotated[
    tuple[int, int],
    BeforeValidator(_image_size),
    PlainSerializer(lambda size: "{}x{}".format(*size)),
]
"""Height and width in pixels, written ``224x448``."""

Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Names (of scenes, sequences, teachers): a list of strings, or strings with commas."""


def _store_place(value: object) -> object:
    """A folder with ``~`` expanded, or a URL as it is."""
    if value == "":
        raise ValueError("should name a folder or a URL")
    if isinstance(value, str) and "://" in value:
        return value
    if not isinstance(value, str | Path):
        raise ValueError("should be a folder or a URL")
    return expanded(value)


def expanded(path: str | Path) -> Path:
    """`path` with ``~`` and ``~NAME`` as the folder of a user; raises ValueError where there is
    none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"begins with {Path(path).parts[0]}, which is no user's folder; write the path out"
        ) from None


StorePlace = Annotated[str | Path, BeforeValidator(_store_place)]
"""Where a store that is read lies: a folder, or a URL that fsspec understands (``s3://...``)."""


def _one_of_one(value: object) -> object:
    """The only element of a list of one."""
    if isinstance(value, list | tuple) and not value:
        raise ValueError("names nothing; give a value or leave it out")
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


StorePlaces = Annotated[StorePlace | tuple[StorePlace, ...], BeforeValidator(_one_of_one)]
"""Where stores that are read lie: a single one, or at least two."""


def _weights(value: object) -> object:
    """Accept ``"2,1"`` for a list."""
    texts = [value] if isinstance(value, str | int | float) else value
    if not isinstance(texts, list | tuple):
        return value
    return [part for text in texts for part in (_parts(text) if isinstance(text, str) else [text])]


Weights = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_weights), Field(min_length=1)
]
"""Positive numbers: a list, or strings with commas."""


def _store_folder(value: object) -> object:
    """A folder with ``~`` expanded; a URL would become a folder of that name."""
    if isinstance(value, str) and "://" in value:
        raise ValueError("should be a folder: by its URL a store is read only")
    if not isinstance(value, str | Path):
        raise ValueError("should be a folder")
    return _store_place(value)


StoreFolder = Annotated[Path, BeforeValidator(_store_folder)]
"""Folder of a store that is written to."""

Codecs = Annotated[tuple[Codec, ...], BeforeValidator(_names)]
"""Codecs: a list, or one string with commas."""
