"""Adapter file: the trained weights and their metadata in one safetensors file.

The weights have the reference's names. The file's metadata hold one JSON document with what a
recognizer needs: sizes, preprocessing, label names, and the SHA-256 of the backbone. Files are not
trusted: nothing in them is executed, and sizes in a header count only if the file's own tensors
have them.
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

from dstadapter_jax.adapters.schema import ADAPTER_VERSION, parse_adapter
from dstadapter_jax.errors import UserError
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.files.hashing import checksum_arrays, checksum_json
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.partition import parameter_role
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.formats import ADAPTER_KEY as KEY
from dstadapter_jax.pretrained.sources import resolve_source
from dstadapter_jax.pretrained.weight_table import WEIGHTS, axis_size, reference_axes

MAX_HEADER_BYTES = 16_000_000  # ViT-L/14 with a thousand labels has 0.1 MB
DTYPES = {"float32": "F32", "float16": "F16"}  # storage dtypes and their safetensors names
MAX_LISTED = 5
# Adapter files that are shipped with this package, by name; written by `python -m
# dstadapter_jax.demo` and `python -m dstadapter_jax.export adapter`, with seed 0.
BUNDLED = {"demo": pathlib.Path(__file__).parents[1] / "demo/adapter.safetensors"}


class AdapterError(UserError):
    """A file that is not a valid adapter file; `where` is its path and the field or tensor."""


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Metadata of an adapter file.

    Attributes:
        label_names: Label names by id.
        config: Fields of the run's config that a recognizer needs: `model`, `preprocess`, `tune`,
            `resize_positions`, `data.name` and `data.decoder`.
        backbone: Backbone of the run; its source is `hf:…` or a file name without a folder.
        step: Step of the checkpoint.
        metrics: Metrics of this checkpoint by split: `top1`, …, as fractions.
        training: Facts about the training, for people.
        spotting: Document of `adapters.schema.SpottingSettings`; None if not calibrated.
        license: License of the weights; empty if unknown.
        language: Code of the sign language; empty if unknown.
    """

    label_names: tuple[str, ...]
    config: Mapping[str, Any]
    backbone: BackboneRef
    step: int
    metrics: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    spotting: Mapping[str, Any] | None = None
    license: str = ""
    language: str = ""

    @property
    def model(self) -> ModelConfig:
        """Sizes of the model."""
        return ModelConfig(**self.config["model"])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the file's tensors: the parameters that `tune` trains."""
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
    """Write an adapter file atomically.

    Args:
        path: File to write.
        adapter: Metadata.
        weights: Arrays by reference name; those in `adapter.shapes` are stored.
        dtype: Storage dtype, one of `DTYPES`.

    Raises:
        UserError: `read_adapter` would refuse the file.
    """
    with np.errstate(over="ignore"):  # overflow is reported as not finite
        stored = {name: np.ascontiguousarray(weights[name], dtype) for name in adapter.shapes}
    _check_finite(stored)
    document = {"format_version": ADAPTER_VERSION, **dataclasses.asdict(adapter)}
    text = json.dumps(document | {"checksum": _checksum(document, stored)})
    parse_adapter(text)
    atomic_write(path, save(stored, {KEY: text}))


def read_adapter(source: str | pathlib.Path) -> tuple[Adapter, dict[str, np.ndarray]]:
    """Read an adapter file and check everything that can be checked without its backbone.

    Args:
        source: Path, `hf:OWNER/REPO/FILE`, or a key of `BUNDLED`.

    Returns:
        Metadata, and weights by reference name, float32.

    Raises:
        AdapterError: The file is not an adapter file, has another format version, or is corrupt or
            inconsistent.
        WeightsError: The file can't be fetched.
        FileNotFoundError: The file does not exist.
    """
    path = BUNDLED.get(str(source)) or resolve_source(source)
    try:
        with _open(path) as file:
            document = parse_adapter(file.metadata()[KEY])
            checksum = document.pop("checksum")
            adapter = _from_document(document)
            _check_tensors(adapter.shapes, file)
            stored = {name: file.get_tensor(name) for name in adapter.shapes}
        if _checksum(document, stored) != checksum:
            raise UserError(
                "checksum",
                problem="the content differs from the content that was saved",
                advice="Fetch or export the file again.",
            )
        _check_finite(stored)
    except UserError as error:
        raise AdapterError(
            f"{path}: {error.where}",
            expected=error.expected,
            found=error.found,
            problem=error.problem,
            advice=error.advice,
        ) from error
    return adapter, {name: array.astype(np.float32) for name, array in stored.items()}


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[Any]:
    """Open a safetensors file with our document, to be read tensor by tensor."""
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > MAX_HEADER_BYTES:  # the library itself would parse 100 MB of JSON
            raise SafetensorError(f"header of {header:,} bytes")
        with safe_open(path, framework="numpy") as tensors:
            if KEY not in (tensors.metadata() or {}):
                raise SafetensorError(f"safetensors without the metadata {KEY}")
            yield tensors
    except SafetensorError as error:
        raise UserError(
            "file",
            expected="an adapter file",
            found=f"one that is corrupt or of another kind ({error})",
            advice="Fetch it again, or write it with `python -m dstadapter_jax.export adapter`.",
        ) from error


def _from_document(document: dict[str, Any]) -> Adapter:
    fields = {name: value for name, value in document.items() if name != "format_version"}
    fields["label_names"] = tuple(fields["label_names"])
    fields["backbone"] = BackboneRef(**fields["backbone"])
    return Adapter(**fields)


def _check_tensors(shapes: Mapping[str, tuple[int, ...]], file: Any) -> None:
    """Compare the tensors in the file with the expected ones, before any is read."""
    names = file.keys()
    found = {name: file.get_slice(name) for name in names}
    if missing := sorted(shapes.keys() - found.keys()):
        problem = f"{len(missing)} missing: {', '.join(missing[:MAX_LISTED])}"
        raise UserError("tensors", problem=problem)
    if unknown := sorted(found.keys() - shapes.keys()):
        problem = f"{len(unknown)} unexpected: {', '.join(unknown[:MAX_LISTED])}"
        raise UserError("tensors", problem=problem)
    for name, shape in shapes.items():
        found_shape = tuple(found[name].get_shape())
        if found_shape != shape:
            raise UserError(name, expected=f"{shape}, from config.model", found=found_shape)
        if (dtype := found[name].get_dtype()) not in DTYPES.values():
            raise UserError(name, expected=" or ".join(DTYPES.values()), found=dtype)


def _checksum(document: Mapping[str, Any], stored: Mapping[str, np.ndarray]) -> str:
    """Checksum of everything in the file except the checksum."""
    return checksum_json([document, checksum_arrays(stored)])


def _check_finite(stored: Mapping[str, np.ndarray]) -> None:
    for name, array in stored.items():
        if not np.isfinite(array).all():
            count = np.count_nonzero(~np.isfinite(array))
            raise UserError(
                name,
                problem=f"{count} of {array.size} values are not finite as {array.dtype}",
                advice="The training diverged, or float16 has too small a range.",
            )
