"""Write the frame ids of a published nuScenes subset as text, for `clever finetune --frames-file`.

    python convert_subsets.py downstream_nuscenes_infos_train_10.pkl ten_percent.txt

The files `downstream_nuscenes_infos_train_{1,5,10,25,100}.pkl` (SuperFlow, LiMoE, LiMA) are
pickles: loading one in the ordinary way runs whatever code it names. Here nothing that a file names
is imported or called: every class and function in it becomes a blank. What remains are its own
lists, dicts, numbers and texts, of which each frame's `token` is written, one a line.
"""

import argparse
import pickle
import sys
from pathlib import Path
from typing import Any

FRAMES = ("data_list", "infos")
"""Keys under which the frames of such files lie."""


class Blank:
    """Stands for every class and function of a file, and for what it would have made."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...


class BlankUnpickler(pickle.Unpickler):
    """Reads a pickle without importing anything that it names."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return Blank

    def persistent_load(self, persistent_id: Any, /) -> Any:
        return Blank()


def frame_tokens(path: Path) -> list[str]:
    """Tokens of the frames in a subset file, in its order.

    Raises:
        ValueError: it is no such file, a frame has no token, or two have the same.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            content = BlankUnpickler(file).load()
        except Exception as error:  # whatever a damaged pickle raises
            raise ValueError(f"{path} is no pickle that can be read: {error}") from error
    names = content.keys() if isinstance(content, dict) else ()
    frames = next((content[name] for name in FRAMES if name in names), content)
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{path} has no list of frames, neither {' nor '.join(FRAMES)}")
    tokens: list[str] = []
    for number, frame in enumerate(frames):
        token = frame.get("token") if isinstance(frame, dict) else None
        if not isinstance(token, str) or not token.isalnum():
            raise ValueError(f"{path}: frame {number} of {len(frames)} has no token")
        tokens.append(token)
    if len(set(tokens)) < len(tokens):
        raise ValueError(f"{path} holds {len(tokens) - len(set(tokens))} frames twice")
    return tokens


def main() -> int:
    """Convert one file; returns the exit code."""
    parser = argparse.ArgumentParser(description="Frame ids of a nuScenes subset file, as text.")
    parser.add_argument("source", type=Path, help="the published .pkl file")
    parser.add_argument("target", type=Path, help="text file to write; must not exist")
    arguments = parser.parse_args()
    try:
        tokens = frame_tokens(arguments.source)
        with arguments.target.open("x", encoding="utf-8") as file:
            file.write("".join(f"{token}\n" for token in tokens))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.target}: {len(tokens)} frames of {arguments.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
