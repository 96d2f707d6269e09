"""The mesh changes where arrays lie and nothing else; CPU devices in a child process."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from dstadapter_jax.errors import ConfigError
from dstadapter_jax.parallel.mesh import make_mesh, parameter_sharding
from tests.helpers.errors import raises

ROOT = pathlib.Path(__file__).parents[2]

# One run after the other, each on devices of its own: losses of three steps, trained weights, and
# how many arrays are split.
CHILD = """
import json, pathlib, sys
import jax, numpy as np
from jax.extend.backend import clear_backends
from ml_collections import ConfigDict
from dstadapter_jax.training.trainer import Trainer
for line in sys.stdin:
    case = json.loads(line)
    clear_backends()
    jax.config.update("jax_num_cpu_devices", case["devices"])
    run = Trainer(ConfigDict(case["config"]), pathlib.Path("none"))
    for _ in range(3):
        run.update()
    run.batches.close()
    leaves = jax.tree.leaves((run.state.trainable, run.frozen))
    print(json.dumps({
        "losses": [float(loss) for loss in run.losses],
        "weights": [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(run.state.trainable)],
        "split": sum(not leaf.sharding.is_fully_replicated for leaf in leaves),
    }))
"""


def three_steps(config, *cases: tuple[int, int, int, int]) -> list[dict]:
    """Train on eight clips; a case is devices, `fsdp`, clips a device, accumulation steps."""
    lines = []
    for devices, fsdp, batch_size, accumulated in cases:
        config.mesh.fsdp, config.batch_size = fsdp, batch_size
        config.gradient_accumulation_steps = accumulated
        lines.append(json.dumps({"devices": devices, "config": config.to_dict()}))
    result = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(lines),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_same(config, *cases: tuple[int, int, int, int]) -> None:
    # The same global batch of eight clips and, with dropout on, the same dropout mask.
    assert config.model.dropout == 0.5
    expected, *others = three_steps(config, (1, 1, 8, 1), *cases)
    assert expected["split"] == 0
    for case, found in zip(cases, others, strict=True):
        np.testing.assert_allclose(
            found["losses"], expected["losses"], rtol=0, atol=1e-6, err_msg=str(case)
        )
        for a, b in zip(found["weights"], expected["weights"], strict=True):
            # Adam divides by the root of the second moment: where a gradient is near zero, its
            # rounding turns up in the weight. The rate bounds the difference at 1e-3 a step.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5, err_msg=str(case))
        assert bool(found["split"]) == (case[1] > 1)


@pytest.mark.slow
def test_any_mesh_and_any_accumulation_compute_what_one_device_does(config):
    meshes = (2, 2, 4, 1), (4, 1, 2, 1), (8, 2, 1, 1), (8, 8, 1, 1)
    assert_same(config, *meshes, (1, 1, 1, 8), (4, 4, 1, 2))


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_and_the_same_effective_batch(run_dir, config, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")
    config_file = tmp_path / "tiny.py"
    config_file.write_text(
        "from ml_collections import ConfigDict\n\n"
        f"def get_config():\n    return ConfigDict({config.to_dict()!r}).lock()\n"
    )
    options = ("--config.batch_size=1", "--config.gradient_accumulation_steps=2")
    result = subprocess.run(
        [
            *(sys.executable, str(ROOT / "launch.py"), "--config", str(config_file)),
            *("--workdir", str(workdir), "--config.mesh.fsdp=2", *options),
        ],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert "step 18 of 24" in result.stderr
    found, expected = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (workdir, run_dir)
    )
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    losses = [[row["loss"] for row in rows if "loss" in row] for rows in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-6)
    scores = [np.load(folder / "scores_test.npz")["probabilities"] for folder in (workdir, run_dir)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [(2, 1), (0, 1), (-1, -1), (1, 3)])
def test_a_mesh_that_is_not_the_devices_is_refused(axes):
    found = "data = {}, fsdp = {}".format(*axes)
    with raises(ConfigError, where="config.mesh", expected="= 1,", found=found):
        make_mesh(*axes)


def test_one_device_keeps_whole_weights():
    shardings = parameter_sharding(make_mesh(), {"a": jax.ShapeDtypeStruct((8, 4), np.float32)})
    assert shardings["a"].is_fully_replicated


def test_the_largest_axis_is_split_but_never_the_stack_of_layers():
    mesh = jax.sharding.AbstractMesh((1, 4), ("data", "fsdp"))
    shape = jax.ShapeDtypeStruct((24, 8, 16), np.float32)
    odd = jax.ShapeDtypeStruct((24, 3), np.float32)
    shardings = parameter_sharding(mesh, {"blocks": {"a": shape, "b": odd}, "head": shape})
    assert shardings["head"].spec == PartitionSpec("fsdp", None, None)
    assert shardings["blocks"]["a"].spec == PartitionSpec(None, None, "fsdp")
    assert shardings["blocks"]["b"].is_fully_replicated
