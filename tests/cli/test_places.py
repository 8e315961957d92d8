"""Places that cannot be what they are given as: no store, a file, the root, nothing, a full
device."""

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clever.cache.store.files.lock import beside, refuse_writer, writer_lock
from clever.cli.main import build_app, main
from clever.errors import CleverError, OutputError
from clever.files import atomic_write
from clever.pipeline.settings.pretrain import PretrainSettings
from clever.pipeline.steps import label_checks

COMMANDS = (
    "cache info PLACE",
    "cache verify PLACE",
    "cache repair PLACE",
    "cache export-manifest PLACE",
    "cache copy PLACE target.zarr",
    "cache drop-teacher PLACE vits14",
    "pretrain --cache PLACE",
    "rankme --cache PLACE --checkpoint none",
)


def error(command: str, place: str) -> str:
    """The one line that a command ends in."""
    words = [place if word == "PLACE" else word for word in command.split()]
    result = CliRunner().invoke(build_app(words[0]), words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_store(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for place in (".", "folder", "nowhere"):
        assert error(command, place).startswith(f"error: no feature cache at {place}"), place
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_no_store(command: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    assert error(command, str(file)) == (
        f"error: {file} is a file; give the folder of a feature cache"
    )
    assert file.read_text() == "text"


@pytest.mark.parametrize("command", [*COMMANDS, "cache-teacher --cache PLACE --data-root /"])
def test_the_root_is_no_store(command: str) -> None:
    assert error(command, "/").startswith(
        (
            "error: no feature cache at /",
            "error: / is the root of the file system; give a folder",
            "error: / exists and is no feature cache; choose another --cache",
        )
    )


@pytest.mark.parametrize(
    "command",
    [
        "pretrain --cache PLACE",
        "pretrain --cache x --teacher PLACE",
        "pretrain --cache x --out PLACE",
        "cache-teacher --sequences PLACE",
        "cache-teacher --data-root PLACE",
        "evaluate --checkpoint PLACE",
    ],
)
def test_an_empty_value_is_none(command: str) -> None:
    flag = command.split()[-2]
    assert error(command, "") == f"error: {flag} is empty; give a value or leave it out"


def test_an_empty_position(tmp_path: Path) -> None:
    assert error("cache info PLACE", "").startswith("error: PATH is empty")
    settings = tmp_path / "settings.yaml"
    settings.write_text('cache: ""')
    with pytest.raises(CleverError, match=rf"cache in {settings} is empty; give a value"):
        PretrainSettings.resolve(settings, {})


def test_any_spelling_of_a_store_has_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "run.zarr"
    store.mkdir()
    monkeypatch.chdir(store)
    assert beside(Path(), "lock") == beside(store, "lock") == tmp_path / ".run.zarr.lock"
    with writer_lock(Path()), pytest.raises(CleverError, match="is being written by process"):
        refuse_writer(Path("../run.zarr"))
    refuse_writer(Path())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["cache", "info", "--help"]])
def test_a_full_device(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "clever", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 2
    assert result.stderr == "error: cannot print everything: No space left on device\n"


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_a_reader_that_went_away(words: list[str]) -> None:
    end, start = os.pipe()
    os.close(end)
    result = subprocess.run(
        [sys.executable, "-m", "clever", *words], stdout=start, stderr=subprocess.PIPE, text=True
    )
    os.close(start)
    assert (result.returncode, result.stderr) == (1, "")


def test_a_full_disk_is_not_taken_for_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/student.safetensors")

    monkeypatch.setattr("clever.cli.main.build_app", lambda *words: fail)
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    error = "error: cannot write out/student.safetensors: No space left on device\n"
    assert capsys.readouterr().err == error


def test_a_home_of_nobody_is_one_line(tmp_path: Path) -> None:
    for words in (
        ["cache", "info", "~no-such-user/run.zarr"],
        ["pretrain", "--cache", "~no-such-user/run.zarr"],
        ["ablate", "~no-such-user/grid.yaml", "--data-root", str(tmp_path)],
    ):
        outcome = CliRunner().invoke(build_app(words[0]), words)
        assert outcome.exit_code == 2, words
        assert "begins with ~no-such-user, which is no user's folder; write" in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as any number: what is remembered elsewhere is read again."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    folder = label_checks._folder()
    assert not folder.exists()
    with pytest.raises(OutputError):
        atomic_write(folder / "x.json", "{}")


@pytest.mark.parametrize(
    ("streams", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("<&- >&- 2>&-", 0)]
)
def test_closed_streams_lose_what_is_printed(streams: str, code: int) -> None:
    line = f"{shlex.quote(sys.executable)} -m clever --version {streams}"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (code, "")
    assert (">&-" in streams.replace("2>&-", "")) == (ended.stdout == "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_is_printed_in_any_encoding(encoding: str) -> None:
    script = (
        "from clever.cli.main import _take_any_text\n"
        "from clever.cli.output import json_text\n"
        "_take_any_text()\n"
        "texts = ['±', '夜', '🚗', '\\udcff']\n"
        "print(*texts)\n"
        "print(json_text({'texts': texts}))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    first, _, parsed = ended.stdout.decode(encoding).partition("\n")
    expected = {"ascii": r"\xb1 \u591c \U0001f697 \udcff", "latin-1": r"± \u591c \U0001f697 \udcff"}
    assert first == expected.get(encoding, "± 夜 🚗 \\udcff")
    assert json.loads(parsed)["texts"] == ["±", "夜", "🚗", "\udcff"]
