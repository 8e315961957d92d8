"""Commands in the documentation: each is one of ours, with flags that it has and values that they
take."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import clever
from clever.cli import command
from clever.cli.main import build_app
from clever.cli.verbs import VERBS, Group, Verb, load
from clever.pipeline.settings.shared.base import JobSettings

ROOT = Path(clever.__file__).parent
OTHERS = "tiny"
"""Name of a dataset that a reader's own package brings."""
COMMON = {"config", "quiet", "log_file", "json", "csv", "help", "version", "install_completion"}
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
PAGES += [
    name for name in ("README.md", "BENCHMARKS.md", "CONTRIBUTING.md") if (ROOT / name).exists()
]


LINE = re.compile(r"^ *(?:\$ )?(?:[A-Z_]+=\S+ |torchrun .*?)*(clever [a-z].*)$", re.MULTILINE)
"""A line that is a command of ours, with what may stand before it."""
SPAN = re.compile(r"`(clever [a-z][^`\n]*)`")


def commands(text: str) -> list[list[str]]:
    """The words of every command of ours that stands on a line of its own, or in a span of code."""
    lines = [*LINE.findall(text.replace("\\\n", " ")), *SPAN.findall(text)]
    return [words for line in lines if (words := words_of(line))]


def words_of(line: str) -> list[str]:
    """What follows `clever`, without a comment, or what a shell does next; empty for a sentence."""
    line = re.split(r" # | {2,}#", line)[0].replace("\\|", " ").replace("|", " ")
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:  # a sentence with an apostrophe
        return []
    end = next((i for i, word in enumerate(words) if re.fullmatch(r"[;&<>]+", word)), None)
    return words[1:end]


def verb_of(words: list[str]) -> tuple[Verb | Group | None, list[str]]:
    verb = VERBS.get(words[0])
    if isinstance(verb, Group) and len(words) > 1 and words[1] in verb.verbs:
        return verb.verbs[words[1]], words[2:]
    return verb, words[1:]


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_documentation_have_these_flags(page: str) -> None:
    for words in commands((ROOT / page).read_text()):
        verb, rest = verb_of(words)
        assert verb is not None, f"{page}: no command {words[0]}"
        if isinstance(verb, Group):
            continue
        known = {name.rstrip("_") for name in load(verb.settings).model_fields} | COMMON
        flags = {word[2:].partition("=")[0].replace("-", "_") for word in rest if word[:2] == "--"}
        wrong = {flag for flag in flags if flag not in known and f"no_{flag}" not in known}
        wrong -= {flag for flag in wrong if flag.removeprefix("no_") in known}
        assert not wrong, f"{page}: clever {' '.join(words)} has no --{wrong.pop()}"


@pytest.mark.parametrize("page", PAGES)
def test_examples_in_the_documentation_have_values_that_they_take(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indented lines are whole commands: their settings are made, as for a run that then begins."""
    monkeypatch.setenv("CLEVER_DATA_ROOT", "/data/nuscenes")
    text = (ROOT / page).read_text().replace("\\\n", " ")
    for line in LINE.finditer(text):
        if line[0].startswith("    "):
            words = [word for word in words_of(line[1]) if word != "..."]
            if OTHERS not in words:
                told = problem(words, monkeypatch)
                assert not told, f"{page}: clever {' '.join(words)}: {told}"


def problem(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command line has against a command; empty where its job would begin."""
    settings_made: list[JobSettings] = []

    def resolve(_: Verb, settings: type[JobSettings], config: None, flags: Any, *__: Any) -> int:
        settings_made.append(settings.resolve(config, flags))
        return 0

    monkeypatch.setattr(command, "_run", resolve)
    verb, part, *_ = [*(word for word in words if word[0] != "-"), "", ""]
    result = CliRunner().invoke(build_app(verb, part), words)
    if result.exit_code or not settings_made:
        return f"{result.exception!r} {result.output}"
    return ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("pretrain --cache A --epochs 3", ""),
        ("pretrain --cache A --epochs 0", "epochs"),
        ("pretrain --cache A --student minkunet35", "minkunet35"),
        ("pretrain --cache A --mixing", "--mixing"),
        ("cache verify A B", "B"),
    ],
)
def test_a_wrong_value_is_seen(line: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = problem(line.split(), monkeypatch)
    assert bool(told) == bool(reason)
    assert reason in told


def test_commands_are_seen() -> None:
    text = """    clever pretrain --cache A | x  # why
    A=1 clever runs # short
      torchrun --n 2 --no-python clever doctor \\
         --out B && ls
and `clever cache info PATH`; clever is
"""
    assert commands(text) == [
        ["pretrain", "--cache", "A", "x"],
        ["runs"],
        ["doctor", "--out", "B"],
        ["cache", "info", "PATH"],
    ]
    assert sum(len(commands((ROOT / page).read_text())) for page in PAGES) > 60
