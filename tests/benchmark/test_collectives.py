import json
import os
import pathlib
import subprocess
import sys

import pytest

from dstadapter_jax.benchmark.collectives import collective_bytes

SIZES = {"num_classes": 5, "input_resolution": 96, "num_frames": 3, "width": 64, "layers": 4}


def test_collective_bytes_counts_loop_bodies_per_trip():
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
    with pytest.raises(ValueError, match="body"):
        collective_bytes(text.replace("known_trip_count", "other"))


# Prints the communication volume on eight devices and the sizes of the weights, in bytes.
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
    """Communication volume of a training step, and sizes of the weights, by `fsdp`."""
    changes = json.dumps(SIZES | {"heads": 4})
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
def test_program_on_eight_devices_sends_gradients_and_weights_but_no_activations(
    eight_devices, fsdp
):
    sent, trainable, frozen = eight_devices[fsdp]
    # The loss and each gradient once, except those of the last block's unused adapter.
    assert 0.8 * trainable < sent["all-reduce"] <= trainable + (4 if fsdp == 1 else 0.1 * frozen)
    del sent["all-reduce"]
    if fsdp == 8:  # the last block's products for class tokens add a little
        # Weights are gathered once in the forward and once in the backward pass.
        assert sent.pop("all-gather") < 2 * (trainable + frozen)
        assert sent.pop("all-to-all", 0) < 0.1 * frozen  # embeddings, sharded along another axis
    assert not sent
