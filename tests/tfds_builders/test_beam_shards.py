"""Datasets built by real worker processes of Apache Beam; without it, one test of saying so."""

import os
import re
import signal
import subprocess
import time
from importlib.util import find_spec

import pytest

from tests.helpers import build_process
from tests.helpers.build_process import SMALL_FILES
from tests.helpers.builds import arguments
from tests.helpers.clips import barcoded_frames, write_clip

TWO_PROCESSES = "runner=DirectRunner,direct_running_mode=multi_processing,direct_num_workers=2"
needs_beam = pytest.mark.skipif(not find_spec("apache_beam"), reason="needs requirements-beam.txt")


def write_source(folder, num_clips=40):
    """AUTSL with that many training clips, one of which is damaged, and one that isn't there."""
    rows = [f"signer0_sample{i},{i % 226}" for i in range(1, num_clips + 1)]
    others = {"val": ["signer1_sample1,3"], "test": ["signer6_sample1,4"]}
    folder.mkdir()
    for split, listed in {"train": rows, **others}.items():
        (folder / f"{split}_labels.csv").write_text("\n".join(listed))
        for i, row in enumerate(listed):
            path = folder / f"{row.split(',')[0]}_color.mp4"
            write_clip(path, barcoded_frames(12 + i % 3, 192, 192), codec="mpeg4")
    damaged = folder / "signer0_sample30_color.mp4"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    (folder / "signer0_sample5_color.mp4").unlink()
    return folder


def start(source, out, *options, **how):
    return build_process.start(*arguments("autsl/rgb", source, out, *options), **how)


def run(source, out, *options):
    child = start(source, out, *options)
    printed, errors = child.communicate(timeout=120)
    return child.returncode, printed.replace(str(out), ""), errors


def files(out):
    return {path.name: path.read_bytes() for path in (out / "autsl/rgb/1.0.0").iterdir()}


def whole_shards(out):
    return {path.name for path in out.glob(".building_*/autsl/rgb/.shards/*.json")}


@pytest.mark.skipif(bool(find_spec("apache_beam")), reason="Beam is installed")
def test_build_without_beam_has_the_install_command(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    status, _, errors = run(tmp_path / "in", tmp_path, f"--beam_pipeline_options={TWO_PROCESSES}")
    assert status == 1
    assert "pip install -r requirements-beam.txt" in errors
    assert "Traceback" not in errors


@needs_beam
def test_build_on_two_beam_processes_writes_the_same_bytes(tmp_path):
    """More than ten shards, of which some clips are left out: also order and metadata."""
    source = write_source(tmp_path / "AUTSL")
    allowed = ["--max_missing", "0.1"]
    beam = f"--beam_pipeline_options={TWO_PROCESSES}"
    plain = run(source, tmp_path / "plain", *allowed)
    on_beam = run(source, tmp_path / "beam", *allowed, beam)
    assert plain[0] == 0, plain[2]
    assert on_beam[0] == 0, on_beam[2]
    assert on_beam[1] == plain[1]
    assert "2 excluded" in plain[1]
    assert len(files(tmp_path / "plain")) == 20 + 1 + 1 + 4
    assert files(tmp_path / "beam") == files(tmp_path / "plain")
    # The bound holds as well.
    status, _, errors = run(source, tmp_path / "refused", "--max_missing", "0.03", beam)
    assert status == 1
    assert "  signer0_sample30: is not a video, is damaged" in errors
    assert "2 of 40 in train" in errors
    assert not (tmp_path / "refused" / "autsl").exists()


@needs_beam
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_build_stopped_on_beam_resumes_without(tmp_path, signum, status):
    source, out = write_source(tmp_path / "AUTSL"), tmp_path / "out"
    options = ["--max_missing", "0.1", f"--beam_pipeline_options={TWO_PROCESSES}"]
    child = start(source, out, *options, stream=subprocess.DEVNULL)  # its workers may outlive it
    while len(whole_shards(out)) < 3:
        assert child.poll() is None
        time.sleep(0.002)
    if signum == signal.SIGINT:
        os.killpg(child.pid, signum)  # as terminals do
    else:
        child.send_signal(signum)
    assert child.wait(60) == status
    assert not (out / "autsl").exists()
    # With fewer left to do, and in one process.
    again, printed, errors = run(source, out, *options[:2])
    assert again == 0, errors
    assert "Resuming an interrupted build" in errors
    assert "train: 38 clips" in printed
    assert run(source, tmp_path / "plain", *options[:2])[0] == 0
    assert files(out) == files(tmp_path / "plain")


@needs_beam
def test_build_with_a_failing_worker_reports_its_error(tmp_path):
    """Its error is one line at the end, after Beam's own report of it."""
    source = write_source(tmp_path / "AUTSL", 30)
    options = ["--max_missing", "0.1", f"--beam_pipeline_options={TWO_PROCESSES}"]
    child = start(source, tmp_path / "out", *options, prefix=SMALL_FILES)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 1
    *_, last = errors.splitlines()
    assert re.match("error: Apache Beam: OSError: .*File too large; .* MB are free there", last)
    assert not (tmp_path / "out" / "autsl").exists()


@needs_beam
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("direct_num_worker=2", "found direct_num_worker"),
        ("runner=NoRunner", "error: Apache Beam: Unexpected pipeline runner: NoRunner"),
    ],
)
def test_build_with_wrong_beam_options_fails(tmp_path, options, message):
    source = write_source(tmp_path / "AUTSL", 30)
    given = ["--max_missing", "0.1", f"--beam_pipeline_options={options}"]
    status, _, errors = run(source, tmp_path / "out", *given)
    assert status == 1
    assert message in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").glob("autsl"))
