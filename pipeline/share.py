"""Share a student or a feature cache: its files with a card, in a folder or on the Hugging Face
Hub."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import CleverError
from ..files import atomic_write
from ..student.checkpoint import WEIGHTS
from ..student.published.hub import hub_call
from ..student.segmenter import CLASSIFIER_FILE
from .outputs.cards import model_card, model_config, store_card
from .settings.share import ShareSettings

CARD = "README.md"
STORE_FILE = "zarr.json"
"""What a store has and a run has not."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Where something was put.

    Attributes:
        out: folder; None where there is none.
        url: of the repository; None where nothing was uploaded.
        card: its README.md.
    """

    out: Path | None
    url: str | None
    card: str

    def __str__(self) -> str:
        places = [str(place) for place in (self.out, self.url) if place]
        return "\n".join([self.card, *places])


def share(settings: ShareSettings) -> Shared:
    """Write the files of a student, or the card of a store, and upload them where a repository is
    named.

    Raises:
        CleverError: neither `out` nor `repo`, nothing to share, `out` exists, or the hub cannot be
            reached or says no.
    """
    if not settings.out and not settings.repo:
        raise CleverError("give `repo=USER/NAME` to upload, or `out` to write what would be")
    if settings.out and settings.out.exists():
        raise CleverError(f"{settings.out} exists; choose another `out`")
    card = _card(settings.path, settings.license)
    if settings.out:
        _write(settings.path, settings.out, card)
    url = None
    if settings.repo:
        try:
            url = push_to_hub(
                settings.path, settings.repo, private=settings.private, license=settings.license
            )
        except CleverError as error:
            if settings.out is None:
                raise
            raise CleverError(f"{error}; {settings.out} is written and complete") from error
    return Shared(settings.out, url, card)


def push_to_hub(
    path: Path | str,
    repo: str,
    *,
    private: bool = False,
    license: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a run's student, or a store, with a card; returns the repository's address.

    Of a run go safetensors, ``config.json`` and ``README.md``, nothing else: settings and logs
    stay. A store goes whole, as a dataset.

    Args:
        path: run folder, or a local store.
        repo: ``user/name``; made if it is not there.
        private: make it a private one; else as the hub does by default.
        license: for the card, as the hub spells it.
        token: of the hub; default: the one that you are logged in with.
        endpoint: address of the hub; default: huggingface_hub's.

    Raises:
        CleverError: nothing to share at `path`, or the hub says no.
    """
    path = Path(path)
    trouble = f"cannot upload {path} to {repo}"
    place = {"repo_id": repo, "repo_type": "dataset" if _is_store(path) else "model"}
    hub = {"token": token, "endpoint": endpoint}
    card = _card(path, license)
    with tempfile.TemporaryDirectory() as folder:
        _write(path, Path(folder), card)
        hub_call("create_repo", trouble, **place, **hub, private=private or None, exist_ok=True)
        if _is_store(path):
            hub_call("upload_folder", trouble, **place, **hub, folder_path=path)
        commit = hub_call(
            "upload_folder",
            trouble,
            **place,
            **hub,
            folder_path=folder,
            commit_message="Student and card" if not _is_store(path) else "Card",
        )
    return str(commit.repo_url)


def _is_store(path: Path) -> bool:
    return (path / STORE_FILE).is_file()


def _card(path: Path, license: str | None) -> str:
    if _is_store(path):
        return store_card(path, license)
    if not (path / WEIGHTS).is_file():
        raise CleverError(f"{path} is neither a run with a student nor a feature cache")
    return model_card(path, license)


def _write(path: Path, folder: Path, card: str) -> None:
    """Write what of `path` goes beside its card."""
    if not _is_store(path):
        atomic_write(folder / "config.json", json.dumps(model_config(path), indent=2) + "\n")
        for name in (WEIGHTS, CLASSIFIER_FILE):
            if (path / name).is_file():
                atomic_write(folder / name, (path / name).read_bytes())
    atomic_write(folder / CARD, card)
