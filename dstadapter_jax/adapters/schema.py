"""Validated schema of the JSON documents of adapter files and spotting settings.

Files may come from anywhere: types, bounds and unknown fields are checked by msgspec, relations
between fields by `check_adapter` and `check_spotting`.
"""

import dataclasses
import json
import pathlib
import re
import typing
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.errors import UserError, format_version_error
from dstadapter_jax.models.config import ModelConfig

ADAPTER_VERSION = 3  # increased when a field changes its meaning; 1 and 2 precede 0.1.0
SHAREABLE = ("adapter", "head")  # values of config.tune; `full` would store a whole tower
# Several times the sizes of the largest CLIP models. Tensors of these sizes must also be present,
# in the adapter file or the backbone's, before anything of that size is allocated.
MODEL_LIMITS = {
    **{"num_classes": 100_000, "input_resolution": 1024, "num_frames": 256, "patch_size": 64},
    **{"width": 4096, "layers": 128, "heads": 64},
}
# Attention weights per layer, 1 GB of them; ViT-L/14 at 336 pixels has 43 million.
MAX_ATTENTION = 2**28
MAX_TEXT = 200  # characters of a short text, and of a value shown in a message

# Text that people will read: without line breaks and control characters of terminals.
Line = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z")]
ShortLine = Annotated[Line, Meta(max_length=MAX_TEXT)]
Note = int | float | Line
Finite = Annotated[float, Meta(ge=-1e9, le=1e9)]  # sums of products of such numbers stay finite
Seconds = Annotated[float, Meta(ge=0.1, le=60.0)]
Count = Annotated[int, Meta(ge=0)]
Split = Literal["train", "validation", "test"]


class Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all documents and their parts."""


def _part_of(cls: type, without: tuple[str, ...] = ()) -> type:
    """Document with the fields of a dataclass, bounded by `MODEL_LIMITS`."""
    hints = typing.get_type_hints(cls)
    fields = [
        (
            field.name,
            Annotated[hints[field.name], Meta(ge=1, le=MODEL_LIMITS[field.name])]
            if field.name in MODEL_LIMITS
            else hints[field.name],
        )
        for field in dataclasses.fields(cls)
        if field.name not in without
    ]
    return msgspec.defstruct(cls.__name__, fields, bases=(Document,), kw_only=True)


class DataConfig(Document):
    """Part of `config.data`."""

    name: Line
    decoder: Literal["pyav", "decord"]


class RunConfig(Document):
    """The fields of a run's config that a recognizer needs."""

    model: _part_of(ModelConfig)  # type: ignore[valid-type]
    preprocess: _part_of(PreprocessConfig, ("num_frames", "resolution"))  # type: ignore[valid-type]
    tune: Literal["adapter", "head"]
    resize_positions: bool
    data: DataConfig


class Backbone(Document):
    """Identity of the backbone."""

    source: Line
    revision: Line
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class DetectionCounts(Document):
    """Result of sign spotting on a stream."""

    num_signs: Count
    true_positives: Count
    false_positives: Count


class SpottingSettings(Document):
    """Settings of sign spotting, found by calibration.

    Attributes:
        window_seconds: Window lengths, ascending.
        weights: Weights of the sign classifier, one per feature of the network.
        bias: Bias of the sign classifier.
        metrics: Detection counts by split.
        format_version: Version of this schema.
    """

    window_seconds: Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=16)]
    weights: tuple[Finite, ...]
    bias: Finite
    metrics: dict[Split, DetectionCounts] = {}
    format_version: Literal[1] = 1


class SpottingFile(Document):
    """Document of `spotting.json` in a run's workdir."""

    step: Count
    settings: SpottingSettings


class AdapterDocument(Document):
    """Metadata of an adapter file; `adapters.file.Adapter` describes the fields."""

    format_version: Literal[3]
    label_names: tuple[Line, ...]
    config: RunConfig
    backbone: Backbone
    step: Count
    metrics: dict[Line, dict[Line, Note]]
    training: dict[Line, Note]
    spotting: SpottingSettings | None
    license: ShortLine
    language: ShortLine
    checksum: str


class SchemaError(UserError):
    """A document that violates its schema; `where` is the field."""


def portable(source: str) -> str:
    """Source of a backbone without the folder, which has no meaning on other machines."""
    return source if source.startswith("hf:") else pathlib.PurePath(source).name


def parse_adapter(text: str) -> dict[str, Any]:
    """Parse and validate the metadata of an adapter file.

    Returns:
        The JSON document as it is in the file.

    Raises:
        SchemaError: It is not JSON, of another version, or a field is missing, unknown, of a wrong
            type, out of bounds or inconsistent with others.
    """
    document = _parse(text, ADAPTER_VERSION)
    parsed = _validate(document, AdapterDocument)
    model = _construct(ModelConfig, document["config"]["model"])
    _construct(PreprocessConfig, document["config"]["preprocess"])
    attention = model.num_frames * model.heads * (1 + model.grid**2) ** 2
    source = parsed.backbone.source
    _check(
        attention <= MAX_ATTENTION,
        "config.model",
        f"at most {MAX_ATTENTION} attention weights per layer, num_frames x heads x (1+patches)^2",
        attention,
    )
    _check(
        len(parsed.label_names) == model.num_classes,
        "label_names",
        f"{model.num_classes} names, as config.model.num_classes",
        len(parsed.label_names),
    )
    expected = "hf:OWNER/REPO/FILE or a file name without a folder"
    _check(source == portable(source), "backbone.source", expected, source)
    if parsed.spotting is not None:
        check_spotting(parsed.spotting, model.width)
    return document


def parse_spotting(content: Any, width: int) -> SpottingSettings:
    """Validate spotting settings for a network with `width` features; raises SchemaError."""
    settings = _validate(content, SpottingSettings)
    check_spotting(settings, width)
    return settings


def parse_spotting_file(text: str, width: int) -> SpottingFile:
    """Parse and validate `spotting.json` of a network with `width` features; raises SchemaError."""
    parsed = _validate(_load_json(text), SpottingFile)
    check_spotting(parsed.settings, width)
    return parsed


def check_spotting(settings: SpottingSettings, width: int) -> None:
    """Raise SchemaError if spotting settings do not fit a network with `width` features."""
    lengths, weights = settings.window_seconds, settings.weights
    ascending = list(lengths) == sorted(set(lengths))
    _check(ascending, "spotting.window_seconds", "ascending numbers", lengths)
    _check(len(weights) == width, "spotting.weights", f"{width} numbers", len(weights))


def _load_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaError(
            "metadata", expected="a JSON document", found=f"none ({error})"
        ) from error


def _parse(text: str, version: int) -> dict[str, Any]:
    document = _load_json(text)
    found = document.get("format_version") if isinstance(document, dict) else None
    if found != version:
        known = found if found is None or isinstance(found, int) else _shorten(found)
        raise format_version_error(SchemaError, "format_version", version, known)
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _validate(content: Any, kind: type) -> Any:
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        message, _, path = str(error).partition(" - at `$.")
        path = path.rstrip("`")
        where = path or "metadata"
        expected, _, found = message.partition(", got ")
        if not expected.startswith("Expected "):  # an unknown or missing field, or an enum's value
            raise SchemaError(where, problem=_shorten_text(message)) from error
        expected = expected.removeprefix("Expected ")
        found = found or _shorten(_value_at(content, path))
        raise SchemaError(where, expected=expected, found=found) from error


def _value_at(content: Any, path: str) -> Any:
    """Value at a path of msgspec, where `[...]` stands for any element; that ends the search."""
    for name in re.findall(r"[^.\[\]]+|\[\.\.\.\]", path):
        if name == "[...]":
            break
        content = content[int(name)] if isinstance(content, list | tuple) else content[name]
    return content


def _construct(kind: type, fields: dict[str, Any]) -> Any:
    """Run a dataclass's own checks; their errors name a field of the config."""
    try:
        return kind(**fields)
    except UserError as error:
        raise SchemaError(
            f"config.{error.where}", expected=error.expected, found=_shorten_text(error.found)
        ) from error


def _check(valid: bool, where: str, expected: str, found: Any) -> None:
    if not valid:
        raise SchemaError(where, expected=expected, found=_shorten(found))


def _shorten(found: Any) -> str:
    return _shorten_text(repr(found))


def _shorten_text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"
