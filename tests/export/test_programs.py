"""Programs that leave this project: the file's, the runtime's and the examples' own word."""

import functools
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys
from types import ModuleType

import cv2
import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import DSTAdapter, ModelConfig, predict
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import example_views
from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames, make_views
from dstadapter_jax.export import __main__ as export
from dstadapter_jax.export import onnx as onnx_program
from dstadapter_jax.export import stablehlo as stablehlo_program
from dstadapter_jax.export.manifest import preprocessing_fields
from dstadapter_jax.inference.recognizer import Recognizer, view_probabilities
from dstadapter_jax.pretrained.initialization import init_model
from tests.helpers.adapters import SIZES, save_run, write_tower
from tests.helpers.clips import write_clip

ROOT = pathlib.Path(__file__).parents[2]
MODULES = {"stablehlo": stablehlo_program, "onnx": onnx_program}
HAS_ONNX = all(map(importlib.util.find_spec, onnx_program.PACKAGES))
NEEDS_ONNX = pytest.mark.skipif(not HAS_ONNX, reason="needs pip install -r requirements-onnx.txt")
KINDS = ("stablehlo", pytest.param("onnx", marks=NEEDS_ONNX))


@pytest.fixture
def module(kind: str) -> ModuleType:
    return MODULES[kind]


def run_export(capsys: pytest.CaptureFixture, *arguments: str | pathlib.Path) -> dict:
    assert export.main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_gives_what_the_run_gives(kind, module, run_dir, tmp_path, capsys):
    output = tmp_path / "new folder" / "signs.bin"
    printed = run_export(capsys, kind, "--workdir", run_dir, "-o", output)
    assert printed["program"] == str(output)
    assert printed["num_clips"] == 8
    assert printed["num_views"] == 24
    assert printed["largest_probability_difference"] <= 1e-6
    assert sorted(path.name for path in output.parent.iterdir()) == ["signs.bin", "signs.bin.json"]

    contract = json.loads(pathlib.Path(printed["contract"]).read_text())
    recognizer = Recognizer.load(run_dir)
    assert contract["program"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert contract["labels"] == list(recognizer.label_names)
    assert contract["input"]["shape"] == ["batch", 4, 32, 32, 3]
    assert contract["training"]["step"] == recognizer.step
    program, rng = module.load(output), np.random.default_rng(0)
    for batch in (1, 3):
        views = rng.integers(256, size=(batch, 4, 32, 32, 3), dtype=np.uint8)
        expected = recognizer.probabilities(views)
        np.testing.assert_allclose(program(views), expected, rtol=0, atol=1e-6)


@NEEDS_ONNX
@pytest.mark.parametrize("spatial_kernel", [(1, 1, 1), (1, 3, 3)])
def test_every_weight_counts_in_onnx(spatial_kernel, tmp_path):
    cfg = ModelConfig(
        num_classes=5,
        input_resolution=24,
        num_frames=3,
        patch_size=8,
        width=32,
        layers=4,
        heads=4,
        spatial_kernel=spatial_kernel,
    )
    model = _random_model(cfg, seed=0)
    content, _ = onnx_program.build(model)
    path = tmp_path / "signs.onnx"
    path.write_bytes(content)
    views = np.random.default_rng(1).integers(256, size=(4, 3, 24, 24, 3), dtype=np.uint8)
    expected = np.asarray(jax.jit(functools.partial(view_probabilities, model))(views))
    assert np.ptp(expected, axis=0).max() > 0.1  # the clips differ, as far as the model sees
    np.testing.assert_allclose(onnx_program.load(path)(views), expected, rtol=0, atol=5e-7)


def _random_model(cfg: ModelConfig, seed: int) -> DSTAdapter:
    """All weights random, those too that begin at zero or one."""
    graphdef, state = nnx.split(init_model(cfg, seed))
    rng = np.random.default_rng(seed)
    return nnx.merge(
        graphdef,
        jax.tree.map(lambda w: w + rng.normal(0, 0.2, w.shape).astype(np.float32), state),
    )


def test_an_adapter_file_of_a_run_in_bfloat16_leaves_in_float32(
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
    contract = json.loads(pathlib.Path(printed["contract"]).read_text())
    assert contract["program"]["dtype"] == "float32"
    assert contract["training"]["dtype"] == "bfloat16"
    views = np.random.default_rng(0).integers(256, size=(3, 4, 32, 32, 3), dtype=np.uint8)
    of_run, found = Recognizer.load(run).probabilities(views), stablehlo_program.load(output)(views)
    np.testing.assert_allclose(found, of_run, rtol=0, atol=0.02)  # as coarse as bfloat16
    assert np.abs(found - of_run).max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_answers_as_predict_does(kind, run_dir, recordings, tmp_path, capsys):
    # Landscape, then portrait by a turn; of lengths that no number of segments divides.
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
        # Outside the repository, where nothing of it can be imported.
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
def test_a_program_that_gives_something_else_is_not_written(error, run_dir, tmp_path, monkeypatch):
    output = tmp_path / "signs.stablehlo"
    output.write_text("of before")
    load = stablehlo_program.load
    monkeypatch.setattr(
        stablehlo_program, "load", lambda path: lambda views: load(path)(views) + error
    )
    with pytest.raises(ValueError, match=r"signs\.stablehlo: not written, .* (0\.0001|nan) on 8"):
        export.main(["stablehlo", "--workdir", str(run_dir), "-o", str(output)])
    assert [path.name for path in tmp_path.iterdir()] == ["signs.stablehlo"]
    assert output.read_text() == "of before"


def test_without_the_dataset_it_asks_for_videos(run_dir, tmp_path):
    arguments = ["stablehlo", "--workdir", str(run_dir), "-o", str(tmp_path / "signs")]
    with pytest.raises(ValueError, match=r"no built dataset in .* name video files to check it on"):
        export.main([*arguments, "--data_dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place, reason in (("file/signs", "exists|Not a directory"), ("folder", "is a folder")):
        output = str(tmp_path / place)
        with pytest.raises(ValueError, match=rf"{place}: can't be written: .*({reason})"):
            export.main(["stablehlo", "--workdir", "none", "-o", output])
    assert not list((tmp_path / "folder").iterdir())


def test_a_full_disk_leaves_no_half_file(run_dir, tmp_path):
    # A real file system that the program doesn't fit into, in a mount namespace of its own.
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
    assert "signs.stablehlo: its 0.2 MB can't be written: No space left" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_onnx_without_its_packages_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(onnx_program, "PACKAGES", ("onnxruntime",))
    with pytest.raises(ValueError, match=r"onnxruntime: pip install -r requirements-onnx\.txt"):
        export.main(["onnx", "--workdir", "none", "-o", str(tmp_path / "signs.onnx")])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_top_5_on_the_demos_test_split(kind, module, tmp_path, capsys):
    if "DEMO_WORKDIR" not in os.environ:
        pytest.skip("needs DEMO_WORKDIR, where the demo has run")
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
        for of_run, of_program in zip(expected, found, strict=True):
            np.testing.assert_array_equal(_top_5(of_program), _top_5(of_run))


def _top_5(probabilities: np.ndarray) -> np.ndarray:
    return np.argsort(-probabilities, kind="stable")[:5]


@pytest.mark.parametrize(("num_frames", "side"), [(8, 32), (6, 48)])
def test_the_contracts_formulas_are_those_of_the_preprocessing(num_frames, side):
    sizes = ModelConfig(num_classes=2, num_frames=num_frames, input_resolution=side)
    fields, cfg = preprocessing_fields(sizes), PreprocessConfig(num_frames, side)

    def formula(field: str, **names: int) -> int:
        return eval(fields[field], {"round": round, "floor": math.floor} | fields | names)

    for length in range(1, 200):
        frames = [formula("frame", N=length, i=i) for i in range(num_frames)]
        assert frames == choose_frames(length, cfg, "test").tolist()
    rng = np.random.default_rng(0)
    for short, long in ((50, 71), (33, 70), (37, 37), (64, 100)):
        frame = rng.integers(256, size=(short, long, 3), dtype=np.uint8)
        resized = cv2.resize(frame, (formula("long_side", short=short, long=long), side))
        step = (resized.shape[1] - side) // 2
        starts = {"start": 0, "end": 2 * step, "middle": step}
        expected = [resized[:, starts[crop] :][:, :side] for crop in fields["crops"]]
        views, counts = make_views(frame[np.newaxis], cfg, "test")
        np.testing.assert_array_equal(np.repeat(views[:, 0], counts, axis=0), expected)
