"""The table of commands: settings, job, printer and help of each.

Everything is named by ``module:name`` below `clever` and imported when it is needed: the settings
for the help of one command, job and printer only when it runs.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Verb:
    """One command.

    Attributes:
        help: first the line of the overview, then what else the command's own help says.
        settings: class of its settings, from which its flags come.
        job: function of the settings; what it returns goes to the printer.
        printer: prints a result under its settings and returns the exit code.
        arguments: fields that are given by position instead of by a flag.
        table: the table of a result, which ``--csv`` writes; empty where a result has none.
        resumes: whether the same command, stopped and typed again, goes on where it was.
    """

    help: str
    settings: str
    job: str
    printer: str = "cli.printers:plain"
    arguments: tuple[str, ...] = ()
    table: str = ""
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Commands under one name.

    Attributes:
        help: line of the overview.
        verbs: the commands by name.
    """

    help: str
    verbs: dict[str, Verb]


def load(path: str) -> Any:
    """What ``module:name`` names, below `clever`."""
    module, _, name = path.partition(":")
    return getattr(import_module(f"...{module}", __name__), name)


CACHE = Group(
    "Look at a feature cache, check it, repair it, copy it.",
    {
        "info": Verb(
            """Print what a store holds: frames, teachers with their settings, bytes, fidelity and
            skipped frames.""",
            "pipeline.settings.care:InfoSettings",
            "cli.cache:summary",
            "cli.cache:print_info",
            ("path",),
        ),
        "verify": Verb(
            """Read a whole store and check every checksum, shape, range and reference; name
            whatever is wrong.

            With --data-root, points and pairs of a sample of frames are derived again and compared.
            Exit code 1: problems.""",
            "pipeline.settings.care:VerifySettings",
            "pipeline.verify:verify",
            "cli.cache:print_verification",
            ("path",),
        ),
        "repair": Verb(
            """Recompute exactly the damaged shards of a store and write its other damaged files
            again.

            Shards need the dataset (--data-root) and, for features, the teacher that made them.
            Exit code 1: something is left.""",
            "pipeline.settings.care:RepairSettings",
            "pipeline.repair:repair",
            "cli.cache:print_repair",
            ("path",),
            resumes=True,
        ),
        "drop-teacher": Verb(
            """Delete a teacher's layer from a store; points, pairs and other teachers stay as they
            are.""",
            "pipeline.settings.care:DropSettings",
            "cli.cache:drop",
            "cli.cache:print_drop",
            ("path", "teacher"),
        ),
        "drop-regions": Verb(
            """Delete a layer of regions from a store; all other layers stay as they are.""",
            "pipeline.settings.care:DropRegionsSettings",
            "cli.cache:drop_regions",
            "cli.cache:print_drop",
            ("path", "regions"),
        ),
        "drop-sweeps": Verb(
            """Delete all earlier sweeps from a store; all other layers stay as they are.""",
            "pipeline.settings.care:DropSweepsSettings",
            "cli.cache:drop_sweeps",
            "cli.cache:print_drop",
            ("path",),
        ),
        "copy": Verb(
            """Copy a store, or some of its scenes, frames and teachers.

            With --codec the stored features are encoded anew; the copy's layer says so, and its
            fidelity is relative to them.""",
            "pipeline.settings.care:CopySettings",
            "cli.cache:copy",
            "cli.cache:print_copy",
            ("source", "target"),
            resumes=True,
        ),
        "export-manifest": Verb(
            """Print a store's contents as JSON lines: a header, then ids, counts, status and
            checksums of every frame.""",
            "pipeline.settings.care:ManifestSettings",
            "cli.cache:export_manifest",
            "cli.cache:print_manifest",
            ("path",),
        ),
    },
)
BENCHMARK = Group(
    "Measure speed and quality on this machine.",
    {
        "read": Verb(
            """Frames/s of our reader and of others on the same frames, warm and cold, with and
            without loader workers.

            Every number is a ratio to np.memmap on float16 in the same round: median [quartiles]
            (median frames/s). The row clever file:// reads the store by its URL, as a remote one is
            read, but for the network.""",
            "pipeline.settings.benchmarks.read:BenchmarkReadSettings",
            "pipeline.benchmarks.read:benchmark_read",
            "cli.benchmark:print_read",
        ),
        "teacher": Verb(
            """Images/s of cache-teacher, from files to store, over those of the bare network, and
            its peak memory.""",
            "pipeline.settings.benchmarks.teacher:BenchmarkTeacherSettings",
            "pipeline.benchmarks.teacher:benchmark_teacher",
            "cli.benchmark:print_teacher",
        ),
        "step": Verb(
            """A whole training step over its bare network, its parts and its memory, and what the
            cache saves in it.""",
            "pipeline.settings.benchmarks.step:BenchmarkStepSettings",
            "pipeline.benchmarks.step:benchmark_step",
            "cli.benchmark:print_step",
        ),
        "conv": Verb(
            """Sparse convolution on a CPU, fp32 and bf16, beside spconv's native code: forward and
            backward pass of a student's bare backbone.""",
            "pipeline.settings.benchmarks.conv:BenchmarkConvSettings",
            "pipeline.benchmarks.conv:benchmark_conv",
            "cli.benchmark:print_conv",
        ),
        "corruptions": Verb(
            """How long each corruption of `clever robustness` takes for a sweep.""",
            "pipeline.settings.benchmarks.corruptions:BenchmarkCorruptionsSettings",
            "pipeline.benchmarks.corruptions:benchmark_corruptions",
            "cli.benchmark:print_corruptions",
        ),
        "detection": Verb(
            """How long overlaps and suppression of boxes take, beside shapely's polygons.""",
            "pipeline.settings.benchmarks.detection:BenchmarkDetectionSettings",
            "pipeline.benchmarks.detection:benchmark_detection",
            "cli.benchmark:print_detection",
        ),
        "occlusion": Verb(
            """Precision and recall of the occlusion test on generated drives, whose ray-cast truth
            is known.""",
            "pipeline.settings.benchmarks.occlusion:BenchmarkOcclusionSettings",
            "pipeline.benchmarks.occlusion:benchmark_occlusion",
            "cli.benchmark:print_occlusion",
        ),
        "start": Verb(
            """How long the command line takes to answer, over importing what it is made of.""",
            "pipeline.settings.benchmarks.start:BenchmarkStartSettings",
            "pipeline.benchmarks.start:benchmark_start",
            "cli.benchmark:print_start",
        ),
    },
)
VERBS: dict[str, Verb | Group] = {
    "doctor": Verb(
        """Look at a dataset before anything is trained: points on images, counts, calibration.

        Draws a few frames with their points, and says whether a small rotation or the inverse
        extrinsics fit better than the calibration. Exit code 3: finished, but some frames were
        bad.""",
        "pipeline.settings.doctor:DoctorSettings",
        "pipeline.doctor:doctor",
        "cli.printers:plain_or_bad",
    ),
    "cache-teacher": Verb(
        """Run the image teacher once over all camera frames; store features, points and pairs.

        Only what is missing is computed: the same command again goes on where it was stopped,
        another --model adds a layer to the same store. Exit code 3: finished, but some frames were
        bad and were skipped.""",
        "pipeline.settings.cache_teacher:CacheTeacherSettings",
        "cli.cache_teacher:cache_or_plan",
        "cli.cache_teacher:print_result",
        resumes=True,
    ),
    "cache-regions": Verb(
        """Add regions of the camera images to a store: SLIC superpixels, or masks in files.

        Losses that pool features over regions (SLidR, SuperFlow, OLIVINE) need them. Only what is
        missing is computed: the same command again goes on where it was stopped. Exit code 3:
        finished, but some frames were bad and were skipped.""",
        "pipeline.settings.cache_regions:CacheRegionsSettings",
        "pipeline.cache_regions:cache_regions",
        "cli.cache_regions:print_summary",
        resumes=True,
    ),
    "cache": CACHE,
    "pretrain": Verb(
        """Distil a teacher's cached features into a LiDAR student.

        Opens the cache and nothing else: no images, no dataset, no teacher. Stopped at any time,
        the same command goes on as if it had never stopped. On several GPUs:
        torchrun --nproc-per-node N --no-python clever pretrain ... gives what one GPU gives, with
        the same --batch-size.""",
        "pipeline.settings.pretrain:PretrainSettings",
        "pipeline.pretrain:pretrain",
        resumes=True,
    ),
    "ablate": Verb(
        """A table of ablations: rows of settings x seeds, pre-trained, measured and compared.

        GRID is a YAML file of rows and measurements (docs/ablations.md), or one of the paper's
        tables: table1, table2, table3, table7, tableA2, tableA3; or a study for two cores
        (docs/studies.md): drives, parts, layers, cost, rivals, kitti. Writes table.json, .md, .csv
        and .tex. Cells are known by their settings: a changed grid runs only what changed, and
        stopped at any time the same command goes on. Exit code 3: finished, but some cells
        failed.""",
        "pipeline.settings.ablate:AblateSettings",
        "pipeline.ablate:ablate",
        "cli.printers:plain_or_bad",
        ("grid",),
        table="cli.tables:ablation",
        resumes=True,
    ),
    "finetune": Verb(
        """Train a linear probe or the whole student with labels, then evaluate it.

        --mode probe freezes the backbone and trains one linear layer; --mode full trains
        everything. --checkpoint none starts from random weights: the row to compare with. Exit code
        3: finished, but some frames were bad and were skipped.""",
        "pipeline.settings.finetune:FinetuneSettings",
        "pipeline.finetune:finetune",
        "cli.printers:print_finetuning",
        table="cli.tables:finetuning",
        resumes=True,
    ),
    "evaluate": Verb(
        """Evaluate a fine-tuned student on a labelled split: mIoU and IoU by class.

        Exit code 3: finished, but some frames were bad and were skipped.""",
        "pipeline.settings.evaluate:EvaluateSettings",
        "pipeline.evaluate:evaluate",
        "cli.printers:plain_or_bad",
        table="cli.tables:evaluation",
    ),
    "robustness": Verb(
        """Measure fine-tuned students on corrupted sweeps: mIoU by corruption, mCE, mRR.

        Fog, wet ground, snow, motion blur, missing beams, crosstalk, incomplete echoes, other
        sensor, as in Robo3D; frames are corrupted as they are read, or read from nuScenes-C or
        SemanticKITTI-C (--corrupted-root). Several checkpoints stand side by side. What is measured
        stays measured: the same command goes on. Exit code 3: finished, but some frames were bad
        and were skipped, or nothing of a corruption could be measured.""",
        "pipeline.settings.robustness:RobustnessSettings",
        "pipeline.robustness:robustness",
        "cli.printers:print_robustness",
        table="cli.tables:robustness",
        resumes=True,
    ),
    "detect": Verb(
        """Train detectors of boxes on fractions of the frames, from a checkpoint or random weights:
        AP.

        KITTI's object benchmark (AP_R40, easy, moderate, hard, strict and loose overlaps, files as
        its programs read them) or boxes of nuScenes and generated drives (mAP by the distance of
        centres). Every start x fraction x draw x seed is a run; the table has mean and spread.
        Stopped at any time, the same command goes on. Exit code 3: finished, but some runs failed
        or some frames were bad and were skipped.""",
        "pipeline.settings.detect:DetectSettings",
        "pipeline.detect:detect",
        "cli.printers:plain_or_bad",
        table="cli.tables:detection",
        resumes=True,
    ),
    "corrupt": Verb(
        """Write corrupted copies of a dataset's sweeps and labels, laid out as nuScenes-C is.

        Or draw a frame under every corruption with --pictures. Labels of inserted points are those
        of the published sets. The same command goes on where it was stopped. Exit code 3: finished,
        but some frames were bad and were skipped.""",
        "pipeline.settings.corrupt:CorruptSettings",
        "pipeline.corrupt:corrupt_dataset",
        "cli.printers:plain_or_bad",
        resumes=True,
    ),
    "predict": Verb(
        """Label every point of bare LiDAR files, or of a dataset's split, with a fine-tuned
        student; with a detector, find boxes.

        Writes .label, .npy or PLY with colours, each with the confidence, or --submission for a
        benchmark. With a run of clever detect: boxes, as JSON or KITTI's result files. Files as
        clever features takes them; without any, the frames of --data-root.
        Stopped at any time, the same command goes on. Exit code 3: finished, but some inputs were
        bad and were skipped.""",
        "pipeline.settings.predict:PredictSettings",
        "pipeline.predict:predict",
        "cli.printers:plain_or_bad",
        ("points",),
        resumes=True,
    ),
    "look": Verb(
        """Draw what a run has learned, for any frames: the paper's figures.

        Of a fine-tuned run: predictions, ground truth and errors in red. Of a pre-trained one:
        features beside the teacher's in the same colours, similarity of a point to all others,
        occupancy. Exit code 3: finished, but some frames were bad and were skipped.""",
        "pipeline.settings.look:LookSettings",
        "pipeline.look:look",
        "cli.printers:plain_or_bad",
    ),
    "rankme": Verb(
        """Measure a student without labels: RankMe and matrix rank of its features.

        Backbone features, before any head. Reads the point clouds of a feature cache.
        --checkpoint none --student NAME measures random weights: the row to compare with.""",
        "pipeline.settings.rankme:RankmeSettings",
        "pipeline.rankme:rankme",
    ),
    "features": Verb(
        """Write a student's feature for every point of bare LiDAR files.

        Files of KITTI, nuScenes, PCD, PLY, LAS or LAZ. Row i of an output belongs to point i of its
        file. Coordinates are metres around the sensor; how intensity was brought to 0 to 1 is
        printed. Exit code 3: finished, but some files were bad and were skipped.""",
        "pipeline.settings.features:FeaturesSettings",
        "pipeline.features:features",
        "cli.printers:plain_or_bad",
        ("points",),
        resumes=True,
    ),
    "runs": Verb(
        """List run folders: how far each is, in which settings they differ, what they reached.

        One table a command, 100 characters wide; figures carry the number of their protocol. --csv
        has a line a run, and what does not fit. Exit code 3: some folders could not be read.""",
        "pipeline.settings.list_runs:ListRunsSettings",
        "pipeline.list_runs:list_runs",
        "cli.printers:plain_or_bad",
        ("folders",),
        "cli.tables:runs",
    ),
    "report": Verb(
        """Write one page of runs and tables: figures, curves, pictures, sweeps to turn in 3D.

        A single HTML file below 15 MB that loads nothing from elsewhere: open it in a browser, send
        it. Exit code 3: something could not be shown, and the page says what.""",
        "pipeline.settings.report:ReportSettings",
        "pipeline.report:report",
        "cli.printers:plain_or_bad",
        ("places",),
    ),
    "import-weights": Verb(
        """Make a run of published weights: SpUNet-v1m1, PT-v3m1 (Pointcept), WaffleIron (ScaLR).

        What it writes serves --checkpoint of finetune, features and rankme. Every tensor of the
        file is accounted for; its classifier is left out. Nothing in the file is executed.""",
        "pipeline.settings.import_weights:ImportWeightsSettings",
        "pipeline.import_weights:import_weights",
        arguments=("file",),
    ),
    "share": Verb(
        """Share a student or a feature cache with a card, on the Hugging Face Hub or in a folder.

        Of a run: safetensors, config.json and a card with teacher, protocol and figures, nothing
        else. clever.from_pretrained("USER/NAME") loads it. Of a cache: the store with its card. It
        prints the card; --out alone uploads nothing.""",
        "pipeline.settings.share:ShareSettings",
        "pipeline.share:share",
        arguments=("path",),
    ),
    "init-drive": Verb(
        """Write a first drive.yaml for a folder of your own recordings.

        It says where points, images, labels, times and poses lie and how the sensors are placed, as
        far as files tell; what they do not is marked TODO. An existing drive.yaml is never
        overwritten. Then: --dataset folder --data-root FOLDER.""",
        "pipeline.settings.init_drive:InitDriveSettings",
        "pipeline.init_drive:init_drive",
        arguments=("folder",),
    ),
    "make-drives": Verb(
        """Generate street drives in the nuScenes format: no download, exact labels.

        Six cameras, a 32-beam LiDAR, lidarseg labels and boxes. The unmodified nuscenes-devkit
        opens them; geometry is exact, the same seed gives the same bytes.""",
        "pipeline.settings.make_drives:MakeDrivesSettings",
        "pipeline.drives:make_drives",
    ),
    "benchmark": BENCHMARK,
    "demo": Verb(
        """The whole way on generated drives: cache, pre-train, probe, pictures.

        Without any download but packages. The drives are generated and the teacher is a supervised
        EfficientNet-Lite0: the numbers show that everything works, not how good the method is.""",
        "pipeline.settings.demo:DemoSettings",
        "pipeline.demo:demo",
        resumes=True,
    ),
}
"""Every command, in the order of the overview."""
