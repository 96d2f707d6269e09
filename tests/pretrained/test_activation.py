"""The activation of a backbone: found in published configs, and computed as other libraries do."""

import json

import numpy as np
import pytest
from flax import nnx

from configs import common
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.activation import find_activation, resolve_activation
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.names import CHECKPOINT_FORMATS
from dstadapter_jax.pretrained.sources import WeightsError
from dstadapter_jax.pretrained.weight_table import axis_size, is_adapter_weight, reference_axes
from tests.helpers.errors import raises
from tests.helpers.weights import FILES

TOWER = {"input_resolution": 8, "patch_size": 4, "width": 16, "layers": 2, "heads": 2}


@pytest.fixture(scope="module")
def towers():
    with np.load(FILES / "towers.npz") as file:
        return dict(file)


@pytest.mark.parametrize("library", ["open_clip", "timm", "transformers"])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_tower_of_another_library_gives_its_features(towers, library, activation):
    prefix = f"{library}_{activation}/weights/"
    weights = {n.removeprefix(prefix): a for n, a in towers.items() if n.startswith(prefix)}
    cfg = ModelConfig(num_classes=2, num_frames=2, activation=activation, **TOWER)
    model = DSTAdapter(cfg, rngs=nnx.Rngs(0))
    load_weights(model, weights)
    # Adapters are the identity, and the temporal embedding is 0, before training.
    image = towers[f"{library}_{activation}/image"]
    found = model.features(np.broadcast_to(image, (1, 2, 8, 8, 3)))[0]
    expected = towers[f"{library}_{activation}/feature"]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    other = towers[f"{library}_{'gelu' if activation == 'quick_gelu' else 'quick_gelu'}/feature"]
    assert np.abs(expected - other).max() > 1e-3, "the activations differ visibly"


SIZES = {
    "ViT-B-32": ModelConfig.vit_b32,
    "ViT-B-16": ModelConfig.vit_b16,
    "ViT-L-14": ModelConfig.vit_l14,
    "ViT-L-14-336": ModelConfig.vit_l14_336,
    "ViT-H-14": ModelConfig.vit_h14,
}


@pytest.mark.parametrize("name", SIZES)
def test_named_sizes_are_those_of_open_clip(name):
    expected = json.loads((FILES / "sizes.json").read_text())[name]
    cfg = SIZES[name](num_classes=2)
    assert (cfg.layers, cfg.heads) == (expected["layers"], expected["heads"])
    openai = next(known for known in CHECKPOINT_FORMATS if known.prefix == "visual.")
    ours = {
        openai.sources(name)[0].replace("resblocks.0.", "resblocks.{i}."): [
            axis_size(axis, cfg) for axis in axes
        ]
        for name, axes in reference_axes(cfg).items()
        if not is_adapter_weight(name) and ("resblocks" not in name or "resblocks.0." in name)
    }
    theirs = {n: shape for n, shape in expected["shapes"].items() if n != "visual.proj"}
    assert ours == theirs


CONFIGS = {
    "open_clip quick": ("open_clip_config.json", {"model_cfg": {"quick_gelu": True}}, "quick_gelu"),
    "open_clip": ("open_clip_config.json", {"model_cfg": {"vision_cfg": {}}}, "gelu"),
    "open_clip model": ("config.json", {"vision_cfg": {}, "quick_gelu": True}, "quick_gelu"),
    "transformers": ("config.json", {"vision_config": {"hidden_act": "gelu"}}, "gelu"),
    "transformers tower": (
        "config.json",
        {"model_type": "clip_vision_model", "hidden_act": "quick_gelu"},
        "quick_gelu",
    ),
    "transformers default": (
        "config.json",
        {"model_type": "clip", "vision_config": {"patch_size": 16}},
        "quick_gelu",
    ),
    "timm quickgelu": (
        "config.json",
        {"architecture": "vit_base_patch16_clip_quickgelu_224"},
        "quick_gelu",
    ),
    "timm openai": (
        "config.json",
        {"architecture": "vit_base_patch16_clip_224", "pretrained_cfg": {"tag": "openai"}},
        "quick_gelu",
    ),
    "timm laion": (
        "config.json",
        {"architecture": "vit_base_patch16_clip_224", "pretrained_cfg": {"tag": "laion2b"}},
        "gelu",
    ),
    "other config": ("config.json", {"model_type": "bert", "layers": 3}, ""),
    "a list": ("config.json", [1, 2], ""),
}


@pytest.mark.parametrize(("file", "config", "expected"), CONFIGS.values(), ids=CONFIGS)
def test_find_activation_beside_a_file(tmp_path, file, config, expected):
    (tmp_path / file).write_text(json.dumps(config))
    assert find_activation(str(tmp_path / "model.safetensors")) == expected


def test_find_activation_prefers_the_config_of_open_clip(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_clip_224"}')
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')
    assert find_activation(str(tmp_path / "model.safetensors")) == "quick_gelu"


def test_find_activation_that_the_model_lacks_raises(tmp_path):
    (tmp_path / "config.json").write_text('{"vision_config": {"hidden_act": "gelu_new"}}')
    with raises(WeightsError, where="config.json", found="gelu_new"):
        find_activation(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_find_activation_ignores_a_damaged_config(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    assert find_activation(str(tmp_path / "model.safetensors")) == ""


@pytest.mark.parametrize(
    ("given", "stated", "expected", "warns"),
    [
        ("", "gelu", "gelu", False),
        ("", "", "quick_gelu", True),
        ("gelu", "", "gelu", False),
        ("gelu", "quick_gelu", "gelu", True),
    ],
)
def test_resolve_activation(tmp_path, caplog, given, stated, expected, warns):
    config = common.get_config()
    config.model.activation, config.pretrained = given, str(tmp_path / "model.safetensors")
    if stated:
        text = json.dumps({"vision_config": {"hidden_act": stated}})
        (tmp_path / "config.json").write_text(text)
    resolve_activation(config)
    assert config.model.activation == expected
    assert bool(caplog.records) == warns
    config.pretrained = config.model.activation = ""
    resolve_activation(config)
    assert config.model.activation == "quick_gelu"


def test_find_activation_of_openai_s_repositories_needs_no_network():
    for source in ("hf:openai/clip-vit-large-patch14", "hf:timm/vit_base_patch16_clip_224.openai"):
        assert find_activation(source) == "quick_gelu"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """The folder of a repository, OWNER/REPO, in the hub's cache; there is no network."""
    folder = tmp_path / "models--owner--repo" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def test_find_activation_reads_the_configs_of_a_repository(snapshot):
    (snapshot / "sub").mkdir()
    (snapshot / "config.json").write_text('{"hidden_act": "quick_gelu"}')
    (snapshot / "sub" / "config.json").write_text('{"vision_config": {"hidden_act": "gelu"}}')
    assert find_activation("hf:owner/repo", COMMIT) == "quick_gelu"
    assert find_activation("hf:owner/repo/sub/model.safetensors", COMMIT) == "gelu"


def test_find_activation_without_network_says_so(snapshot, caplog):
    assert find_activation("hf:owner/repo", COMMIT) == ""
    assert all("can't be fetched" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 2
