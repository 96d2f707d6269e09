"""`launch.py` as a process: on a terminal, stopped by signals, and on a full disk."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest

from tests.helpers.processes import ROOT, launch, run_python


@pytest.mark.linux
@pytest.mark.parametrize(
    ("signum", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow)],
)
def test_launch_on_a_terminal_shows_progress_and_stops_on_a_signal(
    config_file, tmp_path, signum, status
):
    try:
        master, slave = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminals here: {error}")
    termios.tcsetwinsize(slave, (24, 100))
    arguments = ("--config", config_file, "--workdir", str(tmp_path / "run"))
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *arguments, "--config.num_epochs=400"],
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
    )
    os.close(slave)
    seen = b""
    while not re.search(rb"train:.*\d+/2400", seen):
        seen += os.read(master, 4096)
    child.send_signal(signum)
    while chunk := _read(master):
        seen += chunk
    assert child.wait(timeout=60) == status
    assert b"stopped by SIG" in seen
    assert b"Traceback" not in seen
    assert list((tmp_path / "run" / "checkpoints").glob("*"))


# `launch.py` that receives a signal after step 2 and another one during the save that follows.
SIGNALLED_TWICE = """
import os, runpy, signal, sys
import orbax.checkpoint as ocp
from dstadapter_jax.training.trainer import Trainer
update, signum = Trainer.update, signal.Signals[sys.argv.pop(1)]
def updated(run):
    update(run)
    if run.step == 2:
        os.kill(os.getpid(), signum)
Trainer.update = updated
ocp.CheckpointManager.close = lambda manager: os.kill(os.getpid(), signum)
runpy.run_path("launch.py", run_name="__main__")
"""


@pytest.mark.parametrize("signum", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_launch_with_a_second_signal_during_the_last_save_fails(config_file, tmp_path, signum):
    arguments = ("--config", config_file, "--workdir", str(tmp_path / "run"))
    result = run_python("-c", SIGNALLED_TWICE, signum, *arguments)
    assert result.returncode == -signal.Signals[signum], result.stderr  # 130 or 143 to a shell
    assert "nothing to save" not in result.stderr
    assert "Traceback" not in result.stderr


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # on Linux: the other side is closed
        return b""


@pytest.mark.linux
def test_launch_on_a_full_disk_keeps_the_old_checkpoint_and_resumes(config_file, tmp_path):
    # A file system of 1.5 MB, too small for the last checkpoints, in a mount namespace of its own.
    small = tmp_path / "small"
    small.mkdir()
    mount = f'mount -t tmpfs -o size=1500k none {small} && exec "$@"'
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    probe = subprocess.run([*namespace, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespaces here: {probe.stderr.decode()}")
    keep = f'"$@"; status=$?; cp -r {small}/run {tmp_path}/kept; exit $status'
    result = launch(
        *("--config", config_file, "--workdir", str(small / "run")),
        prefix=[*namespace, "sh", "-c", keep, "sh"],
    )
    assert result.returncode == 1
    assert re.search(r"checkpoints: .* step (18|24), found \d+\.\d MB", result.stderr)
    assert "Traceback" not in result.stderr
    steps = [int(path.name) for path in (tmp_path / "kept/checkpoints").iterdir()]
    assert steps
    assert max(steps) < 24

    result = launch("--config", config_file, "--workdir", str(tmp_path / "kept"))
    assert result.returncode == 0, result.stderr
    assert f"step {max(steps)} of" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["num_clips"] == 9
