"""Distil a frozen image teacher into a LiDAR student from an offline cache (CleverDistiller).

::

    clever.cache_teacher(clever.CacheTeacherSettings(data_root="/data/nuscenes", cache="run.zarr"))
    run = clever.pretrain(clever.PretrainSettings(cache="run.zarr"))
    print(clever.finetune(clever.FinetuneSettings(checkpoint=run.out, data_root="/data/nuscenes")))

Every job, here as on the command line, takes its settings and returns what it prints; `dir(clever)`
lists them, and `help(clever.pretrain)` or `help(clever.FeatureCache)` tells of one.
"""

from importlib import import_module

# As typing has it; importing that here would keep Ctrl-C waiting for its one line.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cache.frame import Camera, Frame
    from .cache.projection import Correspondences
    from .cache.store.reader import CachedFrame, FeatureCache
    from .errors import CleverError, FrameError
    from .pipeline.ablate import ablate
    from .pipeline.cache_regions import cache_regions
    from .pipeline.cache_teacher import cache_teacher
    from .pipeline.corrupt import corrupt_dataset
    from .pipeline.demo import demo
    from .pipeline.detect import detect
    from .pipeline.detectors.checkpoint import load_detector
    from .pipeline.doctor import doctor
    from .pipeline.drives import make_drives
    from .pipeline.evaluate import evaluate
    from .pipeline.features import features
    from .pipeline.finetune import finetune
    from .pipeline.import_weights import import_weights
    from .pipeline.init_drive import init_drive
    from .pipeline.list_runs import list_runs
    from .pipeline.look import look
    from .pipeline.predict import predict
    from .pipeline.pretrain import pretrain
    from .pipeline.rankme import rankme
    from .pipeline.repair import repair
    from .pipeline.report import report
    from .pipeline.robustness import robustness
    from .pipeline.settings.ablate import AblateSettings
    from .pipeline.settings.cache_regions import CacheRegionsSettings
    from .pipeline.settings.cache_teacher import CacheTeacherSettings
    from .pipeline.settings.care import RepairSettings, VerifySettings
    from .pipeline.settings.corrupt import CorruptSettings
    from .pipeline.settings.demo import DemoSettings
    from .pipeline.settings.detect import DetectSettings
    from .pipeline.settings.doctor import DoctorSettings
    from .pipeline.settings.evaluate import EvaluateSettings
    from .pipeline.settings.features import FeaturesSettings
    from .pipeline.settings.finetune import FinetuneSettings
    from .pipeline.settings.import_weights import ImportWeightsSettings
    from .pipeline.settings.init_drive import InitDriveSettings
    from .pipeline.settings.list_runs import ListRunsSettings
    from .pipeline.settings.look import LookSettings
    from .pipeline.settings.make_drives import MakeDrivesSettings
    from .pipeline.settings.predict import PredictSettings
    from .pipeline.settings.pretrain import PretrainSettings
    from .pipeline.settings.rankme import RankmeSettings
    from .pipeline.settings.report import ReportSettings
    from .pipeline.settings.robustness import RobustnessSettings
    from .pipeline.settings.share import ShareSettings
    from .pipeline.share import push_to_hub, share
    from .pipeline.verify import verify
    from .student.checkpoint import load_student
    from .student.points import PointBatch
    from .student.published.hub import from_pretrained
    from .student.segmenter import load_segmenter

    # For type checkers alone: with it `help(clever)` would print every class to its last method.
    __all__ = [
        "AblateSettings",
        "CacheRegionsSettings",
        "CacheTeacherSettings",
        "CachedFrame",
        "Camera",
        "CleverError",
        "Correspondences",
        "CorruptSettings",
        "DemoSettings",
        "DetectSettings",
        "DoctorSettings",
        "EvaluateSettings",
        "FeatureCache",
        "FeaturesSettings",
        "FinetuneSettings",
        "Frame",
        "FrameError",
        "ImportWeightsSettings",
        "InitDriveSettings",
        "ListRunsSettings",
        "LookSettings",
        "MakeDrivesSettings",
        "PointBatch",
        "PredictSettings",
        "PretrainSettings",
        "RankmeSettings",
        "RepairSettings",
        "ReportSettings",
        "RobustnessSettings",
        "ShareSettings",
        "VerifySettings",
        "ablate",
        "cache_regions",
        "cache_teacher",
        "corrupt_dataset",
        "demo",
        "detect",
        "doctor",
        "evaluate",
        "features",
        "finetune",
        "from_pretrained",
        "import_weights",
        "init_drive",
        "list_runs",
        "load_detector",
        "load_segmenter",
        "load_student",
        "look",
        "make_drives",
        "predict",
        "pretrain",
        "push_to_hub",
        "rankme",
        "repair",
        "report",
        "robustness",
        "share",
        "verify",
    ]


__version__ = "0.1.0"


_HOMES = {
    "cache.frame": ("Camera", "Frame"),
    "cache.projection": ("Correspondences",),
    "cache.store.reader": ("CachedFrame", "FeatureCache"),
    "errors": ("CleverError", "FrameError"),
    "pipeline.ablate": ("ablate",),
    "pipeline.cache_regions": ("cache_regions",),
    "pipeline.cache_teacher": ("cache_teacher",),
    "pipeline.corrupt": ("corrupt_dataset",),
    "pipeline.demo": ("demo",),
    "pipeline.detect": ("detect",),
    "pipeline.detectors.checkpoint": ("load_detector",),
    "pipeline.doctor": ("doctor",),
    "pipeline.drives": ("make_drives",),
    "pipeline.evaluate": ("evaluate",),
    "pipeline.features": ("features",),
    "pipeline.finetune": ("finetune",),
    "pipeline.import_weights": ("import_weights",),
    "pipeline.init_drive": ("init_drive",),
    "pipeline.list_runs": ("list_runs",),
    "pipeline.look": ("look",),
    "pipeline.predict": ("predict",),
    "pipeline.pretrain": ("pretrain",),
    "pipeline.rankme": ("rankme",),
    "pipeline.repair": ("repair",),
    "pipeline.report": ("report",),
    "pipeline.robustness": ("robustness",),
    "pipeline.settings.ablate": ("AblateSettings",),
    "pipeline.settings.cache_regions": ("CacheRegionsSettings",),
    "pipeline.settings.cache_teacher": ("CacheTeacherSettings",),
    "pipeline.settings.care": ("RepairSettings", "VerifySettings"),
    "pipeline.settings.corrupt": ("CorruptSettings",),
    "pipeline.settings.demo": ("DemoSettings",),
    "pipeline.settings.detect": ("DetectSettings",),
    "pipeline.settings.doctor": ("DoctorSettings",),
    "pipeline.settings.evaluate": ("EvaluateSettings",),
    "pipeline.settings.features": ("FeaturesSettings",),
    "pipeline.settings.finetune": ("FinetuneSettings",),
    "pipeline.settings.import_weights": ("ImportWeightsSettings",),
    "pipeline.settings.init_drive": ("InitDriveSettings",),
    "pipeline.settings.list_runs": ("ListRunsSettings",),
    "pipeline.settings.look": ("LookSettings",),
    "pipeline.settings.make_drives": ("MakeDrivesSettings",),
    "pipeline.settings.predict": ("PredictSettings",),
    "pipeline.settings.pretrain": ("PretrainSettings",),
    "pipeline.settings.rankme": ("RankmeSettings",),
    "pipeline.settings.report": ("ReportSettings",),
    "pipeline.settings.robustness": ("RobustnessSettings",),
    "pipeline.settings.share": ("ShareSettings",),
    "pipeline.share": ("push_to_hub", "share"),
    "pipeline.verify": ("verify",),
    "student.checkpoint": ("load_student",),
    "student.points": ("PointBatch",),
    "student.published.hub": ("from_pretrained",),
    "student.segmenter": ("load_segmenter",),
}
"""Module of every name here, imported when the name is first asked for."""


def __getattr__(name: str) -> object:
    """The name's object, which is then kept.

    Raises:
        CleverError: it needs a package of an extra that is not installed.
    """
    for home, names in _HOMES.items():
        if name in names:
            try:
                value = getattr(import_module(f".{home}", __name__), name)
            except ModuleNotFoundError as error:
                from .errors import CleverError
                from .extras import lacking_extra

                if line := lacking_extra(error):
                    raise CleverError(f"{__name__}.{name}: {line}") from error
                raise
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", *(name for names in _HOMES.values() for name in names)})
