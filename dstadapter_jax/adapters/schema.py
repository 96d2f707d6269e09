"""The fields of an adapter file's document, and the bounds within which a reader believes them."""

import dataclasses
import json
import pathlib
import re
import typing
import unicodedata
from collections.abc import Sequence
from typing import Any, NoReturn

from dstadapter_jax.adapters.spotting_settings import SpottingSettings
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.video.reader import DECODERS
from dstadapter_jax.models.config import ModelConfig

FORMAT_VERSION = 2  # raised when a field that loading needs changes its meaning
SHAREABLE = ("adapter", "head")  # of config.tune; with `full`, a file would hold a whole tower
# Several times the sizes of the largest CLIP models; what lies within them must still be there as
# weights, in the adapter's file or in the backbone's, before anything of that size is allocated.
LIMITS = {
    **{"num_classes": 100_000, "input_resolution": 1024, "num_frames": 256, "patch_size": 64},
    **{"width": 4096, "layers": 128, "heads": 64},
}
# Attention weights in one layer, 1 GB of them; ViT-L/14 at 336 pixels has 43 million.
MAX_ATTENTION = 2**28
MAX_TEXT = 200  # characters of a license or a language


def _json_types(cls: type, without: Sequence[str] = ()) -> dict[str, Any]:
    """The types of a dataclass's fields in JSON, where a tuple is a list."""
    return {
        field.name: list if typing.get_origin(field.type) is tuple else field.type
        for field in dataclasses.fields(cls)
        if field.name not in without
    }


DOCUMENT: dict[str, Any] = {
    "format_version": int,
    "label_names": list,
    "config": {
        "model": _json_types(ModelConfig),
        "preprocess": _json_types(PreprocessConfig, without=("num_frames", "resolution")),
        "tune": str,
        "resize_positions": bool,
        "data": {"name": str, "decoder": str},
    },
    "backbone": {"source": str, "revision": str, "sha256": str},
    "step": int,
    "metrics": dict,
    "training": dict,
    "stream": dict,
    "license": str,
    "language": str,
    "checksum": str,
}


def portable(source: str) -> str:
    """A backbone's source for other machines, to which a path tells no more than its name."""
    return source if source.startswith("hf:") else pathlib.PurePath(source).name


def parse_document(text: str) -> dict[str, Any]:
    """Parses an adapter file's document.

    Raises:
        ValueError: It isn't JSON, of another format version, or a field is missing, unknown, of
            another type, beyond its bounds or at odds with others.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata: expected one JSON document, found none ({error}).") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"expected adapter format {FORMAT_VERSION}, found {_brief(version)}. Use the version of"
            " this project that wrote it, or export it again."
        )
    _check_types(document, DOCUMENT, "metadata")
    _check_model(document["config"]["model"])
    _check_config(document["config"])
    _check_labels(document["label_names"], document["config"]["model"]["num_classes"])
    _check_backbone(document["backbone"])
    _check_notes(document)
    if document["stream"]:
        SpottingSettings.of_json(document["stream"], document["config"]["model"]["width"])
    return document


def _refuse(field: str, expected: str, found: Any) -> NoReturn:
    raise ValueError(f"{field}: expected {expected}, found {_brief(found)}.")


def _brief(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check_types(found: Any, expected: Any, field: str) -> None:
    if isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            there = sorted(found) if isinstance(found, dict) else found
            _refuse(field, f"the fields {', '.join(sorted(expected))}", there)
        for name, kind in expected.items():
            _check_types(found[name], kind, name if field == "metadata" else f"{field}.{name}")
    # Told apart by type, since to Python True is an integer; to JSON 1 is a fine float.
    elif type(found) is not expected and (expected, type(found)) != (float, int):
        _refuse(field, expected.__name__, found)
    # Of what people will read: no line breaks, nothing that steers a terminal, no half characters.
    elif expected is str and any(unicodedata.category(sign) in ("Cc", "Cs") for sign in found):
        _refuse(field, "a line of text", found)


def _check_model(model: dict[str, Any]) -> None:
    for name, limit in LIMITS.items():
        if not 1 <= model[name] <= limit:
            _refuse(f"config.model.{name}", f"1 to {limit}", model[name])
    cfg = ModelConfig(**model)
    attention = cfg.num_frames * cfg.heads * (1 + cfg.grid**2) ** 2
    if attention > MAX_ATTENTION:
        what = "attention weights in a layer: num_frames x heads x (1 + patches)^2"
        _refuse("config.model", f"at most {MAX_ATTENTION} {what}", attention)


def _check_config(config: dict[str, Any]) -> None:
    for side in config["preprocess"]["crop_area"]:
        _check_types(side, float, "config.preprocess.crop_area")
    PreprocessConfig(**config["preprocess"])
    for field, found, allowed in (
        ("tune", config["tune"], SHAREABLE),
        ("data.decoder", config["data"]["decoder"], DECODERS),
    ):
        if found not in allowed:
            _refuse(f"config.{field}", f"one of {allowed}", found)


def _check_labels(names: list[Any], classes: int) -> None:
    for name in names:
        _check_types(name, str, "label_names")
    if len(names) != classes:
        _refuse("label_names", f"{classes} of them, as config.model.num_classes", len(names))


def _check_backbone(backbone: dict[str, str]) -> None:
    if not re.fullmatch("[0-9a-f]{64}", backbone["sha256"]):
        _refuse("backbone.sha256", "64 hexadecimal digits", backbone["sha256"])
    if backbone["source"] != portable(backbone["source"]):
        _refuse("backbone.source", "hf:OWNER/REPO/FILE or a file's bare name", backbone["source"])


def _check_notes(document: dict[str, Any]) -> None:
    for field in ("license", "language"):
        if len(document[field]) > MAX_TEXT:
            _refuse(field, f"at most {MAX_TEXT} characters", document[field])
    notes = {f"metrics.{split}": found for split, found in document["metrics"].items()}
    for group, found in (notes | {"training": document["training"]}).items():
        _check_types(found, dict, group)
        for name, note in found.items():
            if type(note) not in (int, float):
                _check_types(note, str, f"{group}.{name}")
