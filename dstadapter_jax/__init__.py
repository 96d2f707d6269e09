"""DSTAdapter in JAX: isolated sign recognition in video with a frozen CLIP image tower."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstadapter_jax.models.config import ModelConfig
    from dstadapter_jax.models.dstadapter import DSTAdapter
    from dstadapter_jax.pretrained.loading import dump_weights, load_weights

__version__ = "0.1.0"
__all__ = ["DSTAdapter", "ModelConfig", "dump_weights", "load_weights"]

_MODULES = {
    "DSTAdapter": "models.dstadapter",
    "ModelConfig": "models.config",
    "dump_weights": "pretrained.loading",
    "load_weights": "pretrained.loading",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use: commands answer at once, before JAX is imported."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
