"""The file of an ablation: which settings are compared, and how each cell is measured."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ....errors import CleverError
from .fields import expanded
from .yaml_files import read_yaml

GRIDS = "grids"
"""Folder of the package's own grids."""
Values = dict[str, Any]
"""Settings by name, not yet checked."""
CELL_SETTINGS = ("seed", "out", "new")
"""What the table decides for every cell."""


def _numbers(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part for part in value.split(",") if part.strip()]
    if not parts:
        raise ValueError("names nothing; give a value or leave it out")
    return parts


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse a seed that comes twice: it would be one run."""
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise ValueError(f"{seed} is given {seeds.count(seed)} times; give each seed once")
    return seeds


Seeds = Annotated[
    tuple[int, ...], BeforeValidator(_numbers), AfterValidator(_once), Field(min_length=1)
]
"""Seeds: a list of numbers, or one string with commas."""


def _free(values: Values) -> Values:
    """Refuse settings that each cell has of its own."""
    for name in CELL_SETTINGS:
        if name in values:
            raise ValueError(f"{name} is decided for every cell; leave it out")
    return values


Shared = Annotated[Values, AfterValidator(_free)]


class GridPart(BaseModel):
    """Base of what a grid consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CacheChoice(GridPart):
    """A cache that rows may name.

    Attributes:
        cache: folder or URL of the store.
        teacher: layer of it, or the beginning of its name; None: the only one.
    """

    cache: str
    teacher: str | list[str] | None = None

    def values(self) -> Values:
        """As settings of `clever pretrain`."""
        return self.model_dump(exclude_none=True)


class Grid(GridPart):
    """An ablation: rows of pre-training settings, downstream measurements and seeds.

    Attributes:
        title: above the table.
        pretrain: settings of `clever pretrain` that all rows share.
        finetune: settings of `clever finetune` that all measurements by it share.
        robustness: those of `clever robustness`.
        detect: those of `clever detect`.
        measure: what each measurement adds to them, by its name; ``verb`` says by which command it
            measures, ``of`` of which other measurement's student where it is of a fine-tuned one.
        rows: what each row adds to `pretrain`, by its name.
        vary: a setting of `clever pretrain` and its values; with several, and with `rows`, every
            combination.
        caches: caches by name; a row or `vary` names one as its ``cache``.
        seeds: of each row.
        base: name of the row that others are compared with; None: random weights.
        untrained: whether random weights are measured too.
    """

    title: str = ""
    pretrain: Shared = {}
    finetune: Shared = {}
    robustness: Shared = {}
    detect: Shared = {}
    measure: dict[str, Shared] = {}
    rows: dict[str, Shared] = {}
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    caches: dict[str, CacheChoice] = {}
    seeds: Seeds = (0, 1, 2)
    base: str | None = None
    untrained: bool = True


def read_grid(place: str) -> tuple[str, Grid]:
    """A grid and its name, of a YAML file or of a grid that the package has.

    Raises:
        CleverError: there is none, or a field is unknown or wrong; the line names file and field.
    """
    try:
        path = expanded(place)
    except ValueError as error:
        raise CleverError(f"`grid` {place} {error}") from error
    if not path.is_file() and path.suffix not in (".yaml", ".yml"):
        own = resources.files("clever.pipeline") / GRIDS / f"{place}.yaml"
        if not own.is_file():
            raise CleverError(
                f"there is no grid {place}; give a YAML file, or one of {', '.join(grid_names())}"
            )
        path = Path(str(own))
    try:
        return path.stem, Grid.model_validate(read_yaml(path))
    except ValidationError as error:
        raise CleverError(f"{path}: {_explained(error)}") from error


def grid_names() -> list[str]:
    """Grids that the package has."""
    folder = resources.files("clever.pipeline") / GRIDS
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())


def _explained(error: ValidationError) -> str:
    """The first wrong field of a grid in words."""
    detail = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown field {field}; there are {', '.join(Grid.model_fields)}"
    reason = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    return f"{field} is {detail['input']!r}: {reason}"
