"""The adapter file: what training taught one backbone, in one safetensors file to hand on.

It holds the trained weights under the reference's names and, as one JSON document in the file's
metadata, what else a recognizer needs: sizes, preprocessing, label names, and which backbone it
belongs to, by hash. Files come from anywhere and are not trusted: nothing in them is executed,
and no size that a header claims is believed before the file's own tensors bear it out.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dstadapter_jax.adapters.schema import FORMAT_VERSION, parse_document
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.files.hashing import checksum_arrays, checksum_json
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.partition import parameter_role
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.formats import resolve_source
from dstadapter_jax.pretrained.names import WEIGHTS, axis_size, reference_axes

KEY = "dstadapter_jax.adapter"  # of the document in the safetensors metadata
MAX_HEADER = 16_000_000  # bytes; ViT-L/14 with a thousand labels has 0.1 MB
DTYPES = {"float32": "F32", "float16": "F16"}  # safetensors' names of what weights are stored as


class AdapterError(ValueError):
    """A file that isn't a whole adapter file of this format; says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What an adapter file says of itself; its weights are apart.

    Attributes:
        label_names: By label id.
        config: The fields of the run's config that a recognizer needs: `model`, `preprocess`,
            `tune`, `resize_positions`, `data.name` and `data.decoder`.
        backbone: What the adapter was trained on. Its source is `hf:…` or a file's bare name.
        step: Of the checkpoint.
        metrics: By split, what was measured of this checkpoint: `top1`, …, as fractions.
        training: How it came about, figures to tell people.
        stream: What tells signs from what is between them, as `StreamSettings.to_json` has it;
            empty if nobody has found out.
        license: Of the weights; empty if nobody said.
        language: The sign language's; empty if nobody said.
    """

    label_names: tuple[str, ...]
    config: Mapping[str, Any]
    backbone: BackboneRef
    step: int
    metrics: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stream: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    license: str = ""
    language: str = ""

    @property
    def model(self) -> ModelConfig:
        """Sizes of the model."""
        return ModelConfig(**self.config["model"])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of the file: of what `tune` trains, and nothing else."""
        cfg = self.model
        trained = [
            weight.reference
            for weight in WEIGHTS
            if parameter_role(tuple(weight.paths[0].split("/")), self.config["tune"]) != "frozen"
        ]
        names = {name.format(i=i) for name in trained for i in range(cfg.layers)}
        return {
            name: tuple(axis_size(axis, cfg) for axis in axes)
            for name, axes in reference_axes(cfg).items()
            if name in names
        }


def write_adapter(
    path: pathlib.Path,
    adapter: Adapter,
    weights: Mapping[str, np.ndarray],
    dtype: str = "float32",
) -> None:
    """Writes an adapter file; killed meanwhile, it leaves the old one or the new one, whole.

    Args:
        path: Of the file.
        adapter: What it says of itself.
        weights: By reference name, those of `adapter.shapes`.
        dtype: What they are stored as, one of `DTYPES`.

    Raises:
        ValueError: What would be written is no adapter file by `read_adapter`'s standards.
    """
    with np.errstate(over="ignore"):  # told as not finite
        stored = {name: np.ascontiguousarray(weights[name], dtype) for name in adapter.shapes}
    _check_finite(stored)
    document = {"format_version": FORMAT_VERSION, **dataclasses.asdict(adapter)}
    text = json.dumps(document | {"checksum": _checksum(document, stored)})
    parse_document(text)
    atomic_write(path, save(stored, {KEY: text}))


def read_adapter(source: str | pathlib.Path) -> tuple[Adapter, dict[str, np.ndarray]]:
    """Reads an adapter file whole and checks everything that can be checked without its backbone.

    Args:
        source: A path, or `hf:OWNER/REPO/FILE`.

    Returns:
        What the file says of itself, and its weights by reference name, float32.

    Raises:
        AdapterError: It is no adapter file, of another format version, damaged, or at odds with
            itself; the message says in what.
        WeightsError: It can't be fetched.
        FileNotFoundError: There is no such file.
    """
    path = resolve_source(source)
    try:
        with _opened(path) as file:
            document = parse_document(file.metadata()[KEY])
            checksum = document.pop("checksum")
            adapter = _adapter(document)
            _check_tensors(adapter.shapes, file)
            stored = {name: file.get_tensor(name) for name in adapter.shapes}
        if _checksum(document, stored) != checksum:
            raise ValueError("damaged: it doesn't hold what was saved. Fetch or export it again.")
        _check_finite(stored)
    except ValueError as error:
        raise AdapterError(f"{path}: {error}") from error
    return adapter, {name: array.astype(np.float32) for name, array in stored.items()}


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    """A safetensors file with a document of ours, open to be read tensor by tensor."""
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > MAX_HEADER:  # the library itself would parse 100 MB of JSON
            raise SafetensorError(f"its header claims {header:,} bytes")
        with safe_open(path, framework="numpy") as tensors:
            if KEY not in (tensors.metadata() or {}):
                raise SafetensorError(f"safetensors without the metadata {KEY}")
            yield tensors
    except SafetensorError as error:
        raise ValueError(
            f"expected an adapter file, found one that is damaged or of another kind ({error})."
            " Fetch it again, or write it with `python -m dstadapter_jax.export adapter`."
        ) from error


def _adapter(document: dict[str, Any]) -> Adapter:
    fields = {name: value for name, value in document.items() if name != "format_version"}
    fields["label_names"] = tuple(fields["label_names"])
    fields["backbone"] = BackboneRef(**fields["backbone"])
    return Adapter(**fields)


def _check_tensors(shapes: Mapping[str, tuple[int, ...]], file: Any) -> None:
    """Compares what the fields promise with what the file holds, before a tensor is read."""
    names = file.keys()
    found = {name: file.get_slice(name) for name in names}
    if missing := sorted(shapes.keys() - found.keys()):
        raise ValueError(f"{len(missing)} tensors are missing: {', '.join(missing[:5])}")
    if unknown := sorted(found.keys() - shapes.keys()):
        raise ValueError(f"{len(unknown)} tensors belong nowhere: {', '.join(unknown[:5])}")
    for name, shape in shapes.items():
        there = tuple(found[name].get_shape())
        if there != shape:
            raise ValueError(f"{name}: expected {shape}, by config.model, found {there}.")
        if found[name].get_dtype() not in DTYPES.values():
            expected = " or ".join(DTYPES.values())
            raise ValueError(f"{name}: expected {expected}, found {found[name].get_dtype()}.")


def _checksum(document: Mapping[str, Any], stored: Mapping[str, np.ndarray]) -> str:
    """Over everything in the file but itself."""
    return checksum_json([document, checksum_arrays(stored)])


def _check_finite(stored: Mapping[str, np.ndarray]) -> None:
    for name, array in stored.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name}: {np.count_nonzero(~np.isfinite(array))} of {array.size} values aren't"
                f" finite as {array.dtype}: the training diverged, or float16 is too narrow."
            )
