"""Tables of an earlier command in a folder: moved aside under the first free number."""

from pathlib import Path

import pytest

from clever.errors import OutputError
from clever.pipeline.results.earlier_tables import keep_earlier

NAMES = ("result.json", "table.md")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_none_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_earlier(tmp_path, NAMES)
    keep_earlier(tmp_path / "absent", NAMES)
    assert (content(tmp_path), capsys.readouterr().err) == ({}, "")
    (tmp_path / "table.md").write_text("0")
    keep_earlier(tmp_path, NAMES)
    for text in "12":
        for name in NAMES:
            (tmp_path / name).write_text(text)
        keep_earlier(tmp_path, NAMES)
    assert content(tmp_path) == {
        "table-1.md": "0",
        "result-2.json": "1",
        "table-2.md": "1",
        "result-3.json": "2",
        "table-3.md": "2",
    }
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("does not ask for; kept as result-3.json, table-3.md")


def test_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table.md").write_text("0")

    def denied(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", denied)
    with pytest.raises(
        OutputError, match=r"cannot move the earlier table in .*: Permission denied"
    ):
        keep_earlier(tmp_path, NAMES)
