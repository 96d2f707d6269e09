"""Weights into and out of the model: a backbone of CLIP, or a whole model of the reference."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dstadapter_jax.files.hashing import file_sha256
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
    axis_size,
    detect_format,
    is_adapter_weight,
    reference_axes,
    to_params,
    to_reference,
)

__all__ = [
    "LoadedWeights",
    "WeightsError",
    "dump_weights",
    "file_sha256",
    "load_weights",
    "resolve_source",
]


@dataclasses.dataclass(frozen=True)
class LoadedWeights:
    """What `load_weights` did."""

    naming: str  # title of the naming that the source follows
    loaded: tuple[str, ...]  # reference names
    initialized: tuple[str, ...]  # reference names that the source lacks: left as they were
    ignored: tuple[str, ...]  # the source's names that have no place in the model

    def __str__(self) -> str:
        """One line for a log; the fields name everything."""
        return (
            f"{len(self.loaded)} tensors loaded (naming: {self.naming}),"
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
    """Fills a model with weights, as float32; a failed call leaves the model as it was.

    Names may follow the reference, OpenAI's CLIP, Hugging Face's or timm's (see `weight_names`).
    Every tensor of the backbone must be there and none may be left over. Adapters, temporal
    embedding and classifier are either all there or all absent, and then left as they are.

    Args:
        model: The model; changed in place.
        source: A mapping name -> array, or what `resolve_source` takes: a `.safetensors` or `.npz`
            file, or one of PyTorch (`.pt`, `.pth`, `.bin`) where that is installed.
        revision: See `resolve_source`.
        resize_positions: Interpolate the positional embedding of another grid of patches.

    Returns:
        What was loaded, left and ignored.

    Raises:
        WeightsError: The file is damaged, names or shapes don't fit (they are listed), or a tensor
            is not of finite floats.
        FileNotFoundError: There is no such file.
    """
    if isinstance(source, Mapping):
        origin = "weights"
        opened: Any = contextlib.nullcontext(source)
    else:
        origin = str(source)
        opened = open_weights(resolve_source(source, revision))
    with opened as tensors:
        match = _match(state_dict_level(tensors), model.cfg, origin)
        arrays = _read(match, model.cfg, resize_positions)
    _assign(model, to_params(arrays, model.cfg))
    return LoadedWeights(
        naming=match.naming,
        loaded=tuple(arrays),
        initialized=tuple(name for name in reference_axes(model.cfg) if name not in arrays),
        ignored=match.ignored,
    )


def dump_weights(model: DSTAdapter) -> dict[str, np.ndarray]:
    """All weights under the reference's names, float32; `load_weights` takes them bit for bit."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    ours = {_joined(path): np.asarray(variable.get_value()) for path, variable in flat}
    reference = to_reference(ours, model.cfg)
    return {name: np.array(array, np.float32, order="C") for name, array in reference.items()}


def _joined(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _assign(model: DSTAdapter, ours: Mapping[str, np.ndarray]) -> None:
    state = nnx.state(model, nnx.Param)
    for path, variable in nnx.to_flat_state(state):
        if (array := ours.get(_joined(path))) is not None:
            # A copy: jnp.asarray may share memory with the caller's array.
            variable.set_value(jnp.array(array))
    nnx.update(model, state)


@dataclasses.dataclass(frozen=True)
class _Match:
    """A source's names beside the model's."""

    origin: str
    naming: str
    tensors: Mapping[str, Any]
    sources: Mapping[str, tuple[str, ...]]  # reference name -> the source's names, to be joined
    ignored: tuple[str, ...]
    problems: tuple[str, ...]


def _match(tensors: Mapping[str, Any], cfg: ModelConfig, origin: str) -> _Match:
    naming = detect_format(tensors)
    if naming is None:
        titles = ", ".join(dict.fromkeys(naming.title for naming in CHECKPOINT_FORMATS))
        raise WeightsError(
            f"{origin}: expected the names of a CLIP image tower as in one of: {titles};"
            f" found {_few(list(tensors))}."
        )
    whole = any(is_adapter_weight(name) for name in tensors)
    sources = {
        name: naming.sources(name)
        for name in reference_axes(cfg)
        if whole or not is_adapter_weight(name)
    }
    missing = [name for names in sources.values() for name in names if name not in tensors]
    unused = set(tensors).difference(*sources.values())
    ignored = {name for name in unused if re.fullmatch(naming.ignored, name)}
    problems = [
        f"{label}: {_few(names)}"
        for label, names in (("missing", missing), ("unexpected", sorted(unused - ignored)))
        if names
    ]
    if any(is_adapter_weight(name) for name in missing):
        problems.append("(adapters, temporal embedding and classifier: all of them or none)")
    return _Match(origin, naming.title, tensors, sources, tuple(sorted(ignored)), tuple(problems))


def _read(match: _Match, cfg: ModelConfig, resize_positions: bool) -> dict[str, np.ndarray]:
    """All arrays under the reference's names, or one error with all that is wrong."""
    arrays, mismatches = {}, []
    all_axes = reference_axes(cfg)
    for reference, sources in match.sources.items():
        if not match.tensors.keys() >= set(sources):
            continue
        axes = all_axes[reference]
        shape = tuple(axis_size(axis, cfg) for axis in axes)
        shape = (shape[0] // len(sources), *shape[1:])
        parts = {name: _floats(match, name, len(axes)) for name in sources}
        if reference == POSITIONS and resize_positions:
            parts = {name: _resize_positions(part, cfg.grid) for name, part in parts.items()}
        wrong = {name: part.shape for name, part in parts.items() if part.shape != shape}
        mismatches += [_mismatch(name, shape, found, axes) for name, found in wrong.items()]
        if not wrong:
            arrays[reference] = np.concatenate(list(parts.values()))
    problems = list(match.problems)
    if mismatches:
        problems.append(_few(mismatches, "\n  "))
    if problems:
        title = f"{match.origin} ({match.naming}) does not fit the model:"
        raise WeightsError("\n  ".join([title, *problems]))
    return arrays


def _floats(match: _Match, name: str, ndim: int) -> np.ndarray:
    array = np.asarray(match.tensors[name])
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise WeightsError(f"{match.origin}: {name}: expected floats, found {array.dtype}.")
    with np.errstate(over="ignore"):  # a float64 beyond float32 is reported below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(
            f"{match.origin}: {name}: {np.count_nonzero(~np.isfinite(array))} of {array.size}"
            " values are not finite as float32; the file is damaged, or its training diverged."
        )
    while array.ndim > ndim and len(array) == 1:  # timm keeps a batch axis on its embeddings
        array = array[0]
    return array


def _resize_positions(positions: np.ndarray, grid: int) -> np.ndarray:
    """Interpolates `(1 + g g, d)` to `(1 + grid grid, d)`; the class token's row is kept.

    Bicubic with antialiasing, Keys' kernel with a = -0.5: the convention of open_clip's
    `resize_pos_embed` and timm's `resample_abs_pos_embed`. (PyTorch without antialiasing has
    a = -0.75.)
    """
    side = math.isqrt(max(len(positions) - 1, 0))
    if positions.ndim != 2 or len(positions) != 1 + side**2 or side in (0, grid):
        return positions  # as it should be, or an error of shape
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
