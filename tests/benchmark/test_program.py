"""The counts of operations, and the commands that measure."""

import json
import os
import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax.benchmark import __main__ as command
from dstadapter_jax.benchmark import program
from dstadapter_jax.benchmark.collectives import collective_bytes
from dstadapter_jax.data.preprocess import normalize
from dstadapter_jax.models.dstadapter import DSTAdapter, ModelConfig
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


def test_products_of_a_program_count_as_often_as_they_run():
    def twice_five(x, w):
        x, _ = jax.lax.scan(lambda x, _: (jax.jit(jnp.matmul)(x, w), None), x, length=5)
        return x, jnp.einsum("bij,bkj->bik", x[None], x[None])

    x, w = np.zeros((3, 7), np.float32), np.zeros((7, 7), np.float32)
    assert program_flops(twice_five, x, w) == 5 * 2 * 3 * 7 * 7 + 2 * 3 * 3 * 7


@pytest.mark.parametrize("mode_and_tune", [("eval", "adapter"), *(("train", t) for t in TUNES)])
def test_the_count_by_hand_is_that_of_the_program(mode_and_tune):
    cfg = small(remat="none")
    counted = program_flops(*_called(step_and_arguments(cfg, *mode_and_tune))) / 2
    # The gates' products, a few numbers a clip, aren't in the count by hand.
    assert 1 <= counted / needed_flops(cfg, *mode_and_tune) < 1.005


def _called(step_and_arguments):
    step, arguments = step_and_arguments
    return step, *arguments


def test_recomputation_is_not_needed():
    plain, full = (
        program_flops(*_called(step_and_arguments(small(remat=remat), "train", "adapter")))
        for remat in ("none", "full")
    )
    forward = needed_flops(small(), "eval", "adapter")
    assert plain < full < plain + 2 * forward
    selective = program_flops(*_called(step_and_arguments(small(), "train", "adapter")))
    # What it says of itself: an eighth of the forward pass.
    assert 0 < selective - plain < 0.2 * 2 * forward


def test_bytes_of_collectives_count_as_often_as_they_are_sent():
    text = """
%body (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %sum = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce-start(%a, %b), to_apply=%add
  %done = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce-done(%sum)
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %gathered = f32[16]{0} all-gather(%a), dimensions={0}
  ROOT %loop = f32[8]{0} while(%a), body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""
    assert collective_bytes(text) == {"all-gather": 64, "all-reduce": 5 * (32 + 12)}
    with pytest.raises(ValueError, match="the loop over body doesn't tell how often it runs"):
        collective_bytes(text.replace("known_trip_count", "other"))


# On eight devices: what they send, and how large the weights are, in bytes.
CHILD = """
import json, sys
import jax
from dstadapter_jax.benchmark import program
from dstadapter_jax.models.config import ModelConfig
changes = json.loads(sys.argv[1])
program.MODELS["vit_b16"] = lambda n, **rest: ModelConfig(**changes | rest)
for fsdp in (1, 8):
    compiled = program.Program(program.Setting(batch=16, mesh=(8 // fsdp, fsdp)))
    trainable, frozen = compiled._weights[0].trainable, compiled._weights[1]
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (trainable, frozen)]
    print(json.dumps([compiled.collectives, *sizes]))
"""


@pytest.fixture(scope="module")
def eight_devices():
    """Of a training step on them, by `fsdp`."""
    changes = json.dumps(SMALL | {"heads": 4})
    result = subprocess.run(
        [sys.executable, "-c", CHILD, changes],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert result.returncode == 0, result.stderr
    return dict(zip((1, 8), map(json.loads, result.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("fsdp", [1, 8])
def test_devices_send_gradients_and_weights_and_no_activations(eight_devices, fsdp):
    sent, trainable, frozen = eight_devices[fsdp]
    # The loss, and the gradients once, less those of the last block's unused adapter.
    assert 0.8 * trainable < sent["all-reduce"] <= trainable + (4 if fsdp == 1 else 0.1 * frozen)
    del sent["all-reduce"]
    if fsdp == 8:  # to which the last block's products for class tokens add a little
        # Weights whole once in the forward and once in the backward pass.
        assert sent.pop("all-gather") < 2 * (trainable + frozen)
        assert sent.pop("all-to-all", 0) < 0.1 * frozen  # embeddings, split another way
    assert not sent


@pytest.fixture
def tiny_models(monkeypatch):
    def sizes(num_classes, **changes):
        return small(num_classes=num_classes, **changes)

    monkeypatch.setitem(program.MODELS, "vit_b16", sizes)


def output(capsys, *arguments):
    assert command.main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_setting_is_measured(tiny_models, capsys, mode):
    found = output(capsys, "--mode", mode, "--batch", "2", "--repeats", "2")
    assert (found["mode"], found["batch"], found["tune"]) == (mode, 2, "adapter")
    assert found["clips_per_second"] == pytest.approx(2 / found["seconds"]["median"])
    assert 0 < found["data_wait_seconds"] < found["seconds"]["largest"]
    assert found["needed_flops_per_clip"] <= found["flops_per_clip"]
    assert found["memory_bytes"]["temporary"] > 0
    assert found["collective_bytes"] == {}
    assert found["share_of_product_rate"] > 0


def test_two_settings_in_turn(tiny_models, capsys):
    two = "tune=adapter,remat=full", "tune=full,remat=none"
    found = output(capsys, "--mode", "train", "--repeats", "2", "--compare", *two)
    assert [found[name]["tune"] for name in "ab"] == ["adapter", "full"]
    assert found["a_to_b"]["needed_flops"] < 1
    assert found["a_to_b"]["temporary_bytes"] < 0.5


def test_the_seconds_to_compile_are_also_those_to_trace(tiny_models, monkeypatch):
    traced = []
    monkeypatch.setattr(program, "normalize", lambda clips: traced.append(1) or normalize(clips))
    clock = types.SimpleNamespace(perf_counter=lambda: len(traced))  # stands unless it is traced
    monkeypatch.setattr(program, "time", clock)
    assert program.Program(program.Setting(tune="head")).compile_seconds > 0


def test_compilation_and_the_cache(tiny_models, capsys):
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    # So that JAX would keep nothing so small.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 600.0)
    before = {name: getattr(jax.config, name) for name in program.CACHE}
    events = []

    def note(event, **_):
        events.append(event)

    jax.monitoring.register_event_listener(note)
    try:
        found = output(capsys, "--mode", "compile")
    finally:
        jax.monitoring.unregister_event_listener(note)
        after = {name: getattr(jax.config, name) for name in program.CACHE}
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    assert after == before
    assert (found["mode"], found["repeats"]) == ("compile", 1)
    assert found["compile_seconds"] > 0
    assert found["cached_seconds"] > 0
    # The program is what is compiled last.
    assert events[-1] == "/jax/compilation_cache/cache_hits"


WRONG = ["tune", "tune=all", "color=red", "batch=0", "mode=input", "mesh=8"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_exits_with_2(wrong):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--mode", "train", "--compare", wrong, "tune=full"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compile --compare tune=full tune=head", "--compare: without effect in --mode compile"),
        ("input --batch 2 --compare tune=full tune=head", "--compare, --batch: without effect"),
        ("eval --kinds autsl", "--kinds: without effect in --mode eval"),
        ("compile --repeats 3", "--repeats: without effect in --mode compile"),
    ],
)
def test_options_of_another_mode_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--mode", *arguments.split()])
    assert message in capsys.readouterr().err
