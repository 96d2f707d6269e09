"""What is trained and how it moves, against the reference's figures."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import DSTAdapter, ModelConfig, dump_weights, load_weights
from dstadapter_jax.models.partition import count_parameters, parameter_role, partition, roles
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.training.optimizer import cosine_by_epoch, make_optimizer
from dstadapter_jax.training.step import TrainState, make_train_step

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "tiny_model.npz")
META = json.loads(str(GOLDEN["meta/json"]))
SIZES = (
    "input_resolution",
    "num_frames",
    "patch_size",
    "width",
    "layers",
    "heads",
    "num_classes",
)


@pytest.fixture(scope="module")
def golden_model() -> DSTAdapter:
    cfg = ModelConfig(**{name: META[name] for name in SIZES}, dropout=0.0)
    model = init_model(cfg, seed=0)
    load_weights(model, {k[6:]: GOLDEN[k] for k in GOLDEN.files if k.startswith("state/")})
    return model


def flat_roles(model: DSTAdapter, tune: str) -> dict[str, str]:
    params = nnx.to_pure_dict(nnx.state(model))
    leaves = jax.tree.leaves_with_path(roles(params, tune))
    return {"/".join(key.key for key in path): role for path, role in leaves}


def test_adapter_trains_exactly_the_names_that_the_reference_trains(golden_model):
    graphdef, trainable, frozen = partition(golden_model, "adapter")
    marked = nnx.merge(
        graphdef,
        jax.tree.map(jnp.ones_like, trainable),
        jax.tree.map(jnp.zeros_like, frozen),
    )
    trained = [name for name, value in dump_weights(marked).items() if value.all()]
    assert sorted(trained) == sorted(META["trainable"])
    untrained = [name for name, value in dump_weights(marked).items() if not value.any()]
    assert len(trained) + len(untrained) == len(dump_weights(marked))


@pytest.mark.parametrize("tune", ["adapter", "head", "full"])
def test_weight_decay_spares_embeddings_and_norms_alone(golden_model, tune):
    for path, role in flat_roles(golden_model, tune).items():
        spared = path.endswith("_embedding") or "ln_" in path
        assert role in (("no_decay",) if spared else ("decay",)) or role == "frozen", path


def test_tunes_are_nested(golden_model):
    trained = {
        tune: {p for p, role in flat_roles(golden_model, tune).items() if role != "frozen"}
        for tune in ("head", "adapter", "full")
    }
    assert trained["head"] == {"head/kernel", "head/bias"}
    assert trained["head"] < trained["adapter"] < trained["full"]
    assert "frozen" not in flat_roles(golden_model, "full").values()


def test_unknown_tune_names_the_valid_ones():
    with pytest.raises(ValueError, match=r"config.tune: .*'adapter', 'head', 'full'.* 'adapters'"):
        parameter_role(("head", "kernel"), "adapters")


@pytest.mark.parametrize(
    ("cfg", "total", "trained"),
    [
        (ModelConfig.vit_b16(num_classes=226), 89_367_552, 3_569_664),
        (ModelConfig.vit_l14(num_classes=226), 315_832_320, 12_654_592),
    ],
)
def test_parameter_counts_are_the_published_ones(cfg, total, trained):
    model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
    _, trainable, frozen = partition(model, "adapter")
    head = (cfg.width + 1) * cfg.num_classes
    assert count_parameters(trainable) == trained + head
    assert count_parameters(frozen) == total - trained


def test_ten_steps_follow_the_reference(golden_model):
    _, trainable, frozen = partition(golden_model, "adapter")
    before = jax.tree.map(np.array, frozen)
    steps = len(GOLDEN["train/loss"])
    schedule = cosine_by_epoch(8e-4, num_epochs=5, steps_per_epoch=2)
    np.testing.assert_allclose(
        [schedule(jnp.int32(k)) for k in range(steps)], GOLDEN["train/lr"], rtol=1e-6
    )
    optimizer = make_optimizer(schedule, weight_decay=0.01, tune="adapter")
    graphdef = partition(golden_model, "adapter")[0]
    step = jax.jit(make_train_step(graphdef, optimizer, lambda clips: clips))
    state = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
    clip = GOLDEN["input/clip_ncthw"].transpose(0, 2, 3, 4, 1)
    losses = []
    for k in range(steps):
        batch = np.roll(clip, k, axis=0), np.roll(GOLDEN["input/label"], k)
        state, loss = step(state, frozen, *(a[np.newaxis] for a in batch), jax.random.key(0))
        losses.append(float(loss))

    np.testing.assert_allclose(losses, GOLDEN["train/loss"], atol=1e-5, rtol=0)
    final = dump_weights(nnx.merge(graphdef, state.trainable, frozen))
    for name in META["trainable"]:
        np.testing.assert_allclose(
            final[name], GOLDEN[f"train/final/{name}"], atol=2e-6, rtol=0, err_msg=name
        )
    jax.tree.map(np.testing.assert_array_equal, before, frozen)


def test_optimizer_state_holds_nothing_for_frozen_weights(golden_model):
    optimizer = make_optimizer(1e-3, weight_decay=0.01, tune="adapter")
    _, trainable, frozen = partition(golden_model, "adapter")
    whole = optimizer.init(nnx.to_pure_dict(nnx.state(golden_model)))
    part = optimizer.init(trainable)
    moments = 2 * count_parameters(trainable)
    for state in (whole, part):
        arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
        assert sum(leaf.size for leaf in arrays) == moments
    assert count_parameters(frozen) > 10 * count_parameters(trainable)


def test_whole_tree_updates_leave_frozen_weights_alone(golden_model):
    params = nnx.to_pure_dict(nnx.state(golden_model))
    optimizer = make_optimizer(1e-3, weight_decay=0.01, tune="adapter")
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = jax.jit(optimizer.update)(gradients, jax.jit(optimizer.init)(params), params)
    for (path, update), role in zip(
        jax.tree.leaves_with_path(updates), jax.tree.leaves(roles(params, "adapter")), strict=True
    ):
        assert np.asarray(update).any() == (role != "frozen"), path


def test_every_step_draws_its_own_dropout_mask():
    cfg = ModelConfig(**{name: META[name] for name in SIZES}, dropout=0.5)
    graphdef, trainable, frozen = partition(init_model(cfg, seed=0), "adapter")
    optimizer = make_optimizer(0.0, weight_decay=0.0, tune="adapter")  # nothing else changes
    step = jax.jit(make_train_step(graphdef, optimizer, lambda clips: clips))
    start = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
    clips = GOLDEN["input/clip_ncthw"].transpose(0, 2, 3, 4, 1)
    batch = clips[np.newaxis], GOLDEN["input/label"][np.newaxis]
    after, first = step(start, frozen, *batch, jax.random.key(0))
    _, second = step(after, frozen, *batch, jax.random.key(0))
    _, again = step(start, frozen, *batch, jax.random.key(0))
    _, other_key = step(start, frozen, *batch, jax.random.key(1))
    assert first == again
    assert len({float(first), float(second), float(other_key)}) == 3
