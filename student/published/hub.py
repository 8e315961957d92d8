"""Students and segmenters from the Hugging Face Hub, or from a folder with the same files."""

from pathlib import Path
from typing import Any

from ...errors import CleverError
from ..checkpoint import WEIGHTS, load_student
from ..segmenter import CLASSIFIER_FILE, TrainedSegmenter, load_segmenter
from ..student import Student

HUB_FILES = (WEIGHTS, CLASSIFIER_FILE, "config.json", "README.md")
"""What a shared student consists of; the classifier is there where it was fine-tuned."""


def from_pretrained(
    source: Path | str,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
) -> Student | TrainedSegmenter:
    """A shared student, on the CPU and in evaluation mode; a segmenter where it was fine-tuned.

    Weights are safetensors, with a checksum of their own: nothing in a repository is executed.

    Args:
        source: a folder, or ``user/name`` on the hub.
        revision: branch, tag or commit; default: the main branch.
        token: of the hub, for private repositories; default: the one that you are logged in with.
        endpoint: address of the hub; default: huggingface_hub's.
        cache_dir: where downloads are kept; default: huggingface_hub's.

    Raises:
        CleverError: no such folder or repository, or its files are none of ours or damaged.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(
            hub_call(
                "snapshot_download",
                f"cannot get {source}; it is no folder either",
                repo_id=str(source),
                revision=revision,
                token=token,
                endpoint=endpoint,
                cache_dir=cache_dir,
                allow_patterns=list(HUB_FILES),
            )
        )
    if not (folder / WEIGHTS).is_file():
        raise CleverError(f"{source} holds no {WEIGHTS}; it is no student of this program")
    if (folder / CLASSIFIER_FILE).is_file():
        return load_segmenter(folder)
    return load_student(folder)


def hub_call(name: str, trouble: str, **arguments: Any) -> Any:
    """Call a function of huggingface_hub by its name.

    Args:
        trouble: what could not be done, for the error.

    Raises:
        CleverError: the package is missing, the hub cannot be reached, or it says no.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ModuleNotFoundError as error:
        raise CleverError(
            f"{trouble}: the package huggingface_hub is missing; pip install huggingface_hub"
        ) from error
    # Its own error is one of its HTTP package's, whose name is not the same in all versions; so are
    # those of a hub that cannot be reached.
    transport: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    try:
        endpoint = arguments.pop("endpoint", None)
        token = arguments.pop("token", None)
        api = huggingface_hub.HfApi(endpoint=endpoint, token=token)
        return getattr(api, name)(**arguments)
    except (*transport, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CleverError(f"{trouble}: {reason}") from error
