"""The mesh changes where arrays lie and nothing else; four CPU devices in a child process."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from dstadapter_jax.sharding import make_mesh, parameter_sharding

# One run on the mesh that the arguments give: losses of three steps, and the trained weights.
CHILD = """
import json, sys
import jax, numpy as np
from ml_collections import ConfigDict
from dstadapter_jax.run import Run
config = ConfigDict(json.loads(sys.argv[1]))
run = Run(config, __import__("pathlib").Path(sys.argv[2]))
for _ in range(3):
    run.update()
run.batches.close()
leaves = jax.tree.leaves((run.state.trainable, run.frozen))
split = sum(not leaf.sharding.is_fully_replicated for leaf in leaves)
np.savez(sys.argv[2] + "/out.npz", *map(np.asarray, jax.tree.leaves(run.state.trainable)))
print(json.dumps({"losses": [float(l) for l in run.losses], "split": split}))
"""


def three_steps(config, workdir, devices: int, batch_size: int, **mesh):
    config.batch_size = batch_size
    config.mesh.update(mesh)
    workdir.mkdir()
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(pathlib.Path(__file__).parents[1]),
    }
    result = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(config.to_dict()), str(workdir)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    arrays = np.load(workdir / "out.npz")
    return json.loads(result.stdout.splitlines()[-1]), [arrays[name] for name in arrays.files]


def test_four_devices_compute_what_one_does(config, tmp_path):
    # The same global batch of eight clips and, with dropout on, the same dropout mask.
    expected, weights = three_steps(config, tmp_path / "one", devices=1, batch_size=8)
    assert expected["split"] == 0
    for name, mesh in {"data": {"data": 4}, "fsdp": {"data": 2, "fsdp": 2}}.items():
        found, others = three_steps(config, tmp_path / name, devices=4, batch_size=2, **mesh)
        np.testing.assert_allclose(found["losses"], expected["losses"], rtol=0, atol=1e-6)
        for a, b in zip(others, weights, strict=True):
            # Adam divides by the root of the second moment: where a gradient is near zero, its
            # rounding turns up in the weight. The rate bounds the difference at 1e-3 a step.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
        assert bool(found["split"]) == ("fsdp" in mesh)


@pytest.mark.parametrize("axes", [(2, 1), (0, 1), (-1, -1), (1, 3)])
def test_a_mesh_that_is_not_the_devices_is_refused(axes):
    with pytest.raises(ValueError, match=r"config.mesh: .* 1 devices .* data = "):
        make_mesh(*axes)


def test_one_device_keeps_whole_weights():
    shardings = parameter_sharding(make_mesh(), {"a": jax.ShapeDtypeStruct((8, 4), np.float32)})
    assert shardings["a"].is_fully_replicated
