"""The network of `models/dstadapter.py` as an ONNX graph.

The graph has standard operators of a widely supported opset only. All sizes except the batch are
constants, so no shapes are computed at run time. Layers are unrolled.
"""

from typing import Any

import jax
import numpy as np
import onnx
from flax import nnx
from onnx import TensorProto, helper, numpy_helper

from dstadapter_jax.data.normalization import IMAGE_MEAN, IMAGE_STD
from dstadapter_jax.export.manifest import INPUT, OUTPUT
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter

OPSET = 17  # the first with LayerNormalization, of 2022

Weights = dict[str, Any]  # nested, arrays as leaves


class Graph:
    """Operators and constants in order of creation."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(
        self, op: str, *inputs: str | np.ndarray, name: str = "", **attributes: Any
    ) -> str:
        """Add an operator and return the name of its output; array inputs become constants."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = name or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [name], name, **attributes))
        return name

    def _constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape; 0 keeps a size, -1 is inferred."""
        return self("Reshape", x, np.array(shape))

    def pad(self, x: str, before: list[int], after: list[int]) -> str:
        """Pad each axis with zeros on both ends."""
        return self("Pad", x, np.array(before + after))

    def slice(self, x: str, starts: list[int], ends: list[int], axes: list[int]) -> str:
        """Slice from `starts` to `ends` along `axes`."""
        return self("Slice", x, np.array(starts), np.array(ends), np.array(axes))

    def linear(self, x: str, weights: Weights) -> str:
        """Linear layer, `… i -> … o`."""
        x = self("MatMul", x, weights["kernel"])
        return self("Add", x, weights["bias"]) if "bias" in weights else x

    def layer_norm(self, x: str, weights: Weights) -> str:
        """Layer normalization over the last axis."""
        return self("LayerNormalization", x, weights["scale"], weights["bias"], epsilon=1e-5)


def onnx_model(model: DSTAdapter) -> onnx.ModelProto:
    """Convert a model: uint8 views `(b, t, h, w, 3)` to float32 probabilities `(b, classes)`."""
    cfg, graph = model.cfg, Graph()
    weights = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    x = _embed(graph, cfg, weights)
    for layer in range(cfg.layers - 1):
        x = _block(graph, cfg, jax.tree.map(lambda stack, i=layer: stack[i], weights["blocks"]), x)
    x = _last_block(graph, cfg, weights["last_block"], x)
    x = graph.reshape(graph.layer_norm(x, weights["ln_post"]), -1, cfg.num_frames, cfg.width)
    logits = graph.linear(graph("ReduceMean", x, axes=[1], keepdims=0), weights["head"])
    graph("Softmax", logits, axis=-1, name=OUTPUT)
    views = ("batch", cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "DSTAdapter",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, views)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ("batch", cfg.num_classes))],
            graph.constants,
        ),
        producer_name="dstadapter_jax",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,  # of the opset's release: older runtimes refuse newer versions
    )


def _embed(graph: Graph, cfg: ModelConfig, weights: Weights) -> str:
    """Embed views for the first block, `(b t) n d`."""
    side, patch, width = cfg.input_resolution, cfg.patch_size, cfg.width
    x = graph("Sub", graph("Cast", INPUT, to=TensorProto.FLOAT), IMAGE_MEAN)
    x = graph.reshape(graph("Div", x, IMAGE_STD), -1, side, side, 3)
    kernel = weights["patch_embed"]["kernel"].reshape(patch, patch, 3, width).transpose(3, 2, 0, 1)
    # A convolution: patches by reshaping need seven axes, more than some runtimes support.
    x = graph("Conv", graph("Transpose", x, perm=[0, 3, 1, 2]), kernel, strides=[patch, patch])
    x = graph("Transpose", graph.reshape(x, -1, width, cfg.grid**2), perm=[0, 2, 1])
    positions = weights["positional_embedding"].copy()
    positions[0] += weights["class_embedding"]
    x = graph("Add", _prepend_class_token(graph, x), positions)
    x = graph.reshape(x, -1, cfg.num_frames, *positions.shape)
    x = graph("Add", x, weights["temporal_embedding"][:, None])
    return graph.layer_norm(graph.reshape(x, -1, *positions.shape), weights["ln_pre"])


def _prepend_class_token(graph: Graph, patches: str) -> str:
    """Prepend zeros for the class token to `(b t) (h w) d`."""
    return graph.pad(patches, [0, 1, 0], [0, 0, 0])


def _block(graph: Graph, cfg: ModelConfig, weights: Weights, x: str) -> str:
    x = _adapter(graph, cfg, weights["t_adapter"], x)
    normed = graph.layer_norm(x, weights["ln_1"])
    mixed = _attention(graph, cfg, weights["attn"], normed, normed)
    x = graph("Add", x, _adapter(graph, cfg, weights["s_adapter"], mixed))
    return _mlp(graph, cfg, weights, x)


def _last_block(graph: Graph, cfg: ModelConfig, weights: Weights, x: str) -> str:
    """Block for the class tokens only, which the spatial adapter does not change."""
    x = _adapter(graph, cfg, weights["t_adapter"], x)
    normed = graph.layer_norm(x, weights["ln_1"])
    x, queries = (graph.slice(tokens, [0], [1], axes=[1]) for tokens in (x, normed))
    mixed = _attention(graph, cfg, weights["attn"], queries, normed)
    return _mlp(graph, cfg, weights, graph("Add", x, mixed))


def _adapter(graph: Graph, cfg: ModelConfig, weights: Weights, x: str) -> str:
    patches, sides = cfg.grid**2, (cfg.num_frames, cfg.grid, cfg.grid)
    h = graph.linear(graph.slice(x, [1], [1 + patches], axes=[1]), weights["fc1"])
    h = graph.reshape(h, -1, *sides, cfg.bottleneck)
    h = _depthwise_conv(graph, h, sides, weights["conv_kernel"], weights["conv_bias"])
    h = graph.linear(h, weights["fc2"])
    g = graph("ReduceMean", h, axes=[1, 2, 3])
    g = graph("Relu", graph.linear(g, weights["gate"]["fc1"]))
    h = graph("Mul", h, graph("Sigmoid", graph.linear(g, weights["gate"]["fc2"])))
    return graph("Add", x, _prepend_class_token(graph, graph.reshape(h, -1, patches, cfg.width)))


def _depthwise_conv(
    graph: Graph, x: str, sides: tuple[int, ...], kernel: np.ndarray, bias: np.ndarray
) -> str:
    """Depthwise convolution by shifted multiply-adds over three axes of sizes `sides`."""
    margins = [0, *(side // 2 for side in kernel.shape[:3]), 0]
    padded, taps = graph.pad(x, margins, margins), []
    for offset in np.ndindex(kernel.shape[:3]):
        ends = [start + side for start, side in zip(offset, sides, strict=True)]
        tap = graph.slice(padded, list(offset), ends, axes=[1, 2, 3])
        taps.append(graph("Mul", tap, kernel[offset]))
    return graph("Sum", *taps, bias)


def _attention(graph: Graph, cfg: ModelConfig, weights: Weights, queries: str, x: str) -> str:
    """Attention of query tokens `f q d` to all tokens `f n d` -> `f q d`."""
    side = cfg.width // cfg.heads
    kernels = np.split(weights["key_value"]["kernel"], 2, axis=1)
    biases = np.split(weights["key_value"]["bias"], 2)
    key, value = ({"kernel": k, "bias": b} for k, b in zip(kernels, biases, strict=True))

    def heads(tokens: str, projection: Weights, *perm: int) -> str:
        split = graph.reshape(graph.linear(tokens, projection), 0, 0, cfg.heads, side)
        return graph("Transpose", split, perm=perm)

    scale = np.array(side**-0.5, np.float32)
    query = graph("Mul", heads(queries, weights["query"], 0, 2, 1, 3), scale)
    scores = graph("MatMul", query, heads(x, key, 0, 2, 3, 1))
    mixed = graph("MatMul", graph("Softmax", scores, axis=-1), heads(x, value, 0, 2, 1, 3))
    mixed = graph.reshape(graph("Transpose", mixed, perm=[0, 2, 1, 3]), 0, 0, cfg.width)
    return graph.linear(mixed, weights["out"])


def _mlp(graph: Graph, cfg: ModelConfig, weights: Weights, x: str) -> str:
    """MLP with residual connection."""
    h = graph.linear(graph.layer_norm(x, weights["ln_2"]), weights["mlp"]["fc1"])
    h = _activation(graph, cfg, h)
    return graph("Add", x, graph.linear(h, weights["mlp"]["fc2"]))


def _activation(graph: Graph, cfg: ModelConfig, h: str) -> str:
    if cfg.activation == "quick_gelu":
        return graph("Mul", h, graph("Sigmoid", graph("Mul", h, np.array(1.702, np.float32))))
    half = graph("Mul", h, np.array(0.5, np.float32))
    erf = graph("Erf", graph("Mul", h, np.array(0.5**0.5, np.float32)))
    return graph("Mul", half, graph("Add", erf, np.array(1, np.float32)))
