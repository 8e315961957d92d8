"""How long each corruption takes for a sweep."""

from dataclasses import dataclass

from ...errors import CleverError
from ...words import quantity
from ..corrupted.clean_sweeps import clean_sweep, sensor_of
from ..corruptions.registry import CORRUPTIONS, Dose, corrupt, dose_of
from ..corruptions.sweep import Sweep
from ..datasets import open_dataset
from ..process.progress import Track
from ..results.tables import markdown_table
from ..settings.benchmarks.corruptions import BenchmarkCorruptionsSettings
from .durations import Stopwatch
from .report import Json, machine, spread, write_report

PACKAGES: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CorruptionSpeed:
    """Rounds of one corruption.

    Attributes:
        dose: what was done.
        points: of the clean sweep.
        seconds, core_seconds: median and quartiles of the rounds.
    """

    dose: Dose
    points: int
    seconds: Json
    core_seconds: Json

    def to_json(self) -> Json:
        strength = dict(self.dose.strength)
        name = f"{self.dose.name} {self.dose.severity}"
        times = {"seconds": self.seconds, "core_seconds": self.core_seconds}
        return {"corruption": name, "strength": strength, "points": self.points, **times}


def benchmark_corruptions(settings: BenchmarkCorruptionsSettings) -> list[CorruptionSpeed]:
    """Time every corruption and severity on one frame, all of them in every round; reading the
    frame and telling its lasers and ground does not count. The JSON goes to ``settings.out``.

    Raises:
        CleverError: no dataset is given, or it has no such frame.
    """
    dataset = open_dataset(settings, settings.dataset)
    if settings.frame >= len(dataset):
        raise CleverError(
            f"`frame={settings.frame}`: the dataset has {quantity(len(dataset), 'frame')}; "
            "choose a "
            "lower number"
        )
    sensor = sensor_of(dataset, settings.sensor)
    index = settings.frame
    labels = dataset.labels(index) if dataset.has_labels(index) else None
    sweep, _ = clean_sweep(dataset, index, sensor, settings.seed, labels)
    doses = [
        dose_of(name, severity, sensor, settings.levels)
        for name in settings.corruptions
        for severity in settings.severities
        if labels is not None or not CORRUPTIONS[name].labels
    ]
    times: list[list[tuple[float, float]]] = [[] for _ in doses]
    with Track("corruptions", settings.rounds, "rounds") as track:
        for number in range(settings.rounds):
            for dose, own in zip(doses, times, strict=True):
                own.append(_duration(sweep, dose, settings.seed + number))
            track.advance()
    speeds = [
        CorruptionSpeed(
            dose,
            len(sweep),
            spread([seconds for seconds, _ in own]),
            spread([core_seconds for _, core_seconds in own]),
        )
        for dose, own in zip(doses, times, strict=True)
    ]
    content = settings.model_dump(mode="json")
    results = {"rows": [speed.to_json() for speed in speeds]}
    write_report(settings.out, "corruptions", content, machine(PACKAGES), results)
    return speeds


def _duration(sweep: Sweep, dose: Dose, seed: int) -> tuple[float, float]:
    watch = Stopwatch()
    with watch:
        corrupt(sweep, dose, seed=seed, frame="benchmark")
    return watch.duration.seconds, watch.duration.core_seconds


def corruptions_table(speeds: list[CorruptionSpeed]) -> str:
    """A row a corruption and severity: milliseconds on the clock, and of all cores together."""
    rows = [
        [
            f"{speed.dose.name} {speed.dose.severity}",
            _text(speed.seconds),
            _text(speed.core_seconds),
        ]
        for speed in speeds
    ]
    return markdown_table(["corruption", "ms, median [quartiles]", "core-ms"], rows)


def _text(times: Json) -> str:
    low, median, high = (1000 * times[name] for name in ("low", "median", "high"))
    return f"{median:.1f} [{low:.1f}-{high:.1f}]"
