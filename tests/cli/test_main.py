"""The commands as users type them: output, exit status, messages instead of stack traces."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence

import numpy as np
import pytest

from dstadapter_jax import evaluate, predict
from dstadapter_jax.cli.main import enable_compilation_cache
from dstadapter_jax.cli.paths import PathError, expanded_path, make_output, workdir_path
from dstadapter_jax.evaluation.confusion_plot import draw_confusion
from dstadapter_jax.training.plots import draw_curves
from tests.helpers.adapters import write_diverged
from tests.helpers.clips import write_clip
from tests.helpers.errors import raises

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["", " ", "gs://bucket/run", "s3://bucket/run"])
def test_a_workdir_that_is_no_folder_is_refused(text):
    with raises(PathError, where="--workdir", found="'"):
        workdir_path(text)


def test_a_home_that_nobody_has_is_said(capsys):
    with pytest.raises(ValueError, match=r"~nosuchuser/x: .*home directory"):
        expanded_path("~nosuchuser/x")
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--workdir", "~nosuchuser/x"])
    assert "~nosuchuser/x: Could not determine home directory" in capsys.readouterr().err


def test_without_a_home_no_compiled_programs_are_kept(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # in no list of users
    with pytest.raises(RuntimeError):
        pathlib.Path.home()
    enable_compilation_cache()


def lines_of(capsys: pytest.CaptureFixture) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_evaluate_prints_and_writes_one_object(run_dir, capsys):
    assert evaluate.main(["--workdir", str(run_dir), "--split", "validation"]) == 0
    (printed,) = lines_of(capsys)
    assert printed == json.loads((run_dir / "eval_validation.json").read_text())
    assert printed["split"] == "validation"
    assert printed["step"] in (12, 24)
    assert set(printed) >= {"top1", "top5", "mean_class_accuracy", "num_clips", "views"}


@pytest.mark.parametrize("output", ["file", "file/folder", "/proc/results", "/proc/self"])
def test_where_results_cannot_go_is_said(tmp_path, output):
    (tmp_path / "file").touch()
    path = tmp_path / output
    with raises(where=str(path), advice="--output DIR"):
        make_output(path)


def test_evaluate_says_before_it_works_where_results_cannot_go(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", None)
    (tmp_path / "file").touch()
    with raises(where="/file", found="File exists"):
        evaluate.main(["--workdir", str(run_dir), "--output", str(tmp_path / "file")])


def test_evaluate_refuses_a_dataset_of_other_labels(run_dir, tmp_path, data_dir):
    other = tmp_path / "recordings" / "frames" / "1.0.0"
    other.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", data_dir / "recordings/frames/1.0.0", other], check=True)
    (other / "label.labels.txt").write_text("sign 0\nsign 2\nsign 1\n")
    with pytest.raises(
        ValueError, match=r"labels aren't those .* label 1: expected 'sign 1', found"
    ):
        evaluate.main(["--workdir", str(run_dir), "--data_dir", str(tmp_path)])


def test_predict_answers_for_each_video_and_fails_at_the_end(run_dir, recordings, capsys, tmp_path):
    empty, thin = tmp_path / "empty.mp4", tmp_path / "thin.mp4"
    empty.touch()
    write_clip(thin, np.zeros((9, 16, 1200, 3), np.uint8))
    good = str(recordings / "s0_l0_t0.mp4")
    videos = [good, str(empty), "none.mp4", str(thin), good]
    assert predict.main(["--workdir", str(run_dir), *videos]) == 1
    first, second, third, oblong, fourth = lines_of(capsys)
    assert "too oblong" in oblong["error"]
    assert first == fourth
    assert first["video"] == good
    assert {entry["label"] for entry in first["predictions"]} == {"sign 0", "sign 1", "sign 2"}
    assert second == {"video": str(empty), "error": "is empty (0 bytes)"}
    assert "No such file" in third["error"]
    assert predict.main(["--workdir", str(run_dir), good]) == 0


def test_predict_answers_by_an_error_where_the_model_has_diverged(recordings, capsys, tmp_path):
    good = str(recordings / "s0_l0_t0.mp4")
    adapter, tower = write_diverged(tmp_path)
    arguments = [f"--adapter={adapter}", f"--backbone={tower}", f"--explain={tmp_path / 'why.png'}"]
    assert predict.main([*arguments, good, "none.mp4"]) == 1
    diverged, missing = lines_of(capsys)
    assert diverged["video"] == good
    assert re.match(r"the model's probabilities aren't finite: .* --step=N", diverged["error"])
    assert "predictions" not in diverged
    assert "No such file" in missing["error"]
    assert not (tmp_path / "why.png").exists()


def test_labels_of_any_script_are_drawn(tmp_path):
    names = ["a$^$", "Ё", "手語", "b_c"]
    for shown in (names, names[:2]):
        path = tmp_path / f"{len(shown)}.png"
        draw_confusion(path, np.array([0, 1]), np.array([1, 1]), shown)
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_picture_that_finds_the_disk_full_says_what_to_do(tmp_path):
    (tmp_path / "curves.png.tmp").symlink_to("/dev/full")
    (tmp_path / "curves.png").touch()
    with pytest.raises(OSError, match=r"curves\.png: .*No space left"):
        draw_curves(tmp_path / "curves.png", tmp_path / "metrics.jsonl")
    assert (tmp_path / "curves.png").read_bytes() == b""


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_that_is_no_workdir(command, tmp_path):
    videos = ["clip.mp4"] if command == "predict" else []
    result = subprocess.run(
        [sys.executable, "-m", f"dstadapter_jax.{command}", "--workdir", str(tmp_path), *videos],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(rf"error: {re.escape(str(tmp_path))}: .*\n", result.stderr)


def test_too_little_memory_on_the_device_is_told_with_what_to_do():
    too_much = (
        "from dstadapter_jax.cli.main import run_cli; import jax.numpy as jnp;"
        "raise SystemExit(run_cli(lambda _: jnp.zeros(2**50)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", too_much], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 1
    expected = r"error: RESOURCE_EXHAUSTED: .*\n.*gradient_accumulation_steps .*remat=full.*\n"
    assert re.fullmatch(expected, result.stderr)


def test_what_another_user_does_not_allow_is_told_with_what_to_do():
    # Root may do everything: so, of another user's file, what the system would say.
    refused = (
        "from dstadapter_jax.cli.main import run_cli\n"
        "def main(_): raise PermissionError(13, 'Permission denied', 'run/tensorboard/events')\n"
        "raise SystemExit(run_cli(main))"
    )
    result = subprocess.run(
        [sys.executable, "-c", refused], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 1
    assert re.fullmatch(r"error: run/tensorboard/events: .*chmod .*\n", result.stderr)


def launch(*arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*prefix, sys.executable, str(ROOT / "launch.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/none.py", "--workdir", "x"], "configs/none.py"),
        (["--config", "TINY", "--workdir", "x", "--config.model.widht=4"], 'Did you mean "width"'),
        (["--config", "TINY", "--workdir", "x", "--config.seed=a"], "seed"),
        (["--config", "TINY"], "both --config and --workdir"),
    ],
)
def test_wrong_use_exits_with_2(config_file, arguments, message):
    arguments = [config_file if a == "TINY" else a for a in arguments]
    result = launch(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_on_a_terminal_it_shows_progress_and_stops_when_asked(
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


# Launches with what follows, and is sent a signal after step 2 and one more while that is saved.
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


@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM"])
def test_a_second_signal_while_the_last_save_is_written_is_no_success(
    config_file, tmp_path, signum
):
    result = subprocess.run(
        [
            *(sys.executable, "-c", SIGNALLED_TWICE, signum),
            *("--config", config_file, "--workdir", str(tmp_path / "run")),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == -signal.Signals[signum], result.stderr  # 130 or 143 to a shell
    assert "nothing to save" not in result.stderr
    assert "Traceback" not in result.stderr


# Both come before Python runs a handler.
SIGNALLED_AT_ONCE = """
import signal, sys
from dstadapter_jax.parallel.signals import StopRequest
with StopRequest() as stop:
    both = [signal.Signals[name] for name in sys.argv[1:]]
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for signum in both:
        signal.raise_signal(signum)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    stop.check()
"""


@pytest.mark.parametrize("signums", [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_two_signals_at_once_leave_at_once_without_a_trace(signums):
    result = subprocess.run(
        [sys.executable, "-c", SIGNALLED_AT_ONCE, *signums],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode in (130, 143)
    assert result.stderr == ""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux tells that the other side has gone
        return b""


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(config_file, tmp_path):
    # A real file system of 1.5 MB, which the third checkpoint does not fit into; it is ours
    # alone, thanks to a mount namespace.
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
    assert re.search(r"checkpoints: .* step 18, found \d+\.\d MB", result.stderr)
    assert "Traceback" not in result.stderr
    steps = [int(path.name) for path in (tmp_path / "kept/checkpoints").iterdir()]
    assert steps
    assert max(steps) < 24

    result = launch("--config", config_file, "--workdir", str(tmp_path / "kept"))
    assert result.returncode == 0, result.stderr
    assert f"step {max(steps)} of" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["num_clips"] == 9
