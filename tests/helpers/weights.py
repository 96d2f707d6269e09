"""Weights under the names of other libraries, weight files, and models to load them into."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.sources import WeightsError
from tests.helpers.errors import raises

# Files that other libraries wrote; the script beside them describes them.
FILES = pathlib.Path(__file__).parents[1] / "pretrained" / "files"
CHECKPOINT = FILES / "mmengine.pth"
CHECKPOINT_SIZES = {"num_classes": 3, "input_resolution": 8, "num_frames": 2, "patch_size": 4}
CHECKPOINT_SIZES |= {"width": 16, "layers": 2, "heads": 2}
SIZES = {"input_resolution": 32, "num_frames": 4, "patch_size": 8, "width": 64, "heads": 4}
ADDED = re.compile(r"_adapter\.|temporal_embedding|cls_head")


def blank_model(**changes):
    """Every weight -7, so that one that isn't loaded shows."""
    graphdef, shapes = traced(ModelConfig(**{"num_classes": 7, "layers": 3} | SIZES | changes))
    filled = jax.tree.map(lambda leaf: jnp.asarray(np.full(leaf.shape, -7, np.float32)), shapes)
    return nnx.merge(graphdef, filled)


@functools.cache
def traced(cfg):
    return nnx.split(nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0))))


def openai_visual(backbone, prefix):
    tower = {name.replace("backbone.", prefix): array for name, array in backbone.items()}
    return tower | {f"{prefix}proj": np.ones((64, 32), np.float32)}


def openai_clip(backbone):
    text = {"positional_embedding": (77, 32), "text_projection": (32, 32), "logit_scale": ()}
    text |= {"token_embedding.weight": (99, 32), "ln_final.weight": (32,), "ln_final.bias": (32,)}
    for i in range(12):
        text |= {
            f"transformer.resblocks.{i}.attn.in_proj_weight": (96, 32),
            f"transformer.resblocks.{i}.ln_1.bias": (32,),
        }
    return openai_visual(backbone, "visual.") | {
        name: np.ones(shape, np.float32) for name, shape in text.items()
    }


def hugging_face(backbone, prefix):
    tower = {"embeddings.position_ids": np.arange(17)[None]}
    for name, array in backbone.items():
        name = name.removeprefix("backbone.")
        match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(\w+)\.(.+)", name)
        if match is None:
            tower[hugging_face_top(name)] = array
            continue
        layer, module, leaf = match.groups()
        parts = {leaf: array}
        if leaf.startswith("in_proj"):
            kind = leaf.removeprefix("in_proj_")
            parts = {f"{p}_proj.{kind}": w for p, w in zip("qkv", np.split(array, 3), strict=True)}
        modules = {"attn": "self_attn", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp": "mlp"}
        for leaf, part in parts.items():
            leaf = leaf.replace("c_fc", "fc1").replace("c_proj", "fc2")
            tower[f"encoder.layers.{layer}.{modules[module]}.{leaf}"] = part
    return {prefix + name: array for name, array in tower.items()}


def hugging_face_top(name):
    kind = name.rpartition(".")[2]
    return {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
        f"ln_pre.{kind}": f"pre_layrnorm.{kind}",
        f"ln_post.{kind}": f"post_layernorm.{kind}",
    }[name]


def hugging_face_clip(backbone):
    rest = ["text_model.embeddings.position_ids", "text_model.final_layer_norm.bias"]
    rest += ["text_projection.weight", "visual_projection.weight", "logit_scale"]
    return hugging_face(backbone, "vision_model.") | dict.fromkeys(rest, np.ones(3, np.float32))


def timm(backbone):
    tower = {"head.weight": np.ones((32, 64), np.float32), "head.bias": np.ones(32, np.float32)}
    for name, array in backbone.items():
        name = name.removeprefix("backbone.")
        if name in ("class_embedding", "positional_embedding"):
            short = {"c": "cls_token", "p": "pos_embed"}[name[0]]
            tower[short] = array.reshape(1, -1, array.shape[-1])
            continue
        name = name.replace("conv1", "patch_embed.proj").replace("ln_post", "norm")
        name = name.replace("ln_pre", "norm_pre").replace("transformer.resblocks", "blocks")
        name = name.replace("ln_", "norm").replace("in_proj_", "qkv.").replace("out_proj", "proj")
        tower[name.replace("c_fc", "fc1").replace("c_proj", "fc2")] = array
    return tower


FOREIGN = {
    "reference": (lambda b: b, "reference", 0),
    "OpenAI, visual.": (lambda b: openai_visual(b, "visual."), "OpenAI CLIP", 1),
    "OpenAI, no prefix": (lambda b: openai_visual(b, ""), "OpenAI CLIP", 1),
    "OpenAI, both towers": (openai_clip, "OpenAI CLIP", 31),
    "HF, vision_model.": (lambda b: hugging_face(b, "vision_model."), "Hugging Face CLIP", 1),
    "HF, no prefix": (lambda b: hugging_face(b, ""), "Hugging Face CLIP", 1),
    "HF, both towers": (hugging_face_clip, "Hugging Face CLIP", 6),
    "timm": (timm, "timm", 2),
}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def written(path, weights):
    if path.suffix == ".npz":
        np.savez_compressed(path, **weights)
    else:
        save_file(weights, path, metadata={"format": "$(not trusted)"})
    return path


def assert_refused(path, *facts):
    with raises(WeightsError, where=str(path)) as caught:
        load_weights(blank_model(), path)
    assert all(fact in str(caught.value) for fact in facts)
    assert "\n" not in str(caught.value)


def leaves(model):
    return jax.tree.leaves(nnx.state(model))
