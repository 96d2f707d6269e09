"""Loading weights into the model and dumping them: CLIP backbones and models of the reference."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.formats import (
    WeightsError,
    open_weights,
    resolve_source,
    state_dict_level,
)
from dstadapter_jax.pretrained.names import (
    AXES,
    CHECKPOINT_FORMATS,
    POSITIONS,
    CheckpointFormat,
    axis_size,
    detect_format,
    is_adapter_weight,
    reference_axes,
    to_params,
    to_reference,
)


@dataclasses.dataclass(frozen=True)
class LoadedWeights:
    """Summary of `load_weights`.

    Attributes:
        format: Title of the source's checkpoint format.
        loaded: Reference names of the loaded parameters.
        initialized: Reference names that the source lacks; these parameters are unchanged.
        ignored: Names in the source that the model does not use.
    """

    format: str
    loaded: tuple[str, ...]
    initialized: tuple[str, ...]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        """One line for a log."""
        return (
            f"{len(self.loaded)} tensors loaded (format: {self.format}),"
            f" {len(self.initialized)} left as initialized ({_few(self.initialized, shown=2)}),"
            f" {len(self.ignored)} ignored ({_few(self.ignored, shown=2)})"
        )


def load_weights(
    model: DSTAdapter,
    source: str | Path | Mapping[str, Any],
    *,
    revision: str | None = None,
    resize_positions: bool = False,
) -> LoadedWeights:
    """Load weights into a model as float32; a failed call leaves the model unchanged.

    Names may follow the reference, OpenAI's CLIP, Hugging Face or timm (see `pretrained.names`).
    Every tensor of the backbone must be present and none may be left over. Adapters, temporal
    embedding and classifier must be all present or all absent; if absent, they stay unchanged.

    Args:
        model: Model to change in place.
        source: Mapping from name to array, or a source for `resolve_source`: a `.safetensors` or
            `.npz` file, or a PyTorch file (`.pt`, `.pth`, `.bin`) where PyTorch is installed.
        revision: Revision of an `hf:` source, see `resolve_source`.
        resize_positions: Whether to interpolate the positional embedding of another patch grid.

    Raises:
        WeightsError: The file is corrupt, names or shapes do not fit (all are listed), or a tensor
            does not hold finite floats.
        FileNotFoundError: There is no such file.
    """
    if isinstance(source, Mapping):
        origin = "weights"
        opened: Any = contextlib.nullcontext(source)
    else:
        origin = str(source)
        opened = open_weights(resolve_source(source, revision))
    with opened as tensors:
        found = _Source(state_dict_level(tensors), model.cfg, origin)
        arrays = _read(found, model.cfg, resize_positions)
    _assign(model, to_params(arrays, model.cfg))
    return LoadedWeights(
        format=found.format.title,
        loaded=tuple(arrays),
        initialized=tuple(name for name in reference_axes(model.cfg) if name not in arrays),
        ignored=tuple(sorted(found.ignored)),
    )


def dump_weights(model: DSTAdapter) -> dict[str, np.ndarray]:
    """Return all weights as float32 under the reference's names; `load_weights` inverts it."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    params = {_joined(path): np.asarray(variable.get_value()) for path, variable in flat}
    reference = to_reference(params, model.cfg)
    return {name: np.array(array, np.float32, order="C") for name, array in reference.items()}


def _joined(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _assign(model: DSTAdapter, params: Mapping[str, np.ndarray]) -> None:
    state = nnx.state(model, nnx.Param)
    for path, variable in nnx.to_flat_state(state):
        if (array := params.get(_joined(path))) is not None:
            # A copy: jnp.asarray may share memory with the caller's array.
            variable.set_value(jnp.array(array))
    nnx.update(model, state)


class _Source:
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
            yield f"missing: {_few(missing)}"
        if unexpected := sorted(self._unused - self.ignored):
            yield f"unexpected: {_few(unexpected)}"
        if any(map(is_adapter_weight, missing)):
            yield "(adapters, temporal embedding and classifier: all of them or none)"


def _format(tensors: Mapping[str, Any], origin: str) -> CheckpointFormat:
    if (found := detect_format(tensors)) is None:
        titles = ", ".join(dict.fromkeys(known.title for known in CHECKPOINT_FORMATS))
        raise WeightsError(
            origin,
            expected=f"names of a CLIP image tower in one of the formats {titles}",
            found=_few(list(tensors)),
        )
    return found


def _read(source: _Source, cfg: ModelConfig, resize_positions: bool) -> dict[str, np.ndarray]:
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
        problems.append(_few(mismatches, "\n  "))
    if problems:
        title = f"({source.format.title}) does not fit the model:"
        raise WeightsError(source.origin, problem="\n  ".join([title, *problems]))
    return arrays


def _floats(source: _Source, name: str, ndim: int) -> np.ndarray:
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
        return positions  # nothing to do, or a shape error that `_read` reports
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


def _few(items: Collection[str], separator: str = ", ", shown: int = 6) -> str:
    listed = separator.join(list(items)[:shown])
    rest = len(items) - shown
    return f"{listed} … and {rest} more" if rest > 0 else listed or "none"
