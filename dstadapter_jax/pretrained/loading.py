"""Loading weights into the model and dumping them: CLIP backbones and models of the reference."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.formats import open_weights, state_dict_level
from dstadapter_jax.pretrained.matching import TensorSource, read_tensors, shorten_list
from dstadapter_jax.pretrained.sources import resolve_source
from dstadapter_jax.pretrained.weight_table import reference_axes, to_params, to_reference


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
        initialized = shorten_list(self.initialized, shown=2)
        ignored = shorten_list(self.ignored, shown=2)
        return (
            f"{len(self.loaded)} tensors loaded (format: {self.format}),"
            f" {len(self.initialized)} left as initialized ({initialized}),"
            f" {len(self.ignored)} ignored ({ignored})"
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
            `.npz` file, or a PyTorch file (`.pt`, `.pth`, `.bin`).
        revision: Revision of an `hf:` source, see `resolve_source`.
        resize_positions: Whether to interpolate the positional embedding of another patch grid.

    Raises:
        WeightsError: The file is corrupt, names or shapes do not fit (all are listed), or a tensor
            does not hold finite floats.
        FileNotFoundError: There is no such file.
    """
    arrays, loaded = read_weights(
        model.cfg, source, revision=revision, resize_positions=resize_positions
    )
    _assign(model, to_params(arrays, model.cfg))
    return loaded


def read_weights(
    cfg: ModelConfig,
    source: str | Path | Mapping[str, Any],
    *,
    revision: str | None = None,
    resize_positions: bool = False,
) -> tuple[dict[str, np.ndarray], LoadedWeights]:
    """Read the weights of a model as float32 under the reference's names, as `load_weights` does.

    Returns:
        Arrays by reference name, and the summary.
    """
    if isinstance(source, Mapping):
        origin = "weights"
        opened: Any = contextlib.nullcontext(source)
    else:
        origin = str(source)
        opened = open_weights(resolve_source(source, revision))
    with opened as tensors:
        found = TensorSource(state_dict_level(tensors), cfg, origin)
        arrays = read_tensors(found, cfg, resize_positions)
    return arrays, LoadedWeights(
        format=found.format.title,
        loaded=tuple(arrays),
        initialized=tuple(name for name in reference_axes(cfg) if name not in arrays),
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
