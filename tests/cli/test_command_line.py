"""The command line: its table, how it answers, what it imports, what it prints where."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clever.cli.command import BEGINS_ANEW, GOES_ON, typed
from clever.cli.main import build_app
from clever.cli.verbs import BENCHMARK, VERBS, Group, Verb, load
from clever.pipeline.settings.shared.base import JobSettings

HEAVY = ("torch", "spconv", "nuscenes", "zarr", "timm", "scipy", "matplotlib", "numpy")
ROWS = {
    f"{name} {part}" if isinstance(verb, Group) else name: command
    for name, verb in VERBS.items()
    for part, command in (verb.verbs.items() if isinstance(verb, Group) else [("", verb)])
}


def clever(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clever", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", ROWS)
def test_every_row_names_what_is_there(name: str) -> None:
    verb: Verb = ROWS[name]
    settings = load(verb.settings)
    assert issubclass(settings, JobSettings)
    assert callable(load(verb.job))
    assert callable(load(verb.printer))
    assert set(verb.arguments) <= set(settings.model_fields)
    groups = settings.flag_groups()
    fields = [field for fields in groups.values() for field in fields]
    assert sorted(fields) == sorted(settings.model_fields)
    assert len(groups) == 1 or "Options" not in groups


@pytest.mark.parametrize("form", ["--point X,Y,Z", "--pixel CAMERA,U,V"])
def test_help_shows_what_a_place_is_made_of(form: str) -> None:
    assert f"{form} " in clever("look", "--help").stdout


def test_no_help_and_no_mistake_imports_anything_heavy() -> None:
    """Every command's help, a wrong flag and a wrong choice, in one process each."""
    code = (
        "import sys\n"
        "from clever.cli.main import main\n"
        "for words in {lines}:\n"
        "    sys.argv = ['clever', *words.split()]\n"
        "    try: main()\n"
        "    except SystemExit as end: print('exit', end.code)\n"
        f"print('heavy', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    lines = [f"{name} --help" for name in ROWS]
    lines += ["--version", "--help", "pretrain --nonsense 1", "finetune --mode nonsense"]
    lines += ["pretrain --cache x --head nonsense", "benchmark step --precision nonsense"]
    process = subprocess.run(
        [sys.executable, "-c", code.replace("{lines}", repr(lines))], capture_output=True, text=True
    )
    ends = re.findall(r"^exit (.*)$", process.stdout, re.MULTILINE)
    assert [end in ("0", "None") for end in ends] == [True] * (len(lines) - 4) + [False] * 4
    assert ends[-4:] == ["2"] * 4
    assert process.stdout.endswith("heavy []\n")
    errors = process.stderr.splitlines()
    assert len(errors) == 4
    assert errors[0].startswith("error: No such option: --nonsense")
    assert errors[0].endswith("; see clever pretrain --help") or "; see" in errors[0]
    assert errors[1] == "error: --mode is 'nonsense': should be 'probe' or 'full'"
    assert errors[2] == "error: --head is 'nonsense': should be 'mlp' or 'linear'"


def test_the_help_of_a_part_loads_the_settings_of_that_part_alone() -> None:
    code = (
        "import sys\n"
        "from clever.cli.main import main\n"
        "sys.argv = ['clever', 'benchmark', 'conv', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "room = 'clever.pipeline.settings.benchmarks.'\n"
        "print(sorted(name.removeprefix(room) for name in sys.modules if name.startswith(room)))\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.endswith("\n['conv']\n")
    assert "--voxel-size" in process.stdout
    overview = clever("benchmark", "--help").stdout
    assert all(f"\n  {name} " in overview for name in BENCHMARK.verbs)
    assert clever("benchmark", "convolution").stderr.startswith("error: No such command")


def test_help_shows_flags_in_groups_as_wide_as_the_terminal() -> None:
    shown = clever("pretrain", "--help", COLUMNS="120").stdout
    headings = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    assert headings == [
        "What to train on",
        "Several caches",
        "Network",
        "Distillation",
        "Contrast",
        "Occupancy",
        "Optimiser",
        "Run",
        "Other",
    ]
    assert max(map(len, shown.splitlines())) > 100
    assert max(map(len, clever("pretrain", "--help", COLUMNS="70").stdout.splitlines())) <= 70
    first = shown.index("--cache PATH")
    assert (
        first < shown.index("--recipe") < shown.index("--batch-size N") < shown.index("--log-file")
    )


def test_defaults_are_shown_as_they_are_typed() -> None:
    assert typed((224, 448)) == "224x448"
    assert typed((0, 1, 2)) == "0,1,2"
    assert typed(("int8", "int8-zstd", "fp16")) == "int8,int8-zstd,fp16"
    assert typed(("int8", "fp16")) == "int8,fp16"
    assert typed(True) == "yes"
    assert typed(0.05) == "0.05"
    assert typed(Path("benchmark.json")) == "benchmark.json"
    assert typed(None) == typed(()) == ""
    assert "[default: 1]" in clever("ablate", "--help", COLUMNS="200").stdout
    teacher_help = clever("cache-teacher", "--help", COLUMNS="200").stdout
    assert "[default: 224x448]" in teacher_help
    assert "image sizes may differ. [required]" in " ".join(
        clever("pretrain", "--help", COLUMNS="200").stdout.split()
    )
    assert "[required]" not in teacher_help
    assert "--dataset-option NAME=VALUE" in " ".join(teacher_help.split())


def test_version_overview_and_nothing_at_all() -> None:
    import importlib.metadata

    version = importlib.metadata.version("clever-distiller")
    assert clever("--version").stdout == f"clever {version}\n"
    overview = clever("--help", COLUMNS="200").stdout
    assert [line.split()[0] for line in overview.partition("Commands:\n")[2].splitlines()] == [
        *VERBS
    ]
    nothing = clever()
    assert nothing.returncode == 2
    assert "Commands:" in nothing.stdout + nothing.stderr
    unknown = clever("pretrian")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: No such command 'pretrian'")
    assert unknown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("clever pre", {"predict", "pretrain"}),
        ("clever pretrain --he", {"--head", "--head-layers", "--head-hidden", "--help"}),
        ("clever pretrain --head ml", {"mlp"}),
        ("clever cache dr", {"drop-teacher", "drop-regions", "drop-sweeps"}),
    ],
)
def test_the_shell_completes_commands_flags_and_choices(line: str, offered: set[str]) -> None:
    words = line.split()
    process = clever(
        _CLEVER_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
    )
    assert set(process.stdout.split()) == offered


@pytest.mark.parametrize("flag", ["--config", "--log-file"])
def test_an_empty_file_name_is_one_line(flag: str, tmp_path: Path) -> None:
    refused = CliRunner().invoke(build_app("cache"), ["cache", "info", str(tmp_path), flag, ""])
    assert refused.exit_code == 2
    assert refused.stderr == f"error: {flag} is empty; give a file or leave it out\n"


def test_quiet_and_log_file(tmp_path: Path) -> None:
    arguments = ["make-drives", "--scenes", "1", "--keyframes", "1", "--image-width", "64"]
    arguments += ["--azimuths", "90", "--workers", "1", "--out"]
    log = tmp_path / "logs" / "run.log"
    run = CliRunner().invoke
    app = build_app("make-drives")
    loud = run(app, [*arguments, str(tmp_path / "a"), "--log-file", str(log)])
    assert loud.exit_code == 0
    assert "make-drives: 1/1 keyframes" in loud.stderr
    # A line more where the machine took longer than the time between two of them.
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  make-drives: 1/1 .*\n"
    first = log.read_text()
    assert re.fullmatch(f"({line}){{1,2}}", first)
    quiet = run(app, [*arguments, str(tmp_path / "b"), "--quiet", "--log-file", str(log)])
    assert quiet.stderr == ""
    assert quiet.stdout.replace("/b", "/a") == loud.stdout
    assert re.fullmatch(f"({line}){{1,2}}", log.read_text().removeprefix(first))
    refused = run(app, [*arguments, str(tmp_path / "b"), "--quiet", "--log-file", str(log)])
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {tmp_path / 'b'} exists")
    assert refused.stderr.strip() in log.read_text()
    nowhere = run(app, [*arguments, str(tmp_path / "c"), "--log-file", str(tmp_path)])
    assert nowhere.exit_code == 2
    assert nowhere.stderr == (
        f"error: cannot write {tmp_path}: Is a directory; choose another --log-file\n"
    )
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("line", "job", "message"),
    [
        (["make-drives", "--out"], "clever.pipeline.drives.make_drives", BEGINS_ANEW),
        (["demo", "--out"], "clever.pipeline.demo.demo", GOES_ON),
    ],
)
def test_ctrl_c_says_what_the_same_command_will_do(
    line: list[str], job: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, interrupted)
    result = CliRunner().invoke(build_app(line[0]), [*line, str(tmp_path / "out")])
    assert result.exit_code == 130
    assert result.stderr == f"{message}\n"


def test_sigterm_ends_any_command_as_ctrl_c_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that temporary files go; a training still ends its step first."""

    def told_to_end(_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("goes on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("clever.pipeline.drives.make_drives", told_to_end)
    line = ["make-drives", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app("make-drives"), line)
    assert (result.exit_code, result.stderr) == (130, f"{BEGINS_ANEW}\n")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_during_imports_is_one_line(number: str, tmp_path: Path) -> None:
    """An exception in their midst would leave a library half imported."""
    script = (
        "import signal, sys\n"
        # A job in the background of a shell ignores Ctrl-C, and so would this.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import clever.cli.command as command\n"
        "from clever.cli.main import main\n"
        "load = command.load\n"
        "def loaded(target):\n"
        "    if 'settings' not in str(target):\n"
        f"        signal.raise_signal(signal.{number})\n"
        "    return load(target)\n"
        "command.load = loaded\n"
        "sys.argv = ['clever', *sys.argv[1:]]\n"
        "main()\n"
    )
    line = [sys.executable, "-c", script, "make-drives", "--out", str(tmp_path / "out")]
    ended = subprocess.run(line, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", f"{BEGINS_ANEW}\n")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["typer", "clever.cli.verbs", "pydantic", "numpy"])
def test_a_signal_before_the_command_is_known_is_one_line(
    module: str, number: str, tmp_path: Path
) -> None:
    """While the command line itself is imported, from the entry point on."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Told:\n"
        "    def find_spec(name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            signal.raise_signal(signal.{number})\n"
        "sys.meta_path.insert(0, Told)\n"
        "sys.argv = ['clever', *sys.argv[1:]]\n"
        "from clever.__main__ import main\n"
        "main()\n"
    )
    line = [sys.executable, "-c", script, "make-drives", "--out", str(tmp_path / "out")]
    ended = subprocess.run(line, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr in ("stopped\n", f"{BEGINS_ANEW}\n")
    assert not (tmp_path / "out").exists()


def test_the_console_script_answers_signals_from_its_beginning() -> None:
    """What it imports before is small, and none of it is the command line."""
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    assert scripts == {"clever": "clever.__main__:main"}
    script = (
        "import sys; before = set(sys.modules); import clever.__main__\n"
        "print(*(set(sys.modules) - before))"
    )
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    imported = set(listed.stdout.split())
    assert {name for name in imported if name.startswith("clever")} == {"clever", "clever.__main__"}
    assert not {"typing", "re", "enum", "signal", "typer", "pydantic"} & imported


def test_a_job_is_interrupted_by_ctrl_c_whatever_it_does_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around it Ctrl-C ends the process at once; inside, what has to be cleared away goes."""
    cleared: list[bool] = []

    def interrupted(_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            cleared.append(True)

    def unreachable(*_: object) -> None:
        raise AssertionError("the process would have ended")

    monkeypatch.setattr("clever.pipeline.drives.make_drives", interrupted)
    before = signal.signal(signal.SIGINT, unreachable)
    try:
        line = ["make-drives", "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(build_app("make-drives"), line)
        assert signal.getsignal(signal.SIGINT) is unreachable
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stderr, cleared) == (130, f"{BEGINS_ANEW}\n", [True])
