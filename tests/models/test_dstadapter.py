"""The model against the reference's golden figures and an independent NumPy forward pass."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax.models.config import REMAT_POLICIES, ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.pretrained.loading import dump_weights, load_weights

# The reference is PyTorch in float32: about ten roundings of values of order one.
ATOL = 2e-5


def layer_norm(x, weights, name):
    centerd = x - x.mean(-1, keepdims=True)
    normed = centerd / np.sqrt((centerd**2).mean(-1, keepdims=True) + 1e-5)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def convolved(h, weights, name):
    """Depthwise, zero padding; h is `(b, t, y, x, c)`; one output position at a time."""
    kernel = weights[f"{name}.weight"][:, 0]  # (c, kt, kh, kw)
    half = [side // 2 for side in kernel.shape[1:]]
    out = np.zeros_like(h) + weights[f"{name}.bias"]
    for position in np.ndindex(h.shape[1:4]):
        for tap in np.ndindex(kernel.shape[1:]):
            t, y, x = (p + k - s for p, k, s in zip(position, tap, half, strict=True))
            if 0 <= t < h.shape[1] and 0 <= y < h.shape[2] and 0 <= x < h.shape[3]:
                out[(slice(None), *position)] += kernel[(slice(None), *tap)] * h[:, t, y, x]
    return out


def adapted(x, weights, name, cfg):
    batch = len(x) // cfg.num_frames
    h = linear(x[:, 1:], weights, f"{name}.fc1")
    h = h.reshape(batch, cfg.num_frames, cfg.grid, cfg.grid, -1)
    h = linear(convolved(h, weights, f"{name}.conv"), weights, f"{name}.fc2")
    squeezed = np.maximum(h.mean((1, 2, 3)) @ weights[f"{name}.caf.fc.0.weight"].T, 0)
    gate = sigmoid(squeezed @ weights[f"{name}.caf.fc.2.weight"].T)
    h = h * gate[:, None, None, None]
    return np.concatenate([x[:, :1], x[:, 1:] + h.reshape(len(x), -1, cfg.width)], axis=1)


def attention(x, weights, name, heads):
    joint = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
    query, key, value = np.split(joint, 3, axis=-1)
    size = x.shape[-1] // heads
    out = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = query[..., part] @ key[..., part].swapaxes(1, 2) / np.sqrt(size)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        out[..., part] = scores / scores.sum(-1, keepdims=True) @ value[..., part]
    return linear(out, weights, f"{name}.out_proj")


def embedded(clips, weights, cfg):
    p, frames = cfg.patch_size, clips.reshape(-1, *clips.shape[2:])
    patches = [
        np.einsum("fyxc,dcyx->fd", frames[:, y : y + p, x : x + p], weights["conv1.weight"])
        for y in range(0, cfg.input_resolution, p)
        for x in range(0, cfg.input_resolution, p)
    ]
    token = np.broadcast_to(weights["class_embedding"], (len(frames), cfg.width))
    x = np.stack([token, *patches], axis=1) + weights["positional_embedding"]
    times = np.tile(weights["temporal_embedding"][0], (len(clips), 1))
    return layer_norm(x + times[:, None], weights, "ln_pre")


def numpy_logits(weights, clips, cfg, adapters=True):
    """The whole forward pass in float64, every token to the end, in the reference's names."""
    head = {name: array.astype(np.float64) for name, array in weights.items()}
    weights = {name.removeprefix("backbone."): array for name, array in head.items()}
    x = embedded(clips.astype(np.float64), weights, cfg)
    for i in range(cfg.layers):
        block = f"transformer.resblocks.{i}"
        if adapters:
            x = adapted(x, weights, f"{block}.t_adapter", cfg)
        y = attention(layer_norm(x, weights, f"{block}.ln_1"), weights, f"{block}.attn", cfg.heads)
        x = x + (adapted(y, weights, f"{block}.s_adapter", cfg) if adapters else y)
        h = linear(layer_norm(x, weights, f"{block}.ln_2"), weights, f"{block}.mlp.c_fc")
        x = x + linear(h * sigmoid(1.702 * h), weights, f"{block}.mlp.c_proj")
    tokens = layer_norm(x, weights, "ln_post")[:, 0]
    features = tokens.reshape(len(clips), cfg.num_frames, -1).mean(1)
    return linear(features, weights, "cls_head.fc_cls")


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "tiny_model.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def tiny(golden):
    return loaded_model(golden)


@pytest.fixture(scope="module")
def tiny_gradients(golden, tiny):
    return loss_and_gradients(tiny, clips_of(golden), golden["input/label"])


@pytest.fixture(scope="module")
def fresh():
    """As initialized, wide enough for statistics."""
    return init_model(small_config(width=256, layers=3, num_classes=40), seed=0)


def blank_model(cfg):
    """All weights zero: drawing initial ones costs seconds of compilation."""
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0))))
    return nnx.merge(
        graphdef, jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), shapes)
    )


def loaded_model(golden, **changes):
    """The golden model, of the sizes stored beside the figures."""
    meta = json.loads(str(golden["meta/json"]))
    sizes = {field.name for field in dataclasses.fields(ModelConfig)} & set(meta)
    model = blank_model(ModelConfig(**{name: meta[name] for name in sizes}, **changes))
    load_weights(model, golden_part(golden, "state/"))
    return model


def golden_part(golden, prefix):
    return {key.removeprefix(prefix): golden[key] for key in golden if key.startswith(prefix)}


def clips_of(golden):
    return golden["input/clip_ncthw"].transpose(0, 2, 3, 4, 1)


def compiled(model, clips):
    """Logits by one compiled call."""
    graphdef, state = nnx.split(model)
    return np.asarray(jax.jit(lambda state, x: nnx.merge(graphdef, state)(x))(state, clips))


def loss_and_gradients(model, clips, labels):
    """Cross-entropy and the gradients of all weights under the reference's names."""
    graphdef, state = nnx.split(model)

    def loss(state):
        scores = jax.nn.log_softmax(nnx.merge(graphdef, state)(clips))
        return -scores[jnp.arange(len(labels)), labels].mean()

    value, gradients = jax.jit(jax.value_and_grad(loss))(state)
    return value, dump_weights(nnx.merge(graphdef, gradients))


def weights_of_block(model, index):
    if index == model.cfg.layers - 1:
        return nnx.state(model.last_block)
    return jax.tree.map(lambda leaf: leaf[index], nnx.state(model.blocks))


def small_config(**changes):
    """A shape that no golden figure has: 5 frames of 48 x 48, 2 layers."""
    sizes = {"num_classes": 3, "input_resolution": 48, "num_frames": 5, "patch_size": 16}
    return ModelConfig(**sizes | {"width": 32, "layers": 2, "heads": 4} | changes)


def random_weights(model, seed=0):
    """Weights that make every part count: gates off one half, convolutions off zero."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(scale=0.3, size=array.shape).astype(np.float32)
        for name, array in dump_weights(model).items()
    }


def random_clips(cfg, batch=2, seed=1):
    shape = (batch, cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.exact
def test_blocks_and_adapters_equal_the_reference(golden, tiny):
    x = jax.jit(tiny.embed)(clips_of(golden))
    graphdef = nnx.graphdef(tiny.last_block)

    @jax.jit
    def stages(weights, x):
        block = nnx.merge(graphdef, weights)
        temporal = block.t_adapter(x)
        spatial = block.s_adapter(block.attn(block.ln_1(temporal)))
        return {".t_adapter": temporal, ".s_adapter": spatial, "": block(x)}, block.class_token(x)

    for index in range(tiny.cfg.layers):
        outputs, token = stages(weights_of_block(tiny, index), x)
        for stage, output in outputs.items():
            name = f"act_ntokens_bt/block{index}{stage}"
            np.testing.assert_allclose(output, golden[name], rtol=0, atol=ATOL, err_msg=name)
        np.testing.assert_allclose(token, outputs[""][:, :1], rtol=0, atol=ATOL)
        x = outputs[""]


@pytest.mark.exact
def test_features_logits_and_loss_equal_the_reference(golden, tiny, tiny_gradients):
    clips, loss = clips_of(golden), tiny_gradients[0]
    features = golden["output/feature_nct"].mean(-1)
    np.testing.assert_allclose(jax.jit(tiny.features)(clips), features, rtol=0, atol=ATOL)
    np.testing.assert_allclose(compiled(tiny, clips), golden["output/logits"], rtol=0, atol=ATOL)
    np.testing.assert_allclose(loss, golden["output/loss"], rtol=0, atol=ATOL)


@pytest.mark.exact
def test_every_trainable_gradient_equals_the_reference(golden, tiny_gradients):
    gradients = tiny_gradients[1]
    expected = golden_part(golden, "grad/")
    assert set(expected) == set(json.loads(str(golden["meta/json"]))["trainable"])
    for name, gradient in expected.items():
        atol = 1e-5 * np.abs(gradient).max()  # zero where the reference has zeros alone
        np.testing.assert_allclose(gradients[name], gradient, rtol=0, atol=atol, err_msg=name)
    unreachable = [name for name, gradient in expected.items() if not gradient.any()]
    assert unreachable == [name for name in expected if "resblocks.2.s_adapter" in name]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patch_size": 8, "spatial_kernel": (1, 3, 3)},
        {"num_frames": 1},
        {"layers": 3, "heads": 1, "num_frames": 2, "input_resolution": 16},
    ],
)
def test_other_shapes_equal_a_plain_numpy_forward(changes):
    cfg = small_config(**changes)
    model = blank_model(cfg)
    weights, clips = random_weights(model), random_clips(cfg)
    load_weights(model, weights)
    expected = numpy_logits(weights, clips, cfg)
    np.testing.assert_allclose(compiled(model, clips), expected, rtol=0, atol=ATOL)
    # The figure is not of the backbone alone, and differs by clip.
    assert np.abs(numpy_logits(weights, clips, cfg, adapters=False) - expected).max() > 100 * ATOL
    assert np.abs(expected[0] - expected[1]).max() > 100 * ATOL


@pytest.mark.exact
def test_numpy_forward_equals_the_reference(golden, tiny):
    logits = numpy_logits(golden_part(golden, "state/"), clips_of(golden), tiny.cfg)
    np.testing.assert_allclose(logits, golden["output/logits"], rtol=0, atol=ATOL)


@pytest.mark.parametrize(
    ("make", "backbone", "trainable"),
    [(ModelConfig.vit_b16, 89_367_552, 3_569_664), (ModelConfig.vit_l14, 315_832_320, 12_654_592)],
)
def test_parameter_counts(make, backbone, trainable):
    model = nnx.eval_shape(lambda: DSTAdapter(make(num_classes=226), rngs=nnx.Rngs(0)))
    sizes = {path: v.get_value().size for path, v in nnx.to_flat_state(nnx.state(model))}
    added = ("t_adapter", "s_adapter", "temporal_embedding", "ln_post")
    head = sum(size for path, size in sizes.items() if path[0] == "head")
    assert head == 226 * (model.cfg.width + 1)
    assert sum(sizes.values()) - head == backbone
    assert sum(n for path, n in sizes.items() if any(part in path for part in added)) == trainable


def test_fresh_model_is_the_frozen_backbone_averaged_over_frames(fresh):
    clips = random_clips(fresh.cfg)
    expected = numpy_logits(dump_weights(fresh), clips, fresh.cfg, adapters=False)
    assert expected.std() > 0.1
    np.testing.assert_allclose(compiled(fresh, clips), expected, rtol=0, atol=2e-6)


def test_initial_values_have_the_reference_statistics(fresh):
    weights = dump_weights(fresh)
    drawn = {name: array for name, array in weights.items() if is_drawn(name)}
    assert len(drawn) == 2 * 3 * 4 + 1
    for name, array in drawn.items():
        deviation = 0.01 if name.startswith("cls_head") else 0.02
        # 4096 values at least: a sample's deviation is off by 1.1 %, five times that is allowed.
        assert array.std() == pytest.approx(deviation, rel=0.055), name
        assert abs(array.mean()) < 5 * deviation / np.sqrt(array.size), name
    assert len({array.tobytes() for array in drawn.values()}) == len(drawn)  # layers draw apart
    zero = [name for name, array in weights.items() if not array.any()]
    assert zero == [
        name
        for name in weights
        if name.endswith(("bias", "temporal_embedding")) or "adapter.conv" in name
    ]


def is_drawn(name):
    """Whether the reference states a weight's initial deviation: linear layers beyond CLIP's."""
    return ("adapter" in name or "cls_head" in name) and name.endswith(
        ("fc1.weight", "fc2.weight", "fc.0.weight", "fc.2.weight", "fc_cls.weight")
    )


@pytest.mark.parametrize("policy", sorted(set(REMAT_POLICIES) - {ModelConfig.remat}))
def test_remat_gives_the_same_loss_and_gradients(golden, tiny_gradients, policy):
    model = loaded_model(golden, remat=policy)
    loss, gradients = loss_and_gradients(model, clips_of(golden), golden["input/label"])
    np.testing.assert_allclose(loss, tiny_gradients[0], rtol=1e-6)
    for name, expected in tiny_gradients[1].items():
        # The same operations, fused otherwise by the compiler.
        atol = 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=atol, err_msg=name)


def test_remat_holds_less(golden):
    def temporary_bytes(policy):
        model = nnx.eval_shape(
            lambda: DSTAdapter(
                ModelConfig(num_classes=7, layers=8, heads=4, width=64, remat=policy),
                rngs=nnx.Rngs(0),
            )
        )
        graphdef, state = nnx.split(model)
        clips = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)

        def loss(state, clips):
            return nnx.merge(graphdef, state)(clips).sum()

        compiled = jax.jit(jax.grad(loss)).lower(state, clips).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    none, selective, full = map(temporary_bytes, ("none", "selective", "full"))
    assert full < selective < none / 2


def test_bfloat16_rounds_but_keeps_weights_and_logits_in_float32(golden):
    model = loaded_model(golden, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}
    logits = compiled(model, clips_of(golden))
    assert logits.dtype == jnp.float32
    error = np.abs(np.asarray(logits) - golden["output/logits"]).max()
    # 8 bits of mantissa: each of some forty roundings on the way is off by up to 2**-9 of a value
    # of order one, at random: 2**-9 * sqrt(40) = 0.012. Below 1e-5 nothing would have been rounded.
    assert 1e-5 < error < 0.02


def test_jit_equals_eager(golden, tiny):
    clips = clips_of(golden)
    # Fused operations round less often.
    np.testing.assert_allclose(compiled(tiny, clips), tiny(clips), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_strict_promotion(dtype):
    cfg = small_config(dtype=dtype, spatial_kernel=(1, 3, 3))
    with jax.numpy_dtype_promotion("strict"):
        graphdef, state = nnx.split(blank_model(cfg))

        def total(state, clips, key):
            return nnx.merge(graphdef, state)(clips, train=True, key=key).sum()

        # Promotion is settled where a function is traced.
        gradients = jax.eval_shape(jax.grad(total), state, random_clips(cfg), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}


def test_dropout_keeps_the_mean_and_differs_by_key():
    cfg = small_config(dropout=0.4, num_frames=1)
    model, clips = blank_model(cfg), random_clips(cfg)
    load_weights(model, random_weights(model))
    keys = jax.random.split(jax.random.key(0), 2000)

    def logits(key):
        return model(clips, train=True, key=key)

    draws = np.asarray(jax.jit(jax.vmap(logits))(keys))
    standard_error = draws.std(0) / np.sqrt(len(keys))
    assert (standard_error > 1e-4).all()
    assert (np.abs(draws.mean(0) - compiled(model, clips)) < 5 * standard_error).all()
    assert len({draw.tobytes() for draw in draws}) == len(keys)
    again = jax.jit(logits)(keys[7])
    np.testing.assert_allclose(again, draws[7], rtol=0, atol=1e-6)


def test_dropout_asks_for_a_key():
    cfg = small_config()
    with pytest.raises(ValueError, match=r"key=jax\.random\.key"):
        jax.eval_shape(lambda: blank_model(cfg)(random_clips(cfg), train=True))
    without = small_config(dropout=0.0)
    jax.eval_shape(lambda: blank_model(without)(random_clips(cfg), train=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, r"model\.num_classes.*at least 1, found 0"),
        ({"layers": 1}, r"model\.layers: expected at least 2, found 1"),
        ({"input_resolution": 50}, r"model\.input_resolution.*patch_size = 16.*found 50"),
        ({"heads": 5}, r"model\.width.*model\.heads=5.*found 32"),
        ({"heads": 0}, r"model\.heads=0"),
        ({"width": 8, "heads": 1}, r"model\.width.*16.*found 8"),
        ({"spatial_kernel": (3, 3, 3)}, r"model\.spatial_kernel.*\(1, 3, 3\).*found \(3, 3, 3\)"),
        ({"dropout": 1.0}, r"model\.dropout.*found 1\.0"),
        ({"dtype": "float16"}, r"model\.dtype.*bfloat16.*found 'float16'"),
        ({"remat": "all"}, r"model\.remat.*selective.*found 'all'"),
    ],
)
def test_config_errors_name_the_field(changes, message):
    with pytest.raises(ValueError, match=message):
        small_config(**changes)


@pytest.mark.parametrize(
    "shape", [(5, 48, 48, 3), (1, 4, 48, 48, 3), (1, 5, 48, 32, 3), (1, 3, 5, 48, 48)]
)
def test_wrong_clip_shapes_are_refused(shape):
    model = blank_model(small_config())
    with pytest.raises(ValueError, match=r"expected shape .* \(batch, 5, 48, 48, 3\), found \("):
        model(np.zeros(shape, np.float32))
