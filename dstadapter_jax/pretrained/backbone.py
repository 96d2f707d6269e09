"""The frozen backbone: known by its hash, found where it is now, loaded without what is trained."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import jax
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from dstadapter_jax.files.hashing import file_sha256
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.partition import partition
from dstadapter_jax.pretrained.formats import WeightsError, resolve_source
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.names import to_params

# Backbones that come with this package: found by their hash, wherever training had them.
BUNDLED = (Path(__file__).parents[1] / "demo/backbone.safetensors",)


@dataclasses.dataclass(frozen=True)
class BackboneRef:
    """Which file the frozen weights came from, so that the very same is used ever after.

    Attributes:
        source: As the config has it; empty for random weights, which the seed gives again.
        revision: Of a Hugging Face repository.
        sha256: Of the file.
    """

    source: str = ""
    revision: str = ""
    sha256: str = ""


def bundled_path(backbone: BackboneRef) -> Path | None:
    """Where a backbone lies within this package, if it comes with it."""
    return next((path for path in BUNDLED if file_sha256(path) == backbone.sha256), None)


def resolve_backbone(trained_on: BackboneRef, elsewhere: str = "") -> Path:
    """The backbone's file, once its hash is the one that training recorded.

    Args:
        trained_on: The backbone, which has a file.
        elsewhere: Where that is now, if not where training found it.

    Raises:
        WeightsError: It isn't there, or is another file.
    """
    if not elsewhere and (path := bundled_path(trained_on)):
        return path
    source = elsewhere or trained_on.source
    expected = f"the backbone that training began with, with SHA-256 {trained_on.sha256}"
    try:
        path = resolve_source(source, None if elsewhere else trained_on.revision or None)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{source}: expected {expected}; {error} Pass its place as --backbone FILE."
        ) from error
    found = file_sha256(path)
    if found != trained_on.sha256:
        raise WeightsError(
            f"{path}: expected {expected}, found {found}. Pass its place as --backbone FILE."
        )
    return path


@dataclasses.dataclass(frozen=True)
class FrozenBackbone:
    """A model in parts: what is frozen, and what takes the place of weights trained on it.

    Attributes:
        cfg: The model's sizes.
        graphdef: The model's structure: `nnx.merge(graphdef, trainable, frozen)`.
        start: What `tune=adapter` trains, before training: `ln_post` is the backbone's, the rest
            zeros, with which adapters change nothing. By path, `blocks/t_adapter/fc1/kernel`.
        frozen: The rest of the backbone, a nested dict.
    """

    cfg: ModelConfig
    graphdef: nnx.GraphDef
    start: Mapping[str, np.ndarray | jax.Array]
    frozen: dict

    @classmethod
    def load(cls, cfg: ModelConfig, path: Path, *, resize_positions: bool) -> Self:
        """Loads the backbone of a model of these sizes; raises WeightsError if it doesn't fit."""
        # Shapes alone: what isn't in the file is never drawn, nor anything allocated before the
        # file's shapes are known to be the model's.
        model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
        load_weights(model, path, resize_positions=resize_positions)
        graphdef, trainable, frozen = partition(model, "adapter")
        start = {
            path: np.zeros(leaf.shape, leaf.dtype)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else leaf
            for path, leaf in flatten_dict(trainable, sep="/").items()
        }
        return cls(cfg, graphdef, start, frozen)

    def trainable(self, weights: Mapping[str, np.ndarray]) -> dict:
        """Trained weights, by reference name, in place of those of the start: a nested dict."""
        return unflatten_dict({**self.start, **to_params(weights, self.cfg)}, sep="/")
