import pytest

from dstadapter_jax.benchmark import program
from dstadapter_jax.models.config import ModelConfig

SIZES = {"input_resolution": 96, "num_frames": 3, "width": 64, "layers": 4, "heads": 4}


@pytest.fixture
def tiny_models(monkeypatch):
    def make_config(num_classes, **changes):
        return ModelConfig(num_classes=num_classes, dropout=0.0, **SIZES | changes)

    monkeypatch.setitem(program.MODELS, "vit_b16", make_config)
