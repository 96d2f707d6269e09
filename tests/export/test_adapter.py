"""From a run's workdir to an adapter file, its card and the hub, and back by `--adapter`."""

import json
import os
import pathlib
import subprocess

import jax
import numpy as np
import pytest
from flax import nnx
from huggingface_hub import ModelCard

from dstadapter_jax import dump_weights, evaluate, predict
from dstadapter_jax.adapters.file import read_adapter
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data.preprocess import normalize
from dstadapter_jax.export.__main__ import main as export
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.partition import partition
from dstadapter_jax.pretrained.backbone import FrozenBackbone
from dstadapter_jax.pretrained.formats import WeightsError
from dstadapter_jax.pretrained.initialization import build_model
from tests.conftest import tiny_config
from tests.helpers.adapters import SIZES, save_run, write_tower
from tests.helpers.errors import raises
from tests.helpers.hub_server import COMMIT, TOKEN, serving

VIEWS = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("of-somebody")


@pytest.fixture(scope="module")
def config(folder, data_dir):
    config = tiny_config(data_dir)
    config.pretrained = str(write_tower(folder / "tower.safetensors", SIZES))
    return config


@pytest.fixture(scope="module")
def run(folder, config) -> pathlib.Path:
    """Of one checkpoint, with its results on the test split."""
    workdir = save_run(config, folder / "run")
    assert evaluate.main(["--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture(scope="module")
def signs(folder, run) -> pathlib.Path:
    """Its adapter file."""
    path = folder / "signs.safetensors"
    arguments = ["--workdir", str(run), "-o", str(path), "--license", "CC-BY-4.0"]
    assert export(["adapter", *arguments, "--language", "gsg"]) == 0
    return path


def test_what_is_exported_gives_the_runs_bits(run, signs, config):
    adapter, weights = read_adapter(signs)
    tower = FrozenBackbone.load(
        adapter.model, pathlib.Path(config.pretrained), resize_positions=False
    )
    again = nnx.merge(tower.graphdef, tower.trainable(weights), tower.frozen)
    model, _ = build_model(config)
    graphdef, like, frozen = partition(model, "adapter")
    with Checkpointer(run, read_only=True) as checkpoints:
        model = nnx.merge(graphdef, checkpoints.restore_trainable(0, like), frozen)
    there, here = dump_weights(model), dump_weights(again)
    assert list(here) == list(there)
    for name, array in there.items():
        np.testing.assert_array_equal(here[name], array, strict=True)
    logits = jax.jit(lambda model: model(normalize(VIEWS)))
    np.testing.assert_array_equal(logits(again), logits(model), strict=True)

    trained = Recognizer.load(run)
    shared = Recognizer.load_adapter(signs, config.pretrained)
    for views in (VIEWS, VIEWS[:1]):
        found, expected = shared.probabilities(views), trained.probabilities(views)
        np.testing.assert_array_equal(found, expected, strict=True)
    assert (shared.label_names, shared.preprocess) == (trained.label_names, trained.preprocess)


def test_a_head_alone_gives_its_runs_bits(folder, config, tmp_path):
    config = config.copy_and_resolve_references()
    config.tune = "head"
    run, path = save_run(config, tmp_path / "run"), tmp_path / "head.safetensors"
    assert export(["adapter", "--workdir", str(run), "-o", str(path)]) == 0
    assert set(read_adapter(path)[1]) == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}
    found = Recognizer.load_adapter(path, config.pretrained).probabilities(VIEWS)
    np.testing.assert_array_equal(found, Recognizer.load(run).probabilities(VIEWS), strict=True)


def test_the_file_says_what_it_should_and_nothing_of_the_machine(signs, run, config, data_dir):
    adapter, _ = read_adapter(signs)
    content = signs.read_bytes() + signs.with_suffix(".md").read_bytes()
    for private in (signs.parent, data_dir, "of-somebody"):
        assert str(private).encode() not in content
    assert adapter.backbone.source == "tower.safetensors"
    results = json.loads((run / "eval_test.json").read_text())
    assert adapter.metrics["test"]["top1"] == results["top1"]
    assert adapter.metrics["test"]["num_clips"] == 9
    assert adapter.metrics["validation"]["top1"] == 0.5
    assert adapter.training["training_clips"] == 27
    assert (adapter.license, adapter.language, adapter.step) == ("CC-BY-4.0", "gsg", 0)


def test_results_of_another_checkpoint_are_left_out(run, tmp_path, caplog):
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", run, copy], check=True)
    results = json.loads((copy / "eval_test.json").read_text()) | {"step": 6}
    (copy / "eval_test.json").write_text(json.dumps(results))
    path = tmp_path / "signs.safetensors"
    assert export(["adapter", "--workdir", str(copy), "-o", str(path), "--dtype", "float16"]) == 0
    assert set(read_adapter(path)[0].metrics) == {"validation"}
    assert "eval_test.json is of step 6, not of 0: left out" in caplog.text


def test_the_card_is_one_the_hub_understands(signs):
    card = ModelCard.load(signs.with_suffix(".md"))
    assert (card.data.license, card.data.language) == ("cc-by-4.0", "gsg")
    assert card.data.pipeline_tag == "video-classification"
    results = {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert results["validation", "top-1"] == 0.5
    assert "sign 0, sign 1, sign 2" in card.text
    assert "--adapter signs.safetensors" in card.text
    assert "--backbone FILE" in card.text


def test_runs_that_have_no_adapter_to_share(run_dir, config, tmp_path):
    output = str(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="backbone was drawn at random, and nobody else has it"):
        export(["adapter", "--workdir", str(run_dir), "-o", output])
    config = config.copy_and_resolve_references()
    config.tune = "full"
    run = save_run(config, tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"tune=full has trained the whole tower, .*adapter or hea"
    ):
        export(["adapter", "--workdir", str(run), "-o", output])
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (export, ["adapter", "--workdir", "x", "-o", "x.npz"], "expected NAME.safetensors"),
        (export, ["adapter", "--workdir", "x", "-o", "none/x.safetensors"], "folder that exists"),
        (export, ["adapter", "--workdir", "x", "-o", "x.safetensors", "--language", "G"], "ase"),
        (export, ["adaptor"], "invalid choice: 'adaptor'"),
        (predict.main, ["clip.mp4"], "--workdir --adapter is required"),
        (predict.main, ["--workdir", "x", "--adapter", "y", "clip.mp4"], "not allowed with"),
        (predict.main, ["--adapter", "y", "--step", "3", "clip.mp4"], "--step goes with --workdir"),
        (evaluate.main, ["--adapter", "y", "--data_dir", "x"], "needs --data_dir and --output"),
        (evaluate.main, ["--adapter", "y", "--output", "x"], "needs --data_dir and --output"),
    ],
)
def test_wrong_use(command, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        command(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def lines_of(capsys: pytest.CaptureFixture) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_evaluate_takes_an_adapter_file(signs, run, config, data_dir, tmp_path, capsys):
    arguments = ["--adapter", str(signs), "--backbone", config.pretrained]
    results = tmp_path / "new" / "results"
    arguments += ["--data_dir", str(data_dir), "--output", str(results)]
    assert evaluate.main(arguments) == 0
    (printed,) = lines_of(capsys)
    assert printed == json.loads((results / "eval_test.json").read_text())
    expected = json.loads((run / "eval_test.json").read_text())
    for name in ("top1", "top5", "mean_class_accuracy", "num_clips", "step", "split"):
        assert printed[name] == expected[name], name


def test_predict_takes_adapter_files(signs, run, config, recordings, capsys):
    videos = [str(recordings / "s0_l0_t0.mp4"), "none.mp4", str(recordings / "s1_l2_t1.mp4")]
    assert predict.main(["--workdir", str(run), *videos]) == 1
    expected = lines_of(capsys)
    backbone = ["--backbone", config.pretrained]
    assert predict.main(["--adapter", str(signs), *backbone, *videos]) == 1
    assert lines_of(capsys) == expected

    several = ["--adapter", f"dgs={signs}", "--adapter", str(signs)]
    assert predict.main([*several, *backbone, *videos]) == 1
    found = lines_of(capsys)
    assert [(line["video"], line["language"]) for line in found] == [
        (video, language) for video in videos for language in ("dgs", "signs")
    ]
    for line, alone in zip(found[::2], expected, strict=True):
        labels = [guess["label"] for guess in line.get("predictions", ())]
        assert labels == [guess["label"] for guess in alone.get("predictions", ())]
        assert line.get("error") == alone.get("error")
    with pytest.raises(ValueError, match=r"expected names that differ, found signs, signs; say NA"):
        predict.main(["--adapter", str(signs), "--adapter", str(signs), *videos])


@pytest.mark.slow
@pytest.mark.skipif("DEMO_WORKDIR" not in os.environ, reason="needs the demo, already run")
@pytest.mark.parametrize("tune", ["adapter", "head"])
def test_the_demos_results_from_its_adapter_file_alone(tune, tmp_path, capsys):
    demo, path = pathlib.Path(os.environ["DEMO_WORKDIR"]), tmp_path / "signs.safetensors"
    assert export(["adapter", "--workdir", str(demo / tune), "-o", str(path)]) == 0
    assert path.stat().st_size < {"adapter": 100_000, "head": 5_000}[tune]
    results = ["--output", str(tmp_path / "results")]
    assert evaluate.main(["--adapter", str(path), "--data_dir", str(demo / "data"), *results]) == 0
    found, expected = lines_of(capsys)[-1], json.loads((demo / tune / "eval_test.json").read_text())
    # The run's own program rounds otherwise than the tests', which are compiled without optimizing.
    name = "expected_calibration_error"
    assert found.pop(name) == pytest.approx(expected.pop(name), abs=1e-6)
    assert {name: found[name] for name in expected} == expected


# The hub's client calls its own HTTP library in a way that this warns of.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_pushed_to_a_hub_and_fetched_from_it(
    signs, config, recordings, tmp_path, monkeypatch, capsys
):
    video, backbone = str(recordings / "s0_l0_t0.mp4"), ["--backbone", config.pretrained]
    assert predict.main(["--adapter", str(signs), *backbone, video]) == 0
    expected = lines_of(capsys)
    with serving() as hub:
        place = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": place,
            "HF_HUB_CACHE": str(tmp_path),
            # The hub's newer way of sending large files, Xet, needs a server of its own.
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        push = ["push", str(signs), "OWNER/REPO", "--private"]
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        with pytest.raises(ValueError, match=r"^OWNER/REPO: not pushed \(.*401.*hf auth login"):
            export(push)
        assert not hub.files

        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert export(push) == 0
        (result,) = lines_of(capsys)
        assert result["commit"] == COMMIT
        assert hub.created[-1]["visibility"] == "private"
        card = signs.with_suffix(".md").read_bytes()
        assert hub.files == {"signs.safetensors": signs.read_bytes(), "README.md": card}
        assert predict.main(["--adapter", result["adapter"], *backbone, video]) == 0
        assert lines_of(capsys) == expected
        with raises(WeightsError, where="hf:OWNER/REPO/none.safetensors"):
            predict.main(["--adapter", "hf:OWNER/REPO/none.safetensors", video])


def test_what_is_not_whole_is_not_pushed(signs, tmp_path):
    path = tmp_path / "signs.safetensors"
    path.write_bytes(signs.read_bytes()[:-1])
    with pytest.raises(ValueError, match="expected an adapter file"):
        export(["push", str(path), "OWNER/REPO"])
    path.write_bytes(signs.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"signs\.md: expected the model card"):
        export(["push", str(path), "OWNER/REPO"])
