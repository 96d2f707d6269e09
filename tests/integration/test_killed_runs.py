"""Short runs of the demo that are killed at random moments end bit for bit like others."""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
import pytest

from configs import demo
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.demo.__main__ import make_data
from tests.helpers.runs import metric_rows, tensorboard_scalars, trainable_weights

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS, STEPS_PER_EPOCH = 6, 18
FIELDS = {"num_epochs": EPOCHS, "log_every_steps": 3, "validate_every_epochs": 1}


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> list[str]:
    """Training command on the demo's data; the workdir has to be appended."""
    data = make_data(tmp_path_factory.mktemp("demo"), seed=0)
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    config = ["--config", "configs/demo.py", f"--config.data.dir={data}"]
    return [sys.executable, "launch.py", *config, *fields, "--workdir"]


def finish(command: list[str], workdir: pathlib.Path) -> None:
    result = subprocess.run(
        [*command, workdir], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def reference(command, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("reference")
    finish(command, workdir)
    return workdir


def logged_step(workdir: pathlib.Path) -> int:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else -1


def opened(workdir: pathlib.Path) -> int:
    """Inode of the log, which each start of the run replaces."""
    path = workdir / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else 0


def saving(workdir: pathlib.Path) -> bool:
    return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"))


def validating(workdir: pathlib.Path) -> bool:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1]
    return logged_step(workdir) % STEPS_PER_EPOCH == 0 and "loss" in lines[-1]


def evaluating(workdir: pathlib.Path) -> bool:
    return (workdir / "curves.png").exists()


# Signals and the exit status that each leaves.
STOPS = [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)]
EVENTS: dict[str, Callable[[pathlib.Path], bool]] = {
    "anywhere": lambda _: True,
    "saving": saving,
    "validating": validating,
    "evaluating": evaluating,
}


def moments(rng: random.Random, events: list[str]) -> list[tuple[int, str, float]]:
    """Moments to kill a run: the first step, the event to wait for after it, seconds after that."""
    last = (EPOCHS - 1) * STEPS_PER_EPOCH
    steps = sorted(rng.randrange(last) for _ in events)
    return [(step, event, rng.uniform(0, 0.05)) for step, event in zip(steps, events, strict=True)]


def start_and_kill(
    command: list[str], workdir: pathlib.Path, moment: tuple[int, str, float], signum: int
) -> int:
    step, event, delay = moment
    before = opened(workdir)
    with subprocess.Popen(
        [*command, workdir], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        while (
            opened(workdir) == before or logged_step(workdir) < step or not EVENTS[event](workdir)
        ):
            assert child.poll() is None, f"ended before {moment}: {child.stderr.read()}"
            time.sleep(0.0005)
        time.sleep(delay)
        child.send_signal(signum)
        assert "Traceback" not in child.stderr.read()
    return child.returncode


@pytest.mark.slow
def test_train_and_evaluate_killed_repeatedly_ends_bit_for_bit_the_same(
    command, reference, tmp_path
):
    rng = random.Random(0)
    events = ["saving", "anywhere", "validating"] * 2
    rng.shuffle(events)
    stops = [*moments(rng, events), (0, "evaluating", rng.uniform(0, 0.05))]
    for number, moment in enumerate(stops):
        signum, status = STOPS[number % 3]
        assert start_and_kill(command, tmp_path, moment, signum) == status, moment
    finish(command, tmp_path)

    assert metric_rows(tmp_path) == metric_rows(reference)
    steps = [row["step"] for row in metric_rows(tmp_path) if "loss" in row]
    assert steps == list(range(3, EPOCHS * STEPS_PER_EPOCH + 1, 3))
    results = [json.loads((run / "eval_test.json").read_text()) for run in (tmp_path, reference)]
    assert results[0] == results[1]
    scores = [np.load(run / "scores_test.npz") for run in (tmp_path, reference)]
    np.testing.assert_array_equal(scores[0]["probabilities"], scores[1]["probabilities"])
    shown, expected = (tensorboard_scalars(run / "tensorboard") for run in (tmp_path, reference))
    for name in ("loss", "learning_rate", "val_top1"):
        assert shown[name] == expected[name]
    config = demo.get_config()
    for which in ("best", "last"):
        with Checkpointer(tmp_path, read_only=True) as ours, Checkpointer(reference) as theirs:
            step = theirs.find_step(which)
            assert ours.find_step(which) == step
        jax.tree.map(
            np.testing.assert_array_equal,
            trainable_weights(tmp_path, config, step),
            trainable_weights(reference, config, step),
        )
