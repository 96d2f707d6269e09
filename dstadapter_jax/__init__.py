"""DSTAdapter in JAX: recognises isolated signs in video with a frozen CLIP image tower."""

from dstadapter_jax.model import DSTAdapter, ModelConfig
from dstadapter_jax.pretrained import dump_weights, load_weights

__all__ = ["DSTAdapter", "ModelConfig", "dump_weights", "load_weights"]
