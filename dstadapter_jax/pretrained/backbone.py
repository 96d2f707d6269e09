"""The frozen backbone: identified by its hash, located, and loaded without the trained part."""

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
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.sources import WeightsError, resolve_source, weights_sha256
from dstadapter_jax.pretrained.weight_table import to_params

# Backbones bundled with this package, found by hash wherever training had read them from.
BUNDLED = (Path(__file__).parents[1] / "demo/backbone.safetensors",)


@dataclasses.dataclass(frozen=True)
class BackboneRef:
    """Identity of the file that the frozen weights come from.

    Attributes:
        source: Path or `hf:` source, as in the config; empty for random weights, which the seed
            reproduces.
        revision: Commit of a Hugging Face repository.
        sha256: SHA-256 of the file.
    """

    source: str = ""
    revision: str = ""
    sha256: str = ""


def bundled_path(backbone: BackboneRef) -> Path | None:
    """Path of a backbone that is bundled with this package; None for any other."""
    return next((path for path in BUNDLED if file_sha256(path) == backbone.sha256), None)


def resolve_backbone(backbone: BackboneRef, override: str = "", beside: Path | None = None) -> Path:
    """Locate a backbone's file and verify its hash.

    Args:
        backbone: Identity of the backbone; it must have a file.
        override: Path of the file, if it is not at the recorded source.
        beside: Folder in which a file of the source's name may be, too.

    Raises:
        WeightsError: The file is missing or has another hash.
    """
    if not override and (path := bundled_path(backbone)):
        return path
    source = override or backbone.source
    if beside and not override and (beside / source).is_file():
        source = str(beside / source)
    expected = f"the backbone used in training, with SHA-256 {backbone.sha256}"
    advice = "Pass its path as --backbone FILE."
    try:
        path = resolve_source(source, None if override else backbone.revision or None)
    except (OSError, ValueError) as error:
        raise WeightsError(source, expected=expected, found=f"none ({error})", advice=advice) from (
            error
        )
    found = weights_sha256(path)
    if found != backbone.sha256:
        raise WeightsError(str(path), expected=expected, found=found, advice=advice)
    return path


@dataclasses.dataclass(frozen=True)
class FrozenBackbone:
    """A model split into its frozen weights and a placeholder for the trained ones.

    Attributes:
        cfg: Sizes of the model.
        graphdef: Structure of the model: `nnx.merge(graphdef, trainable, frozen)`.
        identity_adapter: Trainable weights of `tune=adapter` before training, by path such as
            `blocks/t_adapter/fc1/kernel`: the backbone's `ln_post`, and zeros, with which adapters
            are the identity.
        frozen: Nested dict of the frozen weights.
    """

    cfg: ModelConfig
    graphdef: nnx.GraphDef
    identity_adapter: Mapping[str, np.ndarray | jax.Array]
    frozen: dict

    @classmethod
    def load(cls, cfg: ModelConfig, path: Path, *, resize_positions: bool) -> Self:
        """Load the backbone of a model with these sizes; raises WeightsError if it does not fit."""
        # Shapes only: nothing is allocated before the file's shapes are known to fit.
        model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
        load_weights(model, path, resize_positions=resize_positions)
        graphdef, trainable, frozen = partition(model, "adapter")
        identity_adapter = {
            path: np.zeros(leaf.shape, leaf.dtype)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else leaf
            for path, leaf in flatten_dict(trainable, sep="/").items()
        }
        return cls(cfg, graphdef, identity_adapter, frozen)

    def trainable(self, weights: Mapping[str, np.ndarray]) -> dict:
        """Nested dict of trainable weights; `weights` by reference name replace the identity."""
        params = {**self.identity_adapter, **to_params(weights, self.cfg)}
        return unflatten_dict(params, sep="/")
