"""Commands in the documentation: each is one of ours, with flags that it has."""

import re
import shlex
from pathlib import Path

import pytest

import clever
from clever.cli.verbs import VERBS, Group, Verb, load

ROOT = Path(clever.__file__).parent
COMMON = {"config", "quiet", "log_file", "json", "csv", "help", "version", "install_completion"}
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
PAGES += [
    name for name in ("README.md", "BENCHMARKS.md", "CONTRIBUTING.md") if (ROOT / name).exists()
]


def commands(text: str) -> list[list[str]]:
    """The words of every command of ours that stands on a line of its own, or in a span of code."""
    lines = re.findall(r"^(?:    |\$ |    \$ )?(clever [a-z].*)$", text, re.MULTILINE)
    lines += re.findall(r"`(clever [a-z][^`\n]*)`", text)
    lists: list[list[str]] = []
    for line in lines:
        line = line.partition("  #")[0].replace("\\|", " ").replace("|", " ")
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&<>")
        lexer.whitespace_split = True
        lexer.commenters = ""
        try:
            words = list(lexer)
        except ValueError:  # a sentence with an apostrophe
            continue
        end = next((i for i, word in enumerate(words) if re.fullmatch(r"[;&<>]+", word)), None)
        lists.append(words[1:end])
    return lists


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


def test_commands_are_seen() -> None:
    text = "    clever pretrain --cache A | x  # why\nand `clever cache info PATH`; clever is\n"
    assert commands(text) == [
        ["pretrain", "--cache", "A", "x"],
        ["cache", "info", "PATH"],
    ]
    assert sum(len(commands((ROOT / page).read_text())) for page in PAGES) > 60
