"""What the store's own JSON files say, as types that are validated when they are read.

A damaged or foreign field is one line that names the file and the field (see `parse`).
"""

import hashlib
import json
from typing import Any, Generic, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_serializer
from pydantic.dataclasses import dataclass

from ...choices import Codec, Occlusion, RegionKind, RegionSource, TokenKind
from ...fidelity import Fidelity
from ...teacher_settings import TeacherSettings
from ...teachers.registry import licence_of

FORMAT = "clever-feature-cache"
SCHEMA = 2
STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, config=STRICT)
class Stamp:
    """Size and crc32c of a file."""

    bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True, config=STRICT)
class PointSettings:
    """What decides points and pairs.

    Attributes:
        dataset: name of the dataset.
        cameras: names of the cameras, in order.
        min_depth_m: least depth of a pair along the optical axis, metres.
        margin_px: a pair lies this far inside its image, pixels.
        occlusion: see `projection.visible_pairs`.
        intensity_scale: full intensity in the dataset's files, which stored intensities are shares
            of; None where the dataset does not say.
    """

    dataset: str
    cameras: tuple[str, ...]
    min_depth_m: float = 1.0
    margin_px: float = 1.0
    occlusion: Occlusion = "none"
    intensity_scale: float | None = None


class Fingerprint(BaseModel):
    """Every setting that changes a feature, in clear; a field that was never set is not part of it.

    Attributes:
        model: timm's name of the architecture.
        weights_sha256: of the weights, wherever they come from.
        image_size: height and width in pixels.
        resize, layer, precision: see `TeacherSettings`.
        mean, std: of the normalisation, by channel.
        position_embedding: how it was resampled; None where the network has none.
        class_token: whether the class token of every image is stored beside its grid.
        codec, tokens: how the features are stored.
        reencoded_from: the codecs that the features went through before, first one first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    weights_sha256: str | None = None
    image_size: tuple[int, int] | None = None
    resize: str | None = None
    mean: tuple[int | float, ...] | None = None
    std: tuple[int | float, ...] | None = None
    layer: str | None = None
    position_embedding: str | None = None
    precision: str | None = None
    class_token: bool = False
    codec: Codec | None = None
    tokens: TokenKind | None = None
    reencoded_from: tuple[Codec, ...] = ()

    @model_serializer
    def values(self) -> dict[str, Any]:
        """The fields that were set, as JSON values, in the order of the class."""
        order = [name for name in type(self).model_fields if name in self.model_fields_set]
        return {name: _json_value(getattr(self, name)) for name in order}

    @property
    def sha256(self) -> str:
        """sha256 of the canonical JSON."""
        text = json.dumps(self.values(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def differences(self, teacher: dict[str, Any]) -> str:
        """How a teacher's fingerprint differs from the part of this one that a teacher decides."""
        storage = ("codec", "tokens", "reencoded_from")
        teacher_part = {name: value for name, value in self.values().items() if name not in storage}
        return differences(teacher_part, teacher)


class TeacherRequest(TeacherSettings):
    """What was asked of a layer: enough to know it again, and to build its teacher again.

    Attributes:
        weights_file_sha256: of the file of weights; None where they come from elsewhere.
        codec, tokens: how the features are stored.
    """

    weights_file_sha256: str | None = None
    codec: Codec
    tokens: TokenKind


@dataclass(frozen=True, slots=True, config=STRICT)
class TeacherInfo:
    """One teacher layer.

    Attributes:
        id: alias and short fingerprint, e.g. ``vitb14-224x448-3f2a``.
        alias: model and image size.
        description: where the weights come from, in words.
        grid: tokens down and across.
        channels: feature width.
        codec: how features are stored.
        tokens: what is stored of the grid, see `TokenKind`.
        fingerprint: every setting that changes a feature, in clear.
        request: settings that build this teacher again; None where that is not possible.
    """

    id: str
    alias: str
    description: str
    grid: tuple[int, int]
    channels: int
    codec: Codec
    tokens: TokenKind
    fingerprint: Fingerprint
    request: TeacherRequest | None = None

    @property
    def licence(self) -> str | None:
        """Licence of the teacher's weights; None for untrained ones, and where it is not known
        here."""
        model = self.request.model if self.request else self.alias.rpartition("-")[0]
        return None if self.description.startswith("random:") else licence_of(model)

    @property
    def reencoded_from(self) -> tuple[Codec, ...]:
        """The codecs that the features went through before, first one first; empty for a teacher's
        own output."""
        return self.fingerprint.reencoded_from


@dataclass(frozen=True, slots=True, config=STRICT)
class CalibrationRecord:
    """Calibration of a layer's codec; float32 values keep every bit as JSON numbers.

    Attributes:
        centre, step: see `codec.Calibration`, one value a channel.
        missing: ids of the frames that it should have seen but that could not be read.
    """

    centre: tuple[float, ...]
    step: tuple[float, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, config=STRICT)
class RegionSettings:
    """Every setting that decides a map of regions.

    Attributes:
        kind: whether numbers are those of an image alone or of classes that all images share.
        source: ``slic`` or ``files``.
        size: height and width of the maps in pixels.
        segments, compactness, sigma: of SLIC, which runs on the image in its own size.
        version: of scikit-image.
        name: what the masks of files are, such as ``sam``.
        pattern: where the mask of an image lies below its folder.
        classes: their names, by number; empty for segments.
        empty: number in the files that stands for no region; None: there is none.
    """

    kind: RegionKind
    source: RegionSource
    size: tuple[int, int]
    segments: int | None = None
    compactness: float | None = None
    sigma: float | None = None
    version: str | None = None
    name: str | None = None
    pattern: str | None = None
    classes: tuple[str, ...] = ()
    empty: int | None = None

    @property
    def alias(self) -> str:
        """``slic150-224x448``, or the name of the masks and the size of the maps."""
        source = f"slic{self.segments}" if self.source == "slic" else self.name
        return "{}-{}x{}".format(source, *self.size)

    @property
    def layer(self) -> str:
        """Id of the layer: ``regions/`` with the alias and a short digest of all settings."""
        text = json.dumps(as_json(self), sort_keys=True, separators=(",", ":"))
        return f"regions/{self.alias}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


@dataclass(frozen=True, slots=True, config=STRICT)
class RegionInfo:
    """One layer of regions.

    Attributes:
        id: see `RegionSettings.layer`.
        settings: what decides the maps.
        folder: where the files of masks lay when the layer was last written; None for SLIC.
    """

    id: str
    settings: RegionSettings
    folder: str | None = None

    @property
    def description(self) -> str:
        """What the regions are, in words."""
        settings = self.settings
        if settings.source == "slic":
            return (
                f"SLIC (scikit-image {settings.version}), {settings.segments} segments asked for, "
                f"compactness {settings.compactness:g}, sigma {settings.sigma:g}, at native size"
            )
        kind = f"{len(settings.classes)} classes" if settings.kind == "class" else "segments"
        return f"{kind} of {settings.name}, from files {settings.pattern}"


@dataclass(frozen=True, slots=True, config=STRICT)
class PointContent:
    """What the seal of points and pairs says.

    Attributes:
        base: what decides points and pairs.
        ids, scenes: by row, "" for a hole.
    """

    format: Literal["clever-feature-cache"]
    schema: Literal[2]
    base: PointSettings
    ids: tuple[str, ...]
    scenes: tuple[str, ...]

    @classmethod
    def of(
        cls, base: PointSettings, ids: tuple[str, ...], scenes: tuple[str, ...]
    ) -> "PointContent":
        """Content in this version's schema."""
        return cls(FORMAT, SCHEMA, base, ids, scenes)


@dataclass(frozen=True, slots=True, config=STRICT)
class TeacherContent:
    """What the seal of a teacher layer says; no calibration where there is none yet."""

    info: TeacherInfo
    calibration: CalibrationRecord | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class RegionContent:
    """What the seal of a layer of regions says."""

    info: RegionInfo


@dataclass(frozen=True, slots=True, config=STRICT)
class SweepInfo:
    """A layer of earlier sweeps.

    Attributes:
        id: ``sweeps/N``, or ``sweeps/N-pairs``.
        count: sweeps before each frame, fewer at the beginning of a scene.
        pairs: whether their pairs with the frame's own images are stored.
    """

    id: str
    count: int
    pairs: bool = False

    @classmethod
    def of(cls, count: int, pairs: bool) -> "SweepInfo":
        """The layer of so many sweeps."""
        return cls(f"sweeps/{count}{'-pairs' if pairs else ''}", count, pairs)


@dataclass(frozen=True, slots=True, config=STRICT)
class SweepContent:
    """What the seal of a layer of sweeps says."""

    info: SweepInfo


LayerContent = TeacherContent | RegionContent | SweepContent
"""Of a layer beside points and pairs."""
Content = PointContent | LayerContent
ContentT = TypeVar("ContentT", bound=Content, covariant=True)


@dataclass(frozen=True, slots=True, config=STRICT)
class Seal(Generic[ContentT]):
    """The seal of one layer.

    Attributes:
        layer: its id.
        content: what it is.
        shards: the committed ones when the views were written.
        files: size and crc32c of every view, by path inside the store.
    """

    layer: str
    content: ContentT
    shards: tuple[int, ...]
    files: dict[str, Stamp]


@dataclass(frozen=True, slots=True, config=STRICT)
class IntensityStatistics:
    """Of the stored intensities of a frame's points, shares of full intensity.

    Attributes:
        mean, std: mean and standard deviation.
        lowest, highest: extremes.
    """

    mean: float
    std: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, config=STRICT)
class FrameRecord:
    """What one row of a shard holds.

    Attributes:
        row: row of the store.
        id: frame id.
        reason: why the frame was skipped; empty when it is stored.
        time: when it was skipped, ISO 8601, UTC; empty when it is stored.
        checksums: crc32c of the frame's stored bytes by array.
        points: number of points (points layer, sweeps), else 0.
        timestamp: microseconds (points layer), else 0.
        pose: global <- lidar, 16 float64 row by row (points layer), else empty.
        offsets: CSR offsets of the pairs over the cameras (points layer, sweeps, and layers of
            features of pairs), else empty.
        image_size: (width, height) a camera (points layer), else empty.
        split: the dataset's split of the frame; empty where it is unknown.
        bounds: lowest x, y, z, then highest x, y, z of the points in metres (points layer), else
            empty.
        intensity: statistics of the points' intensities (points layer), else None.
        sources: crc32c of the file of each camera's mask (regions from files), else empty.
        sweeps: CSR offsets of the points over the earlier sweeps, latest first (sweeps), else
            empty.
        seconds: when each of them was taken, from the frame's own time on (sweeps), else empty.
    """

    row: int
    id: str
    reason: str = ""
    time: str = ""
    checksums: dict[str, int] = pydantic.Field(default_factory=dict)
    points: int = 0
    timestamp: int = 0
    pose: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    image_size: tuple[tuple[int, int], ...] = ()
    split: str = ""
    bounds: tuple[float, ...] = ()
    intensity: IntensityStatistics | None = None
    sources: tuple[int, ...] = ()
    sweeps: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def pairs(self) -> int:
        """Number of pairs of a stored frame; 0 where a layer of sweeps holds none."""
        return self.offsets[-1] if self.offsets else 0


@dataclass(frozen=True, slots=True, config=STRICT)
class ChannelSums:
    """Sums over the codes of a shard's tokens, see `moments.CodeSums`; whole numbers for int8."""

    count: int
    total: tuple[float, ...]
    squares: tuple[float, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class Commit:
    """One committed shard of one layer.

    Attributes:
        layer: id of the layer.
        shard: number of the shard.
        files: size and crc32c of every data file, by path inside the store.
        frames: one record a used row.
        fidelity: over the shard's tokens; None where there are none.
        sums: over the codes of the shard's stored tokens, by channel; None of points, and where an
            older version wrote it.
    """

    layer: str
    shard: int
    files: dict[str, Stamp]
    frames: tuple[FrameRecord, ...]
    fidelity: Fidelity | None = None
    sums: ChannelSums | None = None


SEALS: dict[type[Content], TypeAdapter[Seal[Any]]] = {
    PointContent: TypeAdapter(Seal[PointContent]),
    TeacherContent: TypeAdapter(Seal[TeacherContent]),
    RegionContent: TypeAdapter(Seal[RegionContent]),
    SweepContent: TypeAdapter(Seal[SweepContent]),
}
"""Seals by their content."""
COMMITS = TypeAdapter(Commit)


def parse(adapter: TypeAdapter[Value], body: bytes) -> Value:
    """A value from the bytes of its JSON.

    Raises:
        ValueError: it is not of this type; the message names the first wrong field.
    """
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        raise ValueError(first_error(error)) from error


def from_json(kind: type[Value], value: Any) -> Value:
    """A value from plain JSON values; raises ValueError as `parse` does."""
    return parse(TypeAdapter(kind), json.dumps(value).encode())


def first_error(error: ValidationError) -> str:
    """The first wrong field and what is wrong with it, on one line."""
    entry = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(map(str, entry["loc"]))
    message = entry["msg"].splitlines()[0]
    return f"field {field}: {message[0].lower()}{message[1:]}" if field else message


def as_json(value: object) -> dict[str, Any]:
    """A model or dataclass of this module as plain JSON values."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def differences(actual: dict[str, Any], request: dict[str, Any]) -> str:
    """The fields in which two settings differ, with both values, on one line; empty where none
    does."""
    keys = sorted(key for key in {*actual, *request} if actual.get(key) != request.get(key))
    return "; ".join(
        f"{key}: stored {actual.get(key)!r}, wanted {request.get(key)!r}" for key in keys
    )


def _json_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
