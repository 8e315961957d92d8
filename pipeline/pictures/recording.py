"""An interactive recording of frames, for the viewer of rerun.io."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import CleverError
from .features import FrameFeatures, point_colours
from .labels import LabelledCloud
from .similarity import similarity_colours

RADIUS = 0.06
"""Metres of a point."""


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """What is recorded of a frame.

    Attributes:
        id: of the frame.
        xyz: (N, 3) metres.
        colours: (N, 3) in [0, 1] by name: each is a cloud that can be shown and hidden.
        images: (H, W, 3) by camera.
        features: (N, C) float32 of the student's backbone; None where they are not at hand.
        cloud: its classes, where any are predicted.
    """

    id: str
    xyz: NDArray[np.floating]
    colours: Mapping[str, NDArray[np.float64]]
    images: Mapping[str, NDArray[np.uint8]]
    features: Tensor | None = None
    cloud: LabelledCloud | None = None

    @classmethod
    def of_features(cls, frame: FrameFeatures, point: int) -> "RecordedFrame":
        """Teacher and students in the colours of `cloud_panels`, and the similarity to a point in
        those of `similarity_panels`."""
        colours = {
            f"features of {name}" if name in frame.students else name: values
            for name, values in point_colours(frame).items()
        }
        colours |= {
            f"similarity, {name}": similarity_colours(features, point)
            for name, features in frame.backbones.items()
        }
        images = dict(zip(frame.names, frame.images or (), strict=False))
        features = next(iter(frame.backbones.values()), None)
        return cls(frame.cached.id, frame.cached.points[:, :3].numpy(), colours, images, features)


def check_rerun() -> None:
    """Raise CleverError where rerun cannot be used."""
    try:
        import rerun  # noqa: F401
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise CleverError(
            f"`rerun` needs the package rerun-sdk, which cannot be imported ({reason}); pip "
            "install 'clever-distiller[rerun]'"
        ) from error


def write_recording(path: Path, frames: Sequence[RecordedFrame]) -> None:
    """Write FILE.rrd: ``rerun FILE.rrd`` opens it; a frame a step of the time line ``frame``.

    Raises:
        CleverError: rerun is not there, or the file cannot be written.
    """
    check_rerun()
    import rerun

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    recording = rerun.RecordingStream("clever look")
    try:
        recording.save(partial)
        for number, frame in enumerate(frames):
            recording.set_time("frame", sequence=number)
            recording.log("id", rerun.TextLog(frame.id))
            for name, colours in frame.colours.items():
                bytes_ = np.round(255 * colours).astype(np.uint8)
                cloud = rerun.Points3D(frame.xyz, colors=bytes_, radii=RADIUS)
                recording.log(["points", name], cloud)
            for name, image in frame.images.items():
                recording.log(["cameras", name], rerun.Image(image).compress(jpeg_quality=85))
        recording.flush(blocking=True)
        recording.disconnect()
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CleverError(f"cannot write {path}: {error}; choose another `rerun`") from error
