"""One run by two processes with two CPU devices each, over the loopback device."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dstadapter_jax.cli.main import own_name_resolves
from tests.helpers.processes import ROOT
from tests.helpers.runs import write_config_file

pytestmark = pytest.mark.skipif(
    not own_name_resolves(), reason="this machine's name has no address: add it to /etc/hosts"
)


@pytest.fixture
def command(config, tmp_path) -> list[str]:
    """Command of a run of 96 steps with four clips each, one per device."""
    config.batch_size, config.num_epochs, config.validate_every_epochs = 1, 16, 8
    path = write_config_file(config, tmp_path)
    return [sys.executable, str(ROOT / "launch.py"), "--config", path]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start(command: list[str], devices: int, **environment: str) -> subprocess.Popen:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen(
        command,
        env=os.environ | flags | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def end(process: subprocess.Popen, within: float) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=within)
    return process.returncode, out, err


@contextlib.contextmanager
def pair(
    command: list[str] | list[list[str]], workdir: pathlib.Path, *, slurm: bool = False
) -> Iterator[list]:
    """Both processes, connected by flags or by SLURM's environment; ended on exit."""
    port = free_port()
    if slurm:
        step = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
        step["JAX_COORDINATOR_PORT"] = str(port)
        tasks = [step | {"SLURM_PROCID": i, "SLURM_LOCALID": i} for i in "01"]
        flags: list[list[str]] = [[], []]
    else:
        tasks = [{}, {}]
        shared = ["--coordinator", f"localhost:{port}", "--num_processes", "2", "--process_id"]
        flags = [[*shared, i] for i in "01"]
    commands = command if isinstance(command[0], list) else [command] * 2
    processes = [
        start([*commands[i], "--workdir", str(workdir), *flags[i]], 2, **tasks[i]) for i in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_for_progress(workdir: pathlib.Path, processes: list[subprocess.Popen]) -> None:
    """Wait until steps were done and saved since the call."""
    checkpoints, log = workdir / "checkpoints", workdir / "metrics.jsonl"

    def newest() -> int:
        folders = checkpoints.iterdir() if checkpoints.exists() else []
        return max((int(path.name) for path in folders if path.name.isdecimal()), default=0)

    before, until = newest(), time.monotonic() + 120
    while newest() == before or not log.exists():
        assert all(process.poll() is None for process in processes), end(processes[0], 60)
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_stopped_and_killed_end_like_one(command, tmp_path):
    alone = end(start([*command, "--workdir", str(tmp_path / "alone")], 4), 300)
    assert alone[0] == 0, alone[2]
    workdir = tmp_path / "pair"

    # A signal to either process stops both at the same step.
    with pair(command, workdir) as processes:
        wait_for_progress(workdir, processes)
        processes[1].send_signal(signal.SIGTERM)
        (status, _, first), (other_status, _, second) = (end(p, 120) for p in processes)
        assert (status, other_status) == (0, 0), first + second
        assert first.splitlines()[-1] == second.splitlines()[-1]
        assert "stopped by SIGTERM after step" in first

    # If one is killed, or is alive and silent so that the other hangs in a collective, the other
    # ends with a message within a minute.
    for victim, signum, slurm in ((0, "SIGKILL", True), (1, "SIGSTOP", False)):
        with pair(command, workdir, slurm=slurm) as processes:
            wait_for_progress(workdir, processes)
            processes[victim].send_signal(signal.Signals[signum])
            status, out, err = end(processes[1 - victim], 60)
            assert status == 1, err
            assert "again with the same commands" in err, err
            assert "Traceback" not in err
            assert '"top1"' not in out

    with pair(command, workdir) as processes:
        (status, out, err), (other_status, other_out, other_err) = (end(p, 300) for p in processes)
        assert (status, other_status) == (0, 0), err + other_err
        assert re.search(r"resuming at step \d+", err)
        results = [json.loads(text.splitlines()[-1]) for text in (out, alone[1])]
        # A function of the probabilities, which differ by rounding, as below.
        errors = [result.pop("expected_calibration_error") for result in results]
        assert errors[0] == pytest.approx(errors[1], rel=0, abs=1e-5)
        assert results[0] == results[1]
        assert '"top1"' not in other_out  # one result, not two
        assert other_err == ""

    found, expected = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("pair", "alone")
    )
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for key in ("loss", "val_top1", "val_mean_class_accuracy"):
        values = [[row[key] for row in rows if key in row] for rows in (found, expected)]
        # With two processes the gradients of the four devices are summed in another order.
        np.testing.assert_allclose(*values, rtol=0, atol=1e-5, err_msg=key)
    scores = [np.load(tmp_path / name / "scores_test.npz") for name in ("pair", "alone")]
    for name in ("labels", "ids", "signers"):
        np.testing.assert_array_equal(scores[0][name], scores[1][name])
    np.testing.assert_allclose(*(s["probabilities"] for s in scores), rtol=0, atol=1e-5)


# `launch.py` on a disk that returns other bytes than were written.
ON_A_BAD_DISK = """
import runpy
from dstadapter_jax.checkpoints import manager
sums = manager.checksum_arrays
manager.checksum_arrays = lambda tree: {name: ~crc for name, crc in sums(tree).items()}
runpy.run_path("launch.py", run_name="__main__")
"""


def test_process_that_alone_reads_a_corrupt_checkpoint_exits_with_1(command, run_dir, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    command += ["--config.num_epochs=4", "--config.validate_every_epochs=2"]
    on_a_bad_disk = [command[0], "-c", ON_A_BAD_DISK, *command[2:]]
    with pair([command, on_a_bad_disk], workdir) as processes:
        status, _, err = end(processes[1], 120)
    assert status == 1, err
    assert re.search(r"step 24 .*/checkpoints/24 is moved elsewhere", err)
    assert (workdir / "checkpoints/24").exists()


def test_processes_with_different_configs_exit_with_1_before_training(command, tmp_path):
    asked = [[*command, "--config.num_epochs=16"], [*command, "--config.optimizer.learning_rate=1"]]
    asked[1] += ["--config.num_epochs=17", "--config.data.num_threads=1"]
    with pair(asked, tmp_path / "run") as processes:
        ended = [end(process, 120) for process in processes]
    for status, _, err in ended:
        assert status == 1, err
        assert "learning_rate: expected 0.001, found 1.0" in err, err
        assert "num_epochs: expected 16, found 17" in err
        assert "num_threads" not in err
        assert "Traceback" not in err
    assert not (tmp_path / "run/checkpoints").exists()


def test_launch_with_incomplete_coordinator_flags_exits_with_1(command, tmp_path):
    alone = ["--workdir", str(tmp_path / "run"), "--num_processes", "2"]
    status, _, err = end(start([*command, *alone], 1), 60)
    assert status == 1
    assert "--num_processes: expected" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["ValueError", "jax.errors.JaxRuntimeError"])
def test_run_cli_with_failed_collective_advises_to_restart(kind):
    failed_collective = f"""
import jax
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.parallel.hosts import initialize_distributed
def main(_):
    initialize_distributed("localhost:{free_port()}", 1, 0)
    raise {kind}("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
run_cli(main)
"""
    status, _, err = end(start([sys.executable, "-c", failed_collective], 1), 60)
    assert status == 1
    assert re.search(r"error: UNKNOWN: Gloo all-reduce .*\n.*with the same commands", err)


@pytest.mark.parametrize("process", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_initialize_distributed_without_peers_exits_with_1(process):
    program = f"""
from dstadapter_jax.parallel import hosts
hosts.INIT_TIMEOUT_S, hosts.HEARTBEAT_TIMEOUT_S = 2, 1
hosts.initialize_distributed('localhost:{free_port()}', 2, {process})
"""
    status, _, err = end(start([sys.executable, "-c", program], 1), 60)
    assert status == 1
    assert "waiting" in err
    assert err.splitlines()[-1].startswith("error: ")
    assert "--coordinator" in err.splitlines()[-1]
    assert "Traceback" not in err
