"""The tiny reference model and its recorded values; see `tests/golden/README.md`."""

import json
import pathlib

import numpy as np

from dstadapter_jax import DSTAdapter, ModelConfig, load_weights
from dstadapter_jax.pretrained.initialization import init_model

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "tiny_model.npz")
META = json.loads(str(GOLDEN["meta/json"]))
SIZES = (
    *("input_resolution", "num_frames", "patch_size", "width", "layers", "heads", "num_classes"),
)


def load_golden_model() -> DSTAdapter:
    """The model with the reference's initial weights, without dropout."""
    cfg = ModelConfig(**{name: META[name] for name in SIZES}, dropout=0.0)
    model = init_model(cfg, seed=0)
    load_weights(model, {k[6:]: GOLDEN[k] for k in GOLDEN.files if k.startswith("state/")})
    return model
