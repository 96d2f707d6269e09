import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.flops import needed_flops, program_flops
from dstadapter_jax.models.partition import TUNES, partition
from dstadapter_jax.training.optimizer import make_optimizer
from dstadapter_jax.training.step import TrainState, make_train_step

SMALL = {"num_classes": 5, "input_resolution": 96, "num_frames": 3, "width": 64, "layers": 4}


def small(**changes):
    return ModelConfig(**SMALL | {"heads": 4, "dropout": 0.0} | changes)


def step_and_arguments(cfg, mode, tune, batch=2):
    model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
    graphdef, trainable, frozen = partition(model, tune)
    size = cfg.input_resolution
    clips = jax.ShapeDtypeStruct((batch, cfg.num_frames, size, size, 3), jnp.float32)
    if mode == "eval":
        return lambda t, f, c: nnx.merge(graphdef, t, f)(c), (trainable, frozen, clips)
    optimizer = make_optimizer(1e-3, 0.01, tune)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    state = TrainState(step, trainable, jax.eval_shape(optimizer.init, trainable))
    key = jax.eval_shape(lambda: jax.random.key(0))
    update = make_train_step(graphdef, optimizer, lambda clips: clips)
    clips = jax.ShapeDtypeStruct((1, *clips.shape), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, batch), jnp.int32)
    return update, (state, frozen, clips, labels, key)


def test_program_flops_counts_loop_bodies_per_iteration():
    def twice_five(x, w):
        x, _ = jax.lax.scan(lambda x, _: (jax.jit(jnp.matmul)(x, w), None), x, length=5)
        return x, jnp.einsum("bij,bkj->bik", x[None], x[None])

    x, w = np.zeros((3, 7), np.float32), np.zeros((7, 7), np.float32)
    assert program_flops(twice_five, x, w) == 5 * 2 * 3 * 7 * 7 + 2 * 3 * 3 * 7


@pytest.mark.parametrize("mode_and_tune", [("eval", "adapter"), *(("train", t) for t in TUNES)])
def test_needed_flops_equals_program_flops_without_recomputation(mode_and_tune):
    cfg = small(remat="none")
    counted = program_flops(*_called(step_and_arguments(cfg, *mode_and_tune))) / 2
    # The analytic count leaves out the gates' products, a few numbers per clip.
    assert 1 <= counted / needed_flops(cfg, *mode_and_tune) < 1.005


def _called(step_and_arguments):
    step, arguments = step_and_arguments
    return step, *arguments


def test_program_flops_includes_recomputation_of_remat():
    plain, full = (
        program_flops(*_called(step_and_arguments(small(remat=remat), "train", "adapter")))
        for remat in ("none", "full")
    )
    forward = needed_flops(small(), "eval", "adapter")
    assert plain < full < plain + 2 * forward
    selective = program_flops(*_called(step_and_arguments(small(), "train", "adapter")))
    # By its own description: an eighth of the forward pass.
    assert 0 < selective - plain < 0.2 * 2 * forward
