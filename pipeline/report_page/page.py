"""The page: its parts, the templates that write them, and how large it may be."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...errors import CleverError
from ...files import atomic_write
from .ablations import AblationPart
from .curves import HEIGHT, WIDTH, Chart, chart_data
from .images import Picture
from .robustness import RobustnessPart
from .run_tables import ResultTable, SettingsTable
from .scores import ConfusionTable, IouTable
from .sweeps import Sweep, viridis

HERE = Path(__file__).parent
LARGEST = 15_000_000
"""Bytes of a page, below which it can be sent by mail and opened on a telephone."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures under a heading.

    Attributes:
        key: anchor in the page.
        lead: what they show, in a sentence or two.
    """

    key: str
    heading: str
    lead: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure that comes first: its name, the figure, whose it is, number of its protocol, whether
    the run is finished."""

    name: str
    figure: str
    run: str
    note: int
    complete: bool


@dataclass(slots=True)
class Page:
    """What a page holds; a part without content is absent.

    Attributes:
        title: of the page.
        lead: what this is, in paragraphs.
        imprint: by what and when, in one line.
        headlines: the figures that come first.
        results: figures of all runs with their protocols.
        sweeps: for the 3D view.
        galleries: pictures, in their order.
        remarks: what could not be shown, and why.
    """

    title: str
    lead: list[str]
    imprint: str
    headlines: list[Headline] = field(default_factory=list)
    results: ResultTable | None = None
    ablations: list[AblationPart] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    iou: list[IouTable] = field(default_factory=list)
    confusions: list[ConfusionTable] = field(default_factory=list)
    robustness: list[RobustnessPart] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    settings: list[SettingsTable] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def html(self) -> str:
        """The whole page; nothing in it is loaded from elsewhere."""
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template("page.html").render(
            page=self,
            asset=_asset,
            chart_data=chart_data,
            chart_size=(WIDTH, HEIGHT),
            view_data={"viridis": viridis(), "sweeps": [sweep.data for sweep in self.sweeps]},
        )

    def write(self, path: Path) -> int:
        """Write the page; returns its bytes.

        Raises:
            CleverError: it is larger than `LARGEST`, or cannot be written.
        """
        content = self.html().encode()
        if len(content) > LARGEST:
            raise CleverError(
                f"the page would have {len(content) / 1e6:.1f} MB, more than "
                f"{LARGEST / 1e6:g}: {self._sizes()}; choose fewer `frames` or `points`, or "
                "leave a part out with `leave_out`"
            )
        atomic_write(path, content)
        return len(content)

    def _sizes(self) -> str:
        """Megabytes of what is large."""
        view = sum(len(str(sweep.data)) + len(sweep.picture.url) for sweep in self.sweeps)
        pictures = sum(len(picture.url) for part in self.galleries for picture in part.pictures)
        return f"3D view {view / 1e6:.1f} MB, pictures {pictures / 1e6:.1f} MB"


def _asset(name: str) -> Markup:
    """A style sheet or script of ours, as it stands in the page."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))
