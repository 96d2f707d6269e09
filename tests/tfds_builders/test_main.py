"""The command `python -m tfds_builders`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.builds import build, read_back, run
from tests.helpers.dataset_trees import put, put_labels
from tests.helpers.errors import raises
from tests.tfds_builders.conftest import NUM_FRAMES

ROOT = Path(__file__).parents[2]


def data(out, config="frames"):
    return out / "recordings" / config / "1.0.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "are required: DATASET[/CONFIG]"),
        (["recordings", "recordings"], "unrecognized arguments: recordings"),
        (["recording"], "unknown dataset 'recording'; one of: recordings"),
        (["recordings/small"], "unknown config 'small' of recordings; one of: frames, original"),
        (["recordings"], "--manual_dir is needed"),
        (["recordings", "--num_shards", "3"], "unrecognized arguments: --num_shards"),
        (["recordings", "--color"], "unrecognized arguments: --color"),
        (["autsl/depth"], "unknown config 'depth' of autsl; one of: rgb, rgb-original"),
        (["autsl", "--manual_dir=.", "--layout=label"], "--layout has no effect on autsl"),
        (["lsa64", "--manual_dir=.", "--encoding=cp1252"], "no effect on lsa64"),
        (["autsl/rgb", "--max_missing", "1"], "expected a share from 0 to below 1, got 1"),
        (["autsl/rgb", "--max_missing", "nan"], "expected a share from 0 to below 1, got nan"),
        (["autsl/rgb", "--max_missing", "x"], "x"),
    ],
)
def test_main_wrong_use_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("empty", [["--data_dir", ""], ["--manual_dir="]])
def test_main_empty_argument_exits_with_2(source, empty, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(["recordings", "--manual_dir", str(source), *empty])
    assert "an argument is empty" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "found"), [("", "an empty folder"), ("no", "nothing")])
def test_main_folder_without_files_raises(source, out, name, found):
    with raises(where=f"--manual_dir {source / name}", found=found):
        build("recordings", source / name, out)


def test_main_existing_dataset_is_built_again_on_request_only(source, out, mp4, caplog):
    caplog.set_level("INFO")
    put_labels(source, mp4)
    assert build("recordings", source, out) == 0
    put(source, ["hello/new.mp4"], mp4)
    assert build("recordings", source, out) == 0
    assert "--overwrite builds it again" in caplog.text
    assert sum(map(len, read_back(out, "recordings/frames")[1].values())) == 6
    assert build("recordings", source, out, "--overwrite") == 0
    assert sum(map(len, read_back(out, "recordings/frames")[1].values())) == 7
    assert [path.name for path in data(out).parent.iterdir()] == ["1.0.0"]


def test_main_incomplete_dataset_raises(source, out, mp4):
    put_labels(source, mp4)
    data(out).mkdir(parents=True)
    with raises(where=str(data(out)), expected="a complete dataset"):
        build("recordings", source, out)


def start(*arguments, tmp_path):
    """Runs Python; it exits at once if anything imports TensorFlow, installed or not."""
    trap = tmp_path / "path" / "tensorflow" / "__init__.py"
    put(tmp_path, [trap], b"raise SystemExit('TensorFlow was imported')")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(trap.parents[1]), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True
    )


def test_command_and_reading_back_import_no_tensorflow(source, out, mp4, tmp_path):
    put_labels(source, mp4)
    options = ["--manual_dir", source, "--data_dir", out]
    done = start("-m", "tfds_builders", "recordings", *options, tmp_path=tmp_path)
    assert done.returncode == 0
    assert "copies in several splits" in done.stderr  # all files are the same
    assert "recordings/frames: 2 labels" in done.stdout
    assert "\nlabels: bye, hello\n" in done.stdout
    reader = f"""
import json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory({str(data(out))!r})
clip = builder.as_data_source("train")[0]
names = builder.info.features["label"].names
import tfds_builders.__main__
print(json.dumps([names[clip["label"]], len(clip["frames"]), "tensorflow" in sys.modules]))
"""
    read = start("-c", reader, tmp_path=tmp_path)
    assert json.loads(read.stdout) == ["bye", NUM_FRAMES, False], read.stderr


def test_command_unreadable_clips_fails_without_stack_trace(source, out, tmp_path):
    put(source, [f"{label}/{i}.mp4" for label in ("hi", "ho") for i in range(3)], b"text")
    options = ["--manual_dir", source, "--data_dir", out]
    failed = start("-m", "tfds_builders", "recordings", *options, tmp_path=tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"\nerror: {source}: 6 clip(s) can't be read" in failed.stderr
    assert "Traceback" not in failed.stderr
