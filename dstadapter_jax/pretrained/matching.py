"""A source's tensors matched with the model's parameters by name and shape."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.names import CHECKPOINT_FORMATS, CheckpointFormat, detect_format
from dstadapter_jax.pretrained.sources import WeightsError
from dstadapter_jax.pretrained.weight_table import (
    AXES,
    POSITIONS,
    axis_size,
    is_adapter_weight,
    reference_axes,
)


class TensorSource:
    """Tensors of a source, with their format and their relation to the model's parameters.

    Attributes:
        origin: Path or name of the source, for messages.
        tensors: Name -> array.
        format: Detected checkpoint format.
        names: Reference name -> names in the source, to concatenate along axis 0.
        ignored: Names that the model does not use.
    """

    def __init__(self, tensors: Mapping[str, Any], cfg: ModelConfig, origin: str):
        self.origin, self.tensors = origin, tensors
        self.format = _format(tensors, origin)
        has_adapters = any(map(is_adapter_weight, tensors))
        self.names = {
            name: self.format.sources(name)
            for name in reference_axes(cfg)
            if has_adapters or not is_adapter_weight(name)
        }
        self._unused = set(tensors).difference(*self.names.values())
        self.ignored = {n for n in self._unused if re.fullmatch(self.format.ignored, n)}

    def name_problems(self) -> Iterator[str]:
        """Missing and unexpected names."""
        missing = [n for names in self.names.values() for n in names if n not in self.tensors]
        if missing:
            yield f"missing: {shorten_list(missing)}"
        if unexpected := sorted(self._unused - self.ignored):
            yield f"unexpected: {shorten_list(unexpected)}"
        if any(map(is_adapter_weight, missing)):
            yield "(adapters, temporal embedding and classifier: all of them or none)"


def _format(tensors: Mapping[str, Any], origin: str) -> CheckpointFormat:
    if (found := detect_format(tensors)) is None:
        titles = ", ".join(dict.fromkeys(known.title for known in CHECKPOINT_FORMATS))
        raise WeightsError(
            origin,
            expected=f"names of a CLIP image tower in one of the formats {titles}",
            found=shorten_list(list(tensors)),
        )
    return found


def read_tensors(
    source: TensorSource, cfg: ModelConfig, resize_positions: bool
) -> dict[str, np.ndarray]:
    """Read all arrays under the reference's names; one error lists all problems."""
    arrays, mismatches = {}, []
    for reference, axes in reference_axes(cfg).items():
        names = source.names.get(reference, ())
        if not names or not source.tensors.keys() >= set(names):
            continue
        parts = {name: _floats(source, name, len(axes)) for name in names}
        if reference == POSITIONS and resize_positions:
            parts = {name: _resize_positions(part, cfg.grid) for name, part in parts.items()}
        shape = tuple(axis_size(axis, cfg) for axis in axes)
        shape = (shape[0] // len(names), *shape[1:])
        wrong = {name: part.shape for name, part in parts.items() if part.shape != shape}
        mismatches += [_mismatch(name, shape, found, axes) for name, found in wrong.items()]
        if not wrong:
            arrays[reference] = np.concatenate(list(parts.values()))
    problems = list(source.name_problems())
    if mismatches:
        problems.append(shorten_list(mismatches, "\n  "))
    if problems:
        title = f"({source.format.title}) does not fit the model:"
        raise WeightsError(source.origin, problem="\n  ".join([title, *problems]))
    return arrays


def _floats(source: TensorSource, name: str, ndim: int) -> np.ndarray:
    array, where = np.asarray(source.tensors[name]), f"{source.origin}: {name}"
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise WeightsError(where, expected="floats", found=array.dtype)
    with np.errstate(over="ignore"):  # a float64 beyond float32's range is reported below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        count = np.count_nonzero(~np.isfinite(array))
        raise WeightsError(
            where,
            expected="finite values",
            found=f"{count} of {array.size} values that are not finite as float32",
            advice="The file is corrupt, or its training diverged.",
        )
    while array.ndim > ndim and len(array) == 1:  # timm keeps a batch axis on its embeddings
        array = array[0]
    return array


def _resize_positions(positions: np.ndarray, grid: int) -> np.ndarray:
    """Interpolate `(1 + g g, d)` to `(1 + grid grid, d)`; the class token's row is kept.

    Bicubic with antialiasing, Keys' kernel with a = -0.5: the convention of open_clip's
    `resize_pos_embed` and timm's `resample_abs_pos_embed`. (PyTorch without antialiasing has
    a = -0.75.)
    """
    side = math.isqrt(max(len(positions) - 1, 0))
    if positions.ndim != 2 or len(positions) != 1 + side**2 or side in (0, grid):
        return positions  # nothing to do, or a shape error that `read_tensors` reports
    width = positions.shape[1]
    patches = jnp.asarray(positions[1:]).reshape(side, side, width)
    patches = jax.image.resize(patches, (grid, grid, width), "bicubic", antialias=True)
    return np.concatenate([positions[:1], np.asarray(patches).reshape(-1, width)])


def _mismatch(
    name: str, expected: tuple[int, ...], found: tuple[int, ...], axes: tuple[str, ...]
) -> str:
    text = f"{name}: expected {expected}, found {found}"
    if len(expected) != len(found):
        return text
    causes = dict.fromkeys(
        AXES[axis][1]
        for axis, want, have in zip(axes, expected, found, strict=True)
        if want != have and axis in AXES
    )
    if causes:
        text += f", another {' and '.join(causes)}"
    if set(causes) == {AXES["n"][1]}:
        text += "; resize_positions=True interpolates it"
    return text


def shorten_list(items: Collection[str], separator: str = ", ", shown: int = 6) -> str:
    """Join the first items, and count the rest."""
    listed = separator.join(list(items)[:shown])
    rest = len(items) - shown
    return f"{listed} … and {rest} more" if rest > 0 else listed or "none"
