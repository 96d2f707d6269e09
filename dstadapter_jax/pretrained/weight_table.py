"""The table from the reference's parameters to this model's, and conversion in both directions."""

import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from dstadapter_jax.models.config import ModelConfig


class Layout(NamedTuple):
    """A lossless change of axes between the reference's arrays and this model's."""

    from_reference: Callable[[np.ndarray], np.ndarray]
    to_reference: Callable[[np.ndarray], np.ndarray]


def _patches_to_conv(kernel: np.ndarray) -> np.ndarray:
    side = math.isqrt(len(kernel) // 3)
    return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


SAME = Layout(lambda w: w, lambda w: w)
TRANSPOSED = Layout(lambda w: w.T, lambda w: w.T)  # (out, in) <-> (in, out)
BATCH_AXIS = Layout(lambda w: w[0], lambda w: w[None])
# (d, 3, p, p) <-> (p p 3, d): patches are flattened row by row, channels last.
PATCHES = Layout(lambda w: w.transpose(2, 3, 1, 0).reshape(-1, len(w)), _patches_to_conv)
# (c, 1, t, h, w) <-> (t, h, w, c)
DEPTHWISE = Layout(lambda w: np.moveaxis(w[:, 0], 0, -1), lambda w: np.moveaxis(w, -1, 0)[:, None])


class Weight(NamedTuple):
    """One parameter of the reference and its place in this model.

    Attributes:
        reference: Reference name; `{i}` stands for the layer index.
        shape: Shape in the reference, in the letters of `AXES`.
        paths: Paths in this model. Those under `blocks` hold layers 0 to L-2 stacked; layer L-1 is
            under `last_block`. Of two paths, the first holds the first third of the reference's
            first axis (the query), the second the rest (key and value).
        layout: Conversion of axes.
    """

    reference: str
    shape: str
    paths: tuple[str, ...]
    layout: Layout


def _norm(name: str, path: str) -> list[Weight]:
    return [
        Weight(f"{name}.weight", "d", (f"{path}/scale",), SAME),
        Weight(f"{name}.bias", "d", (f"{path}/bias",), SAME),
    ]


def _linear(name: str, shape: str, path: str) -> list[Weight]:
    return [
        Weight(f"{name}.weight", shape, (f"{path}/kernel",), TRANSPOSED),
        Weight(f"{name}.bias", shape.split()[0], (f"{path}/bias",), SAME),
    ]


def _adapter(name: str, kernel: str, path: str) -> list[Weight]:
    return [
        *_linear(f"{name}.fc1", "r d", f"{path}/fc1"),
        Weight(f"{name}.conv.weight", f"r 1 {kernel}", (f"{path}/conv_kernel",), DEPTHWISE),
        Weight(f"{name}.conv.bias", "r", (f"{path}/conv_bias",), SAME),
        *_linear(f"{name}.fc2", "d r", f"{path}/fc2"),
        Weight(f"{name}.caf.fc.0.weight", "r d", (f"{path}/gate/fc1/kernel",), TRANSPOSED),
        Weight(f"{name}.caf.fc.2.weight", "d r", (f"{path}/gate/fc2/kernel",), TRANSPOSED),
    ]


# Letter of an axis -> its size, and the property that differs in a file of another size.
AXES: dict[str, tuple[Callable[[ModelConfig], int], str]] = {
    "d": (lambda cfg: cfg.width, "width (model.width)"),
    "3d": (lambda cfg: 3 * cfg.width, "width (model.width)"),
    "4d": (lambda cfg: 4 * cfg.width, "width (model.width)"),
    "r": (lambda cfg: cfg.bottleneck, "width (model.width)"),
    "p": (lambda cfg: cfg.patch_size, "patch size (model.patch_size)"),
    "n": (
        lambda cfg: 1 + cfg.grid**2,
        "grid of patches (model.input_resolution)",
    ),
    "t": (lambda cfg: cfg.num_frames, "number of frames (model.num_frames)"),
    "k": (lambda cfg: cfg.num_classes, "class count (model.num_classes)"),
    "kt": (lambda cfg: cfg.spatial_kernel[0], "kernel (model.spatial_kernel)"),
    "kh": (lambda cfg: cfg.spatial_kernel[1], "kernel (model.spatial_kernel)"),
    "kw": (lambda cfg: cfg.spatial_kernel[2], "kernel (model.spatial_kernel)"),
}
POSITIONS = "backbone.positional_embedding"
_BLOCK = "backbone.transformer.resblocks.{i}"

WEIGHTS: tuple[Weight, ...] = (
    Weight("backbone.class_embedding", "d", ("class_embedding",), SAME),
    Weight(POSITIONS, "n d", ("positional_embedding",), SAME),
    Weight("backbone.temporal_embedding", "1 t d", ("temporal_embedding",), BATCH_AXIS),
    Weight("backbone.conv1.weight", "d 3 p p", ("patch_embed/kernel",), PATCHES),
    *_norm("backbone.ln_pre", "ln_pre"),
    Weight(
        f"{_BLOCK}.attn.in_proj_weight",
        "3d d",
        ("blocks/attn/query/kernel", "blocks/attn/key_value/kernel"),
        TRANSPOSED,
    ),
    Weight(
        f"{_BLOCK}.attn.in_proj_bias",
        "3d",
        ("blocks/attn/query/bias", "blocks/attn/key_value/bias"),
        SAME,
    ),
    *_linear(f"{_BLOCK}.attn.out_proj", "d d", "blocks/attn/out"),
    *_norm(f"{_BLOCK}.ln_1", "blocks/ln_1"),
    *_linear(f"{_BLOCK}.mlp.c_fc", "4d d", "blocks/mlp/fc1"),
    *_linear(f"{_BLOCK}.mlp.c_proj", "d 4d", "blocks/mlp/fc2"),
    *_norm(f"{_BLOCK}.ln_2", "blocks/ln_2"),
    *_adapter(f"{_BLOCK}.t_adapter", "3 1 1", "blocks/t_adapter"),
    *_adapter(f"{_BLOCK}.s_adapter", "kt kh kw", "blocks/s_adapter"),
    *_norm("backbone.ln_post", "ln_post"),
    *_linear("cls_head.fc_cls", "k d", "head"),
)

_ADDED = re.compile(r"^cls_head\.|(^|\.)temporal_embedding$|\.[ts]_adapter\.")


def is_adapter_weight(name: str) -> bool:
    """Whether a name belongs to an adapter, the temporal embedding or the classifier."""
    return _ADDED.search(name) is not None


def reference_axes(cfg: ModelConfig) -> dict[str, tuple[str, ...]]:
    """All reference names of a model, in order, with shapes in the letters of `AXES`."""
    return {
        weight.reference.format(i=i): tuple(weight.shape.split())
        for in_block, weights in itertools.groupby(WEIGHTS, lambda w: "{i}" in w.reference)
        for i, weight in itertools.product(range(cfg.layers if in_block else 1), weights)
    }


def axis_size(axis: str, cfg: ModelConfig) -> int:
    """Length of an axis, a letter of `AXES` or a plain number."""
    return AXES[axis][0](cfg) if axis in AXES else int(axis)


def _split(weight: Weight, array: np.ndarray) -> dict[str, np.ndarray]:
    parts = np.split(array, [len(array) // 3]) if len(weight.paths) == 2 else [array]
    return {
        path: weight.layout.from_reference(part)
        for path, part in zip(weight.paths, parts, strict=True)
    }


def _join(weight: Weight, arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([weight.layout.to_reference(array) for array in arrays])


def _last_block(path: str) -> str:
    return f"last_block{path.removeprefix('blocks')}"


def to_params(reference: Mapping[str, np.ndarray], cfg: ModelConfig) -> dict[str, np.ndarray]:
    """Convert arrays from reference names to this model's paths; absent names stay absent."""
    params: dict[str, np.ndarray] = {}
    for weight in WEIGHTS:
        if weight.reference.format(i=0) not in reference:
            continue
        if "{i}" not in weight.reference:
            params |= _split(weight, reference[weight.reference])
            continue
        layers = [
            _split(weight, reference[weight.reference.format(i=i)]) for i in range(cfg.layers)
        ]
        for path in weight.paths:
            stacked = np.stack([layer[path] for layer in layers])
            params[path] = stacked[:-1]
            params[_last_block(path)] = stacked[-1]
    return params


def to_reference(params: Mapping[str, np.ndarray], cfg: ModelConfig) -> dict[str, np.ndarray]:
    """Convert arrays from this model's paths to reference names; inverse of `to_params`."""
    reference = {}
    for weight in WEIGHTS:
        if weight.paths[0] not in params:
            continue
        arrays = [params[path] for path in weight.paths]
        if "{i}" not in weight.reference:
            reference[weight.reference] = _join(weight, arrays)
            continue
        last = [params[_last_block(path)] for path in weight.paths]
        for i in range(cfg.layers):
            layer = last if i == cfg.layers - 1 else [array[i] for array in arrays]
            reference[weight.reference.format(i=i)] = _join(weight, layer)
    return {name: reference[name] for name in reference_axes(cfg) if name in reference}
