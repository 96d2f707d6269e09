"""A run without `--workdir` and `config.data.dir`, and the commands that follow it."""

import json

import pytest

import launch
from dstadapter_jax import calibrate, evaluate, predict
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.export import adapter
from dstadapter_jax.training.resume import RunMismatchError
from tests.helpers.errors import raises
from tests.helpers.runs import write_config_file


@pytest.fixture
def arguments(config, tmp_path, monkeypatch):
    """Arguments of `launch.py` in an empty folder; the config names no folder of datasets."""
    config.data.dir, config.num_epochs = "", 1
    monkeypatch.chdir(tmp_path)
    return ["--config", write_config_file(config, tmp_path), "--num_processes=1"]


def test_commands_after_a_run_need_no_workdir(
    arguments, data_dir, recordings, tmp_path, monkeypatch, capsys, caplog
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    caplog.set_level("INFO")
    assert launch.main(arguments) == 0
    assert caplog.messages[:2] == [
        "workdir runs/tiny (default)",
        f"dataset recordings/frames in {data_dir} (TFDS_DATA_DIR)",
    ]
    run = tmp_path / "runs/tiny"
    assert json.loads((run / "config.json").read_text())["data"]["dir"] == str(data_dir)

    monkeypatch.delenv("TFDS_DATA_DIR")  # the run knows its dataset
    trained = json.loads(capsys.readouterr().out.splitlines()[-1])
    caplog.clear()
    assert evaluate.main([]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert (evaluated["step"], evaluated["top1"]) == (trained["step"], trained["top1"])
    assert "workdir runs/tiny (newest run)" in caplog.messages

    assert predict.main([str(recordings / "s0_l0_t0.mp4")]) == 0
    assert calibrate.main(["--clips=3"]) == 0
    assert (run / "spotting.json").exists()
    with raises(where="runs/tiny: config.pretrained"):  # the tiny run has no backbone to name
        adapter.main(["-o", "signs.safetensors"])


def test_launch_in_the_default_workdir_of_another_run_raises(
    arguments, data_dir, monkeypatch, capsys
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert launch.main(arguments) == 0
    with raises(RunMismatchError, where="runs/tiny", problem="seed"):
        launch.main([*arguments, "--config.seed=1"])


def test_launch_without_dataset_names_the_place_and_the_build(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    build = "python -m tfds_builders recordings/frames --manual_dir SRC`"
    with raises(ConfigError, problem=str(tmp_path / "data/recordings/frames"), advice=build):
        launch.main(arguments)


@pytest.mark.parametrize("main", [evaluate.main, calibrate.main])
def test_command_without_runs_raises(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(where="--workdir", problem=str(tmp_path / "runs")):
        main([])
