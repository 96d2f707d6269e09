"""Attributions against an independent roll-out in NumPy, and against what occlusion does."""

import json
import os
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.data.records import example_views
from dstadapter_jax.inference.attribution import explain
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.pretrained.loading import load_weights
from tests.helpers.errors import raises
from tests.models.test_dstadapter import (
    adapted,
    attention,
    blank_model,
    compiled,
    embedded,
    layer_norm,
    linear,
    random_weights,
    sigmoid,
    small_config,
)

STEP = 1e-30  # along the imaginary axis, where differences cost no digits


def attention_parts(x, weights, name, heads):
    """Weights `(heads, f, q, k)` and values, which `test_model.attention` keeps to itself."""
    joint = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
    query, key, value = (
        np.stack(np.split(part, heads, axis=-1)) for part in np.split(joint, 3, axis=-1)
    )
    scores = np.exp(query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]))
    return scores / scores.sum(-1, keepdims=True), value


def forward(x, weights, cfg, adapters, nudges):
    """Tokens `(b t) n d` to class tokens `b t d`, attention's weights nudged.

    Returns them, each block's input and its attention's weights.
    """
    inputs, seen = [], []
    for layer, nudge in enumerate(nudges):
        block = f"transformer.resblocks.{layer}"
        inputs.append(x)
        if adapters:
            x = adapted(x, weights, f"{block}.t_adapter", cfg)
        normed = layer_norm(x, weights, f"{block}.ln_1")
        attended, value = attention_parts(normed, weights, f"{block}.attn", cfg.heads)
        seen.append(attended)
        y = np.concatenate(list((attended + nudge) @ value), axis=-1)
        y = linear(y, weights, f"{block}.attn.out_proj")
        x = x + (adapted(y, weights, f"{block}.s_adapter", cfg) if adapters else y)
        h = linear(layer_norm(x, weights, f"{block}.ln_2"), weights, f"{block}.mlp.c_fc")
        x = x + linear(h * sigmoid(1.702 * h), weights, f"{block}.mlp.c_proj")
    tokens = layer_norm(x, weights, "ln_post")[:, 0]
    return tokens.reshape(-1, cfg.num_frames, cfg.width), inputs, seen


def gradients(x, weights, cfg, adapters, direction):
    """Gradients of the sum of contributions by each attention weight, one pass each."""
    shape = (cfg.layers, cfg.heads, len(x), x.shape[1], x.shape[1])
    entries = list(np.ndindex(shape))
    nudges = np.zeros((cfg.layers, cfg.heads, len(entries), *shape[2:]), complex)
    for row, (layer, head, *place) in enumerate(entries):
        nudges[(layer, head, row, *place)] = STEP * 1j
    nudges = nudges.reshape(cfg.layers, cfg.heads, -1, *shape[3:])
    tokens, _, _ = forward(np.tile(x, (len(entries), 1, 1)) + 0j, weights, cfg, adapters, nudges)
    return (tokens.mean(axis=1) @ direction).imag.reshape(shape) / STEP


def time_shares(x, weights, name, cfg):
    """Shares of a patch from the frame before, its own and the frame after: a list of `3 p`."""
    h = linear(x[:, 1:], weights, f"{name}.fc1")
    kernel = weights[f"{name}.conv.weight"].reshape(-1, 3)
    adapter = adapted(x, weights, name, cfg) - x
    parts = []
    for t in range(cfg.num_frames):
        around = [h[t + k - 1] if 0 <= t + k - 1 < len(h) else 0 * h[0] for k in range(3)]
        parts.append([kernel[:, k] * around[k] @ weights[f"{name}.fc2.weight"].T for k in range(3)])
    constant = weights[f"{name}.conv.bias"] @ weights[f"{name}.fc2.weight"].T
    ungated = np.sum(parts, axis=1) + constant + weights[f"{name}.fc2.bias"]
    gate = (adapter[:, 1:] / ungated)[0, 0]
    np.testing.assert_allclose(ungated * gate, adapter[:, 1:])  # one gate for all positions
    norms = np.linalg.norm(parts * gate, axis=-1)
    norms[:, 1] += np.linalg.norm(x[:, 1:], axis=-1)
    return norms / norms.sum(axis=1, keepdims=True)


def rolled_out(state, clip, cfg, direction, adapters):
    """Votes and relevance of a clip `(t, h, w, 3)`, in float64, one token after the other."""
    weights = {
        name.removeprefix("backbone."): array.astype(np.float64) for name, array in state.items()
    }
    frames, patches = cfg.num_frames, cfg.grid**2
    x = embedded(clip[None].astype(np.float64), weights, cfg)
    (tokens,), inputs, attended = forward(x, weights, cfg, adapters, np.zeros(cfg.layers))
    contributions = tokens @ direction / frames
    relevance = np.zeros((frames, 1 + patches))
    positive = np.maximum(contributions, 0)
    relevance[:, 0] = positive / positive.sum() if positive.any() else 1 / frames
    slopes = gradients(x, weights, cfg, adapters, direction)
    for layer in reversed(range(cfg.layers)):
        mixing = np.maximum(attended[layer] * slopes[layer], 0).mean(axis=0) + np.eye(1 + patches)
        mixing /= mixing.sum(axis=-1, keepdims=True)
        relevance = np.stack([relevance[t] @ mixing[t] for t in range(frames)])
        if adapters:
            name = f"transformer.resblocks.{layer}.t_adapter"
            shares, taken = time_shares(inputs[layer], weights, name, cfg), relevance.copy()
            taken[:, 1:] = 0
            for t in range(frames):
                for k in range(3):
                    if 0 <= t + k - 1 < frames:
                        taken[t + k - 1, 1:] += shares[t][k] * relevance[t, 1:]
            relevance = taken
        assert relevance.sum() == pytest.approx(1)
    return contributions, relevance[:, 1:] / relevance[:, 1:].sum()


def random_views(cfg):
    shape = (2, cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def random_model(cfg, untrained_adapters=False):
    model = blank_model(cfg)
    weights = random_weights(model)
    if untrained_adapters:
        start = ("adapter.conv.weight", "adapter.conv.bias", "adapter.fc2.bias")
        weights |= {name: 0 * array for name, array in weights.items() if name.endswith(start)}
    load_weights(model, weights)
    return model, weights


TINY = {"num_frames": 3, "input_resolution": 32, "layers": 3, "heads": 2, "num_classes": 4}


@pytest.fixture(scope="module")
def tiny():
    return random_model(small_config(**TINY))


@pytest.mark.parametrize(
    ("untrained_adapters", "against"), [(False, None), (False, [2, 0]), (True, None)]
)
def test_equal_an_independent_rollout(untrained_adapters, against):
    cfg = small_config(**TINY)
    model, weights = random_model(cfg, untrained_adapters)
    views, labels = random_views(cfg), [1, 3]
    found = explain(model, views, labels, against)
    head = weights["cls_head.fc_cls.weight"].astype(np.float64)
    for row, label in enumerate(labels):
        other = head.mean(axis=0) if against is None else head[against[row]]
        # Untrained adapters are left out of the NumPy pass: a plain ViT, frame by frame.
        contributions, patches = rolled_out(
            weights, normalize(views[row]), cfg, head[label] - other, not untrained_adapters
        )
        np.testing.assert_allclose(found.frame_contributions[row], contributions, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.patches[row].reshape(patches.shape), patches, atol=1e-6)
    if untrained_adapters:
        assert not found.temporal_mixing.any()
    else:
        assert (found.temporal_mixing > 0.01).all()


@pytest.mark.parametrize(
    ("changes", "atol"),
    # bfloat16 has 8 bits of mantissa, and the two programs may round at different places.
    [({}, 1e-5), ({"dtype": "bfloat16", "spatial_kernel": (1, 3, 3)}, 0.05)],
)
def test_votes_add_up_to_the_logits_that_the_model_gives(changes, atol):
    cfg = small_config(**TINY, **changes)
    model, _ = random_model(cfg)
    views, labels, against = random_views(cfg), np.array([0, 3]), np.array([1, 3])
    found = explain(model, views, labels, against)
    logits = compiled(model, normalize(views))
    np.testing.assert_allclose(found.logits, logits, rtol=0, atol=atol)
    scores = np.asarray(found.logits - model.head.bias)
    rows = range(len(views))
    margins = scores[rows, labels] - scores[rows, against]
    np.testing.assert_allclose(found.frame_contributions.sum(axis=1), margins, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.patches.sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    assert (found.patches >= 0).all()
    # A label against itself: nothing speaks for it, so no frame or patch stands out.
    assert not found.frame_contributions[1].any()
    np.testing.assert_allclose(found.patches[1], 1 / found.patches[1].size, rtol=1e-5)


def test_the_gates_are_those_of_the_pass(tiny):
    model, weights = tiny
    cfg = model.cfg
    views = random_views(cfg)
    found = explain(model, views, [1, 3])
    weights = {name.removeprefix("backbone."): array for name, array in weights.items()}
    x = embedded(normalize(views[:1]), weights, cfg)
    _, inputs, _ = forward(x, weights, cfg, True, np.zeros(cfg.layers))
    for layer, x in enumerate(inputs):
        block = f"transformer.resblocks.{layer}"
        gate = gate_of(x, weights, f"{block}.t_adapter", cfg)
        np.testing.assert_allclose(found.temporal_gates[0, layer], gate, rtol=0, atol=1e-5)
        if layer < cfg.layers - 1:
            x = layer_norm(adapted(x, weights, f"{block}.t_adapter", cfg), weights, f"{block}.ln_1")
            y = attention(x, weights, f"{block}.attn", cfg.heads)
            gate = gate_of(y, weights, f"{block}.s_adapter", cfg)
            np.testing.assert_allclose(found.spatial_gates[0, layer], gate, rtol=0, atol=1e-5)
    assert found.spatial_gates.shape[1] == cfg.layers - 1


def gate_of(x, weights, name, cfg):
    """An adapter's output divided by its output with gates of 1."""
    gateless = weights | {f"{name}.caf.fc.2.weight": 0 * weights[f"{name}.caf.fc.2.weight"]}
    added, doubled = (adapted(x, w, name, cfg) - x for w in (weights, gateless))
    return (added[:, 1:] / (2 * doubled[:, 1:])).mean(axis=(0, 1))


def test_looking_on_changes_no_program_and_leaves_nothing_behind(tiny):
    model, _ = tiny
    cfg = model.cfg
    graphdef, weights = nnx.split(model.last_block)
    x = np.zeros((6, 5, cfg.width), np.float32)

    def program(*hook):
        return jax.jit(lambda w, x: nnx.merge(graphdef, w)(x, *hook)).lower(weights, x).as_text()

    places = set()

    def watch(*place_and_value):
        places.add(place_and_value[:-1])
        return place_and_value[-1]

    assert program(watch) == program()
    adapters = {(name, part) for name in ("t_adapter", "s_adapter") for part in ("taps", "gate")}
    assert places == {("attn", "weights"), *adapters}
    before = jax.tree.structure(nnx.split(model))
    explain(model, random_views(cfg), [1, 3])
    assert jax.tree.structure(nnx.split(model)) == before


@pytest.mark.parametrize(
    ("labels", "against"), [([0, 4], None), ([0, -1], None), ([0], None), ([0, 1], [2, 4])]
)
def test_ids_that_the_model_has_not_got(tiny, labels, against):
    model, _ = tiny
    with raises(where="labels", expected="2 ids from 0 to 3"):
        explain(model, random_views(model.cfg), labels, against)


@pytest.fixture(scope="module")
def demo():
    """The demo's recognizer and the test clips, their middle views `(b, t, R, R, 3)`."""
    if "DEMO_WORKDIR" not in os.environ:
        pytest.skip("DEMO_WORKDIR: where python -m dstadapter_jax.demo has run")
    workdir = pathlib.Path(os.environ["DEMO_WORKDIR"])
    recognizer = Recognizer.load(workdir / "adapter")
    source = open_dataset("recordings/frames", str(workdir / "data")).source("test")
    views = [example_views(e, recognizer.preprocess, "pyav", "test", None)[0] for e in source]
    return recognizer, np.stack([view[-1] for view in views])


def standard_errors_below(figures):
    """Print all means; return how many standard errors the first is below the second."""
    print(json.dumps({name: round(float(values.mean()), 3) for name, values in figures.items()}))
    first, second, *_ = figures.values()
    difference = second - first
    return difference.mean() / (difference.std() / np.sqrt(len(difference)))


FILLINGS = {
    "the clip's mean color": lambda clips: clips.mean(axis=(1, 2, 3), keepdims=True),
    "what is there on average over the clip": lambda clips: clips.mean(axis=1, keepdims=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("filling", FILLINGS)
def test_occluding_what_is_relevant_hurts_most(demo, filling):
    recognizer, clips = demo
    probabilities = recognizer.probabilities(clips)
    best = probabilities.argmax(axis=1)
    found = explain(recognizer.model, clips, best)
    filled = FILLINGS[filling](clips.astype(float)).round().astype(np.uint8)

    def left(places):
        """Probability of the label once the patches of `places`, `(b, t, h, w)`, are filled."""
        side = clips.shape[2] // places.shape[2]
        places = places.repeat(side, axis=2).repeat(side, axis=3)[..., None]
        shown = recognizer.probabilities(np.where(places, filled, clips))
        return shown[range(len(clips)), best]

    def highest(scores, share):
        ranks = (-scores.reshape(len(scores), -1)).argsort(axis=1).argsort(axis=1)
        return (ranks < share * ranks.shape[1]).reshape(scores.shape)

    chance = np.random.default_rng(0).random(found.patches.shape)
    scores = {"most": found.patches, "any": chance, "least": -found.patches}
    print(f"\nfilled with {filling}; intact: {probabilities.max(axis=1).mean():.3f}")
    for share in (0.1, 0.2, 0.3):
        print(f"probability left without {share:.0%} of the patches:", end=" ")
        figures = {name: left(highest(score, share)) for name, score in scores.items()}
        assert standard_errors_below(figures) > 5
        assert figures["least"].mean() > figures["any"].mean()

    share = 3 / found.frame_contributions.shape[1]
    second = np.argsort(-probabilities, axis=1)[:, 1]
    over_second = explain(recognizer.model, clips, best, second)
    for other, contributions in (
        ("mean", found.frame_contributions),
        ("second best", over_second.frame_contributions),
    ):
        contributions = np.broadcast_to(contributions[..., None, None], found.patches.shape)
        print(
            f"probability left without three frames, by contributions over the {other}:",
            end=" ",
        )
        figures = {
            "most": left(highest(contributions, share)),
            "least": left(highest(-contributions, share)),
        }
        assert standard_errors_below(figures) > (4 if other == "second best" else 1)
