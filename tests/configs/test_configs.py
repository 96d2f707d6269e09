"""Shipped configs equal the reference's recipe and are locked."""

import importlib
import pathlib

import pytest

from dstadapter_jax.data.preprocess import preprocess_config
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.activation import resolve_activation

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
#             classes, epochs, rate, clips per device, width
RECIPE = {
    "include_vitb": (263, 100, 1e-3, 16, 768),
    "include_vitl": (263, 100, 5e-4, 8, 1024),
    "autsl_vitb": (226, 150, 8e-4, 16, 768),
    "autsl_vitl": (226, 150, 8e-4, 8, 1024),
    "bukva_vitb": (33, 100, 1e-3, 16, 768),
    "bukva_vitl": (33, 100, 1e-3, 8, 1024),
    "lsa64_vitb": (64, 30, 1e-3, 16, 768),
    "lsa64_vitl": (64, 50, 1e-3, 8, 1024),
}
ALL = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem not in ("__init__", "common"))


def load(name):
    return importlib.import_module(f"configs.{name}").get_config()


@pytest.mark.parametrize("name", RECIPE)
def test_get_config_equals_the_recipe(name):
    config = load(name)
    found = (
        config.model.num_classes,
        config.num_epochs,
        config.optimizer.learning_rate,
        config.batch_size,
        config.model.width,
    )
    assert found == RECIPE[name]
    assert config.optimizer.weight_decay == 0.01
    assert (config.validate_every_epochs, config.validate_last_epochs) == (5, 10)
    assert config.tune == "adapter"


@pytest.mark.parametrize("name", ALL)
def test_get_config_is_valid_and_locked(name):
    config = load(name)
    resolve_activation(config)  # of OpenAI's weights: needs no network
    ModelConfig(**config.model)
    preprocess_config(config)
    for section in (config, config.model, config.optimizer, config.data, config.preprocess):
        with pytest.raises(AttributeError):
            section.learning_rte = 1


@pytest.mark.parametrize("name", ALL)
def test_config_docstring_has_its_command(name):
    assert f"configs/{name}.py" in importlib.import_module(f"configs.{name}").__doc__
