"""Exported programs: their outputs, manifests and consumer scripts."""

import hashlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from types import ModuleType

import msgspec
import numpy as np
import pytest

from dstadapter_jax import predict
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.records import example_views
from dstadapter_jax.export import __main__ as export
from dstadapter_jax.export import onnx as onnx_program
from dstadapter_jax.export import stablehlo as stablehlo_program
from dstadapter_jax.export.manifest import Manifest
from dstadapter_jax.inference.recognizer import Recognizer
from tests.helpers.adapters import SIZES, save_run, write_tower
from tests.helpers.clips import write_clip
from tests.helpers.errors import raises

ROOT = pathlib.Path(__file__).parents[2]
MODULES = {"stablehlo": stablehlo_program, "onnx": onnx_program}
HAS_ONNX = all(map(importlib.util.find_spec, onnx_program.PACKAGES))
NEEDS_ONNX = pytest.mark.skipif(not HAS_ONNX, reason="needs requirements-onnx.txt")
KINDS = ("stablehlo", pytest.param("onnx", marks=NEEDS_ONNX))


@pytest.fixture
def module(kind: str) -> ModuleType:
    return MODULES[kind]


def run_export(capsys: pytest.CaptureFixture, *arguments: str | pathlib.Path) -> dict:
    assert export.main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def read_manifest(printed: dict) -> Manifest:
    return msgspec.json.decode(pathlib.Path(printed["manifest"]).read_bytes(), type=Manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_export_program_of_a_run_has_its_outputs(kind, module, run_dir, tmp_path, capsys):
    output = tmp_path / "new folder" / "signs.bin"
    printed = run_export(capsys, kind, "--workdir", run_dir, "-o", output)
    assert printed["program"] == str(output)
    assert printed["num_clips"] == 8
    assert printed["num_views"] == 24
    assert printed["largest_probability_difference"] <= 1e-6
    assert sorted(path.name for path in output.parent.iterdir()) == ["signs.bin", "signs.bin.json"]

    manifest = read_manifest(printed)
    recognizer = Recognizer.load(run_dir)
    assert manifest.program.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    assert manifest.labels == recognizer.label_names
    assert manifest.input.shape == ("batch", 4, 32, 32, 3)
    assert manifest.training.step == recognizer.step
    program, rng = module.load(output), np.random.default_rng(0)
    for batch in (1, 3):
        views = rng.integers(256, size=(batch, 4, 32, 32, 3), dtype=np.uint8)
        expected = recognizer.probabilities(views)
        np.testing.assert_allclose(program(views), expected, rtol=0, atol=1e-6)


def test_export_program_of_a_bfloat16_adapter_computes_in_float32(
    config, recordings, tmp_path, capsys
):
    config.pretrained = str(write_tower(tmp_path / "tower.safetensors", SIZES))
    config.model.dtype = "bfloat16"
    run = save_run(config, tmp_path / "run")
    adapter, output = tmp_path / "signs.safetensors", tmp_path / "signs.stablehlo"
    run_export(capsys, "adapter", "--workdir", run, "-o", adapter)
    source = ("--adapter", adapter, "--backbone", config.pretrained)
    video = recordings / "s0_l0_t0.mp4"
    printed = run_export(capsys, "stablehlo", *source, "-o", output, video)
    assert printed["largest_probability_difference"] <= 1e-6
    manifest = read_manifest(printed)
    assert manifest.program.dtype == "float32"
    assert manifest.training.dtype == "bfloat16"
    views = np.random.default_rng(0).integers(256, size=(3, 4, 32, 32, 3), dtype=np.uint8)
    expected = Recognizer.load(run).probabilities(views)
    found = stablehlo_program.load(output)(views)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)  # bfloat16
    assert np.abs(found - expected).max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_consumer_script_equals_predict(kind, run_dir, recordings, tmp_path, capsys):
    # Landscape, and portrait by rotation; num_frames does not divide their lengths.
    upright, turned = recordings / "s0_l1_t1.mp4", tmp_path / "turned.mp4"
    pixels = np.random.default_rng(0).integers(256, size=(3, 6, 8, 3)).astype(np.uint8)
    frames = pixels.repeat(9, axis=0).repeat(8, axis=1).repeat(8, axis=2)
    write_clip(turned, frames, rotation=90)
    output = tmp_path / f"signs.{kind}"
    printed = run_export(capsys, kind, "--workdir", run_dir, "-o", output, upright, turned)
    assert (printed["num_clips"], printed["num_views"]) == (2, 6)
    assert predict.main(["--workdir", str(run_dir), str(upright), str(turned)]) == 0
    for line, video in zip(capsys.readouterr().out.splitlines(), (upright, turned), strict=True):
        expected = json.loads(line)["predictions"]
        # Outside the repository, so that the package can't be imported.
        result = subprocess.run(
            [sys.executable, ROOT / "docs" / f"consume_{kind}.py", output, video],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        answers = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
        assert [label for _, label in answers] == [entry["label"] for entry in expected]
        for (probability, _), entry in zip(answers, expected, strict=True):
            assert float(probability) == pytest.approx(entry["probability"], abs=2e-6)


@pytest.mark.parametrize("error", [1e-4, np.nan])
def test_export_program_with_other_outputs_raises_and_writes_nothing(
    error, run_dir, tmp_path, monkeypatch
):
    output = tmp_path / "signs.stablehlo"
    output.write_text("previous")
    load = stablehlo_program.load
    monkeypatch.setattr(
        stablehlo_program, "load", lambda path: lambda views: load(path)(views) + error
    )
    with raises(where=str(output), expected="1e-05", found=(f"{error:.2g}", "8")):
        export.main(["stablehlo", "--workdir", str(run_dir), "-o", str(output)])
    assert [path.name for path in tmp_path.iterdir()] == ["signs.stablehlo"]
    assert output.read_text() == "previous"


def test_export_program_without_the_dataset_raises(run_dir, tmp_path):
    arguments = ["stablehlo", "--workdir", str(run_dir), "-o", str(tmp_path / "signs")]
    with raises(where="--data_dir", problem=str(tmp_path), advice="VIDEO"):
        export.main([*arguments, "--data_dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_export_program_to_an_unwritable_path_raises_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place in ("file/signs", "folder"):
        output = str(tmp_path / place)
        with raises(where=output):
            export.main(["stablehlo", "--workdir", "none", "-o", output])
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.linux
def test_export_program_on_a_full_disk_fails_with_a_message(run_dir, tmp_path):
    # A real file system that is too small, in a separate mount namespace.
    mount = f'mount -t tmpfs -o size=64k none {tmp_path} && "$@"; s=$?; ls -A {tmp_path}; exit $s'
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    probe = subprocess.run([*namespace, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespaces here: {probe.stderr.decode()}")
    command = [sys.executable, "-m", "dstadapter_jax.export", "stablehlo"]
    result = subprocess.run(
        [*namespace, *command, "--workdir", run_dir, "-o", tmp_path / "signs.stablehlo"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 1
    assert str(tmp_path / "signs.stablehlo") in result.stderr
    assert "No space left" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_export_program_has_the_top_5_of_the_demos_run(kind, module, tmp_path, capsys):
    if "DEMO_WORKDIR" not in os.environ:
        pytest.skip("needs DEMO_WORKDIR, the workdir of a finished demo")
    demo = pathlib.Path(os.environ["DEMO_WORKDIR"])
    data = str(demo / "data")
    output = tmp_path / "signs"
    arguments = ["--workdir", demo / "adapter", "--data_dir", data, "-o", output]
    run_export(capsys, kind, *arguments)
    recognizer, program = Recognizer.load(demo / "adapter"), module.load(output)
    source = open_dataset("recordings/frames", data).source("test")
    assert len(source) == 144
    for example in source:
        views, _, _ = example_views(example, recognizer.preprocess, "pyav", "test", None)
        expected, found = recognizer.probabilities(views), program(views)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        for in_run, in_program in zip(expected, found, strict=True):
            np.testing.assert_array_equal(_top_5(in_program), _top_5(in_run))


def _top_5(probabilities: np.ndarray) -> np.ndarray:
    return np.argsort(-probabilities, kind="stable")[:5]
