"""Builds that are interrupted, killed, run twice at a time, or run out of disk."""

import errno
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dstadapter_jax.data.datasets import open_dataset
from tests.helpers import build_process
from tests.helpers.build_process import SMALL_FILES
from tests.helpers.builds import arguments, run
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.errors import raises
from tfds_builders import clip_builder, clip_shards
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.recordings.recordings_dataset_builder import Builder
from tfds_builders.staging import Staging

NUM_CLIPS, SPLIT_SIZES = 40, [28, 4, 8]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(NUM_CLIPS):
        path = folder / "ab"[i % 2] / f"{i:02}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_clip(path, barcoded_frames(12 + i % 3, 240, 320), options={"preset": "ultrafast"})
    return folder


def start(source, out, *options, prefix=()):
    return build_process.start(*arguments("recordings", source, out, *options), prefix=prefix)


def build(source, out, *options):
    """A build that nothing stops, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_builder, "CLIPS_PER_SHARD", 2)
        assert run(arguments("recordings", source, out, *options)) == 0
    return files(out)


def dataset(out):
    return out / "recordings" / "frames" / "1.0.0"


def staging(out):
    return out / ".building_recordings_frames"


def shards(out):
    folder = staging(out) / "recordings" / "frames" / ".shards"
    return [folder / path.name.removesuffix(".json") for path in folder.glob("*.json")]


def files(out):
    return {path.name: path.read_bytes() for path in dataset(out).iterdir()}


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The files of a dataset that was built in one go."""
    return build(source, tmp_path_factory.mktemp("whole"))


def stop_midway(source, out, signum, *options):
    """Starts a build and stops it once three shards are whole; returns its status and stderr."""
    child = start(source, out, *options)
    while len(shards(out)) < 3:
        assert child.poll() is None, child.communicate()
        time.sleep(0.002)
    child.send_signal(signum)
    _, errors = child.communicate(timeout=60)
    return child.returncode, errors


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_build_stopped_resumes_with_the_same_command(
    source, whole, tmp_path, signum, status, caplog
):
    caplog.set_level("INFO")
    returned, errors = stop_midway(source, tmp_path, signum)
    assert returned == status
    assert "Traceback" not in errors
    if signum == signal.SIGINT:
        *_, kept, last = errors.splitlines()
        assert last == "interrupted"
        assert "are kept in" in kept
        assert "the same command resumes there" in kept
    assert not dataset(tmp_path).exists()
    with raises(problem="no built dataset"):
        open_dataset("recordings/frames", str(tmp_path))
    finished = {path.name: path.stat().st_mtime_ns for path in shards(tmp_path)}
    assert 3 <= len(finished) < NUM_CLIPS / 2
    assert build(source, tmp_path) == whole
    assert f"{len(finished)} shard(s) are complete" in caplog.text
    times = {name: (dataset(tmp_path) / name).stat().st_mtime_ns for name in finished}
    assert times == finished, "finished shards were written again"
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]
    assert [path.name for path in dataset(tmp_path).parent.iterdir()] == ["1.0.0"]


def test_build_overwriting_keeps_the_old_dataset_until_complete(source, whole, tmp_path):
    assert build(source, tmp_path) == whole
    stop_midway(source, tmp_path, signal.SIGKILL, "--overwrite")
    assert files(tmp_path) == whole
    # Without --overwrite there is nothing to do.
    assert build(source, tmp_path) == whole
    assert shards(tmp_path)
    assert build(source, tmp_path, "--overwrite") == whole
    assert not staging(tmp_path).exists()


def test_build_resumed_rewrites_shards_of_changed_clips(source, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", source, copy], check=True)
    out = tmp_path / "out"
    stop_midway(copy, out, signal.SIGKILL)
    before = {path.name: path.stat().st_mtime_ns for path in shards(out)}
    first = next(name for name in sorted(before) if "train" in name)
    builder = Builder(config="frames", data_dir=tmp_path / "x", file_format="array_record")
    changed = builder.listing(copy).found["train"][0]
    write_clip(changed.path, np.zeros((3, 48, 64, 3), np.uint8))
    build(copy, out)
    after = {name: (dataset(out) / name).stat().st_mtime_ns for name in before}
    assert {name for name in before if before[name] != after[name]} == {first}
    source = tfds.builder_from_directory(dataset(out)).as_data_source("train")
    assert (source[0]["id"].decode(), source[0]["num_frames"]) == (changed.id, 3)


def test_build_after_unusable_clips_rewrites_their_shards_only(source, tmp_path, whole, caplog):
    caplog.set_level("INFO")
    copy, out = tmp_path / "copy", tmp_path / "out"
    subprocess.run(["cp", "-rp", source, copy], check=True)
    broken = next(copy.glob("a/*.mp4"))
    content = broken.read_bytes()
    broken.write_bytes(content[:-1000] + bytes(1000))
    unreadable = broken.stat()
    with raises(UnusableClipsError):
        build(copy, out)
    assert "20 complete shard(s) are kept" in caplog.text
    assert not dataset(out).exists()
    before = {path.name: path.stat().st_mtime_ns for path in shards(out)}
    broken.write_bytes(content)
    # As `cp -p` or `chmod` do it: the file looks as it did when it couldn't be read.
    os.utime(broken, ns=(unreadable.st_atime_ns, unreadable.st_mtime_ns))
    assert build(copy, out) == whole
    after = {name: (dataset(out) / name).stat().st_mtime_ns for name in before}
    assert sum(before[name] != after[name] for name in before) == 1


def test_build_while_a_file_is_copied_raises(source, whole, tmp_path, monkeypatch):
    copy, out = tmp_path / "copy", tmp_path / "out"
    subprocess.run(["cp", "-rp", source, copy], check=True)
    late = next(copy.glob("a/*.mp4"))
    content, real = late.read_bytes(), clip_shards.encode_clip
    late.write_bytes(content[:1000])

    def encode(clip, storage):
        try:
            return real(clip, storage)
        finally:
            if clip.path == late:
                late.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(clip_shards, "encode_clip", encode)
        with raises(where="train", problem="its clips changed while it was written"):
            build(copy, out)
    assert build(copy, out) == whole


def test_staging_temporary_files_that_vanish_are_ignored(tmp_path, monkeypatch):
    """Workers of Beam's may outlive a killed build, and end when they like."""
    staged = Staging(tmp_path, tmp_path / "recordings" / "frames" / "1.0.0")
    left = staged.folder / "recordings" / "frames" / ".shards" / f"a{clip_shards.TEMPORARY}"
    left.parent.mkdir(parents=True)
    left.touch()
    real = Path.unlink

    def unlink(path, **options):
        real(path)
        real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with staged.locked():
            assert not left.exists()


def test_build_twice_at_a_time_raises(source, whole, tmp_path):
    """The second is refused; one of another dataset isn't."""
    child = start(source, tmp_path)
    while not shards(tmp_path):
        assert child.poll() is None, child.communicate()
        time.sleep(0.002)
    child.send_signal(signal.SIGSTOP)
    try:
        with raises(where=str(staging(tmp_path)), problem="another process"):
            build(source, tmp_path)
        assert run(arguments("recordings/original", source, tmp_path)) == 0
    finally:
        child.send_signal(signal.SIGCONT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert files(tmp_path) == whole
    assert {path.name for path in tmp_path.iterdir()} == {"recordings"}


def test_staging_after_a_kill_restores_the_replaced_dataset(tmp_path):
    target = tmp_path / "recordings" / "frames" / "1.0.0"
    target.mkdir(parents=True)
    (target / "old").touch()
    staged = Staging(tmp_path, target)
    with staged.locked():
        (staged.folder / "recordings" / "frames" / "1.0.0").mkdir(parents=True)
        target.rename(staged.folder / "replaced")  # and here it is killed
    with staged.locked():
        assert (target / "old").exists()
        staged.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


def test_staging_lock_file_removed_by_its_holder_raises(tmp_path, monkeypatch):
    staged = Staging(tmp_path, tmp_path / "recordings" / "frames" / "1.0.0")
    real = fcntl.flock

    def removed_meanwhile(file, operation):
        real(file, operation)
        (staged.folder / ".lock").unlink()

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with raises(problem="another process"), staged.locked():
        pass


@pytest.mark.parametrize("failure", [MemoryError(), OSError(errno.ESTALE, "Stale file handle")])
def test_build_after_any_failure_keeps_complete_shards(
    source, whole, tmp_path, monkeypatch, caplog, failure
):
    caplog.set_level("INFO")
    real = clip_shards.encode_clip

    def encode(clip, storage):
        if len(shards(tmp_path)) == 3:
            raise failure
        return real(clip, storage)

    with monkeypatch.context() as patch:
        patch.setattr(clip_shards, "encode_clip", encode)
        with pytest.raises(type(failure)):
            build(source, tmp_path)
    assert len(shards(tmp_path)) == 3
    assert "3 complete shard(s) are kept in" in caplog.text
    assert build(source, tmp_path) == whole


# A full disk


def check_full(errors, out, before):
    """One message, no part of a new dataset, the old one as it was."""
    (line,) = [line for line in errors.splitlines() if "error" in line]
    assert "Traceback" not in errors
    assert "MB are free there" in line
    assert {path.name for path in out.iterdir()} == ({"recordings"} if before else set())
    assert not before or files(out) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_build_beyond_the_file_size_limit_fails_and_cleans_up(source, whole, tmp_path, overwrite):
    before = build(source, tmp_path) if overwrite else None
    child = start(source, tmp_path, *["--overwrite"] * overwrite, prefix=SMALL_FILES)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "File too large" in errors
    check_full(errors, tmp_path, before)


def test_build_on_a_full_disk_fails_and_cleans_up(source, whole, tmp_path):
    """A file system of our own, in a mount namespace, that holds a dataset but not two."""
    small = tmp_path / "small"
    small.mkdir()
    size = 3 * sum(map(len, whole.values())) // 2
    mount = f'mount -t tmpfs -o size={size} none {small} && exec "$@"'
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    probe = subprocess.run([*namespace, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespaces here: {probe.stderr.decode()}")
    build(source, tmp_path / "old")
    script = f'cp -r {tmp_path}/old/* {small}; "$@"; status=$?; cp -r {small} {tmp_path}/kept; '
    prefix = [*namespace, "sh", "-c", script + "exit $status", "sh"]
    child = start(source, small, "--overwrite", prefix=prefix)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "No space left on device" in errors
    check_full(errors, tmp_path / "kept", whole)


def test_build_to_an_unwritable_folder_fails(source, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    child = start(source, blocked)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert errors.startswith("error: ")
    assert "Traceback" not in errors
