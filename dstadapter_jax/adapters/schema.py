"""Validated schema of the JSON documents of adapter files and spotting settings.

Files may come from anywhere: types, bounds and unknown fields are checked by msgspec, relations
between fields by `check_adapter` and `check_spotting`.
"""

import dataclasses
import pathlib
import typing
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dstadapter_jax.adapters.validation import (
    MAX_TEXT,
    check,
    construct,
    load_json,
    parse,
    validate,
)
from dstadapter_jax.data.preprocess import PreprocessConfig
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
    fields: list[Any] = [
        (
            field.name,
            Annotated[hints[field.name], Meta(ge=1, le=MODEL_LIMITS[field.name])]
            if field.name in MODEL_LIMITS
            else hints[field.name],
            # The only field that was added since the format's version.
            *([field.default] if field.name == "activation" else []),
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
    document = parse(text, ADAPTER_VERSION)
    parsed = validate(document, AdapterDocument)
    model = construct(ModelConfig, document["config"]["model"])
    construct(PreprocessConfig, document["config"]["preprocess"])
    attention = model.num_frames * model.heads * (1 + model.grid**2) ** 2
    source = parsed.backbone.source
    check(
        attention <= MAX_ATTENTION,
        "config.model",
        f"at most {MAX_ATTENTION} attention weights per layer, num_frames x heads x (1+patches)^2",
        attention,
    )
    check(
        len(parsed.label_names) == model.num_classes,
        "label_names",
        f"{model.num_classes} names, as config.model.num_classes",
        len(parsed.label_names),
    )
    expected = "hf:OWNER/REPO/FILE or a file name without a folder"
    check(source == portable(source), "backbone.source", expected, source)
    if parsed.spotting is not None:
        check_spotting(parsed.spotting, model.width)
    return document


def parse_spotting(content: Any, width: int) -> SpottingSettings:
    """Validate spotting settings for a network with `width` features; raises SchemaError."""
    settings = validate(content, SpottingSettings)
    check_spotting(settings, width)
    return settings


def parse_spotting_file(text: str, width: int) -> SpottingFile:
    """Parse and validate `spotting.json` of a network with `width` features; raises SchemaError."""
    parsed = validate(load_json(text), SpottingFile)
    check_spotting(parsed.settings, width)
    return parsed


def check_spotting(settings: SpottingSettings, width: int) -> None:
    """Raise SchemaError if spotting settings do not fit a network with `width` features."""
    lengths, weights = settings.window_seconds, settings.weights
    ascending = list(lengths) == sorted(set(lengths))
    check(ascending, "spotting.window_seconds", "ascending numbers", lengths)
    check(len(weights) == width, "spotting.weights", f"{width} numbers", len(weights))
