"""Initial models of training: random weights, then the backbone's."""

import logging
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.sources import resolve_source, weights_sha256

logger = logging.getLogger(__name__)


def init_model(cfg: ModelConfig, seed: int) -> DSTAdapter:
    """Initialize a model with random weights, in one compiled program to save start-up time."""

    def draw() -> DSTAdapter:
        return DSTAdapter(cfg, rngs=nnx.Rngs(seed))

    graphdef = nnx.graphdef(nnx.eval_shape(draw))
    return nnx.merge(graphdef, jax.jit(lambda: nnx.state(draw()))())


def build_model(config: Mapping[str, Any]) -> tuple[DSTAdapter, BackboneRef]:
    """Initialize a model from the config's seed and load its backbone, if it has one."""
    source, revision = config["pretrained"], config["pretrained_revision"]
    # Resolved first, so that a wrong path is reported at once.
    path = resolve_source(source, revision or None) if source else None
    model = init_model(ModelConfig(**config["model"]), config["seed"])
    if path is None:
        return model, BackboneRef()
    loaded = load_weights(model, path, resize_positions=config["resize_positions"])
    logger.info("backbone %s: %s", source, loaded)
    if not source.startswith("hf:"):
        source = str(path.absolute())
    return model, BackboneRef(source, revision, weights_sha256(path))
