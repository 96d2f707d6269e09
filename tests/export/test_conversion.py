"""Checkpoints of the reference as adapter files."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from dstadapter_jax import evaluate
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.errors import UserError
from dstadapter_jax.export.__main__ import main
from dstadapter_jax.export.conversion import read_labels
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.pretrained.formats import open_weights, state_dict_level
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.sources import WeightsError
from dstadapter_jax.pretrained.weight_table import is_adapter_weight
from tests.helpers.errors import raises
from tests.helpers.runs import write_config_file
from tests.helpers.weights import CHECKPOINT, CHECKPOINT_SIZES, blank_model

# How ml_collections loads config files.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module.. method:DeprecationWarning")

LABELS = ("hello", "thanks", "手語")


@pytest.fixture
def arguments(config, tmp_path):
    config.model.update(CHECKPOINT_SIZES | {"num_classes": 1})
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n", "utf-8")
    path = write_config_file(config, tmp_path)
    return ["convert", "--config", path, "--labels", str(tmp_path / "labels.txt")]


def probabilities(views):
    """Those of the checkpoint itself."""
    model = blank_model(**CHECKPOINT_SIZES)
    load_weights(model, CHECKPOINT)
    logits = np.asarray(model(normalize(views)), np.float64)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def converted(arguments, tmp_path, capsys, *options):
    path = tmp_path / "signs.safetensors"
    assert main([*arguments, "--checkpoint", str(CHECKPOINT), "-o", str(path), *options]) == 0
    return path, json.loads(capsys.readouterr().out)


def test_convert_gives_the_probabilities_of_the_checkpoint(arguments, tmp_path, capsys):
    path, printed = converted(arguments, tmp_path, capsys)
    assert printed["backbone"] == "signs.backbone.safetensors"
    assert (tmp_path / "signs.backbone.safetensors").is_file()
    recognizer = Recognizer.load_adapter(path)  # the backbone lies beside it
    assert recognizer.label_names == LABELS
    views = np.random.default_rng(0).integers(0, 256, (5, 2, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(
        recognizer.probabilities(views), probabilities(views), rtol=1e-5, atol=1e-7
    )
    assert "手語" in (tmp_path / "signs.md").read_text("utf-8")


def test_evaluate_of_a_converted_checkpoint_scores_the_dataset(config, arguments, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("sign 0\nsign 1\nsign 2\n")
    path, _ = converted(arguments, tmp_path, capsys)
    options = ["--output", str(tmp_path / "results"), "--data_dir", config.data.dir]
    assert evaluate.main(["--adapter", str(path), *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["num_clips"] == 9
    assert (tmp_path / "results" / "report_test.html").is_file()


def frozen_weights():
    with open_weights(CHECKPOINT) as tensors:
        level = state_dict_level(tensors)
        return {name: np.array(level[name]) for name in level if not is_adapter_weight(name)}


def test_convert_with_its_backbone_writes_no_other(arguments, tmp_path, capsys):
    save_file(frozen_weights(), tmp_path / "clip.safetensors")
    backbone = str(tmp_path / "clip.safetensors")
    path, printed = converted(arguments, tmp_path, capsys, "--backbone", backbone)
    assert printed["backbone"] == "clip.safetensors"
    assert not (tmp_path / "signs.backbone.safetensors").exists()
    assert Recognizer.load_adapter(path).label_names == LABELS


def test_convert_with_another_backbone_raises(arguments, tmp_path):
    weights = frozen_weights()
    weights["backbone.conv1.weight"] = weights["backbone.conv1.weight"] + 1
    save_file(weights, tmp_path / "other.safetensors")
    output = tmp_path / "x.safetensors"
    options = ["--backbone", str(tmp_path / "other.safetensors"), "-o", str(output)]
    with raises(WeightsError, where="--backbone", found="backbone.conv1.weight"):
        main([*arguments, "--checkpoint", str(CHECKPOINT), *options])
    assert not output.exists()


def test_convert_a_backbone_alone_raises(arguments, tmp_path):
    checkpoint, output = tmp_path / "clip.safetensors", tmp_path / "x.safetensors"
    save_file(frozen_weights(), checkpoint)
    options = ["--checkpoint", str(checkpoint), "-o", str(output)]
    with raises(WeightsError, expected="with adapters and classifier", found="a backbone"):
        main([*arguments, *options])


def test_convert_with_another_number_of_labels_raises(arguments, tmp_path):
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    options = ["--checkpoint", str(CHECKPOINT), "-o", str(tmp_path / "x.safetensors")]
    with raises(WeightsError, problem=("cls_head.fc_cls.weight", "(2, 16)", "(3, 16)")):
        main([*arguments, *options])


@pytest.mark.parametrize(
    ("content", "where"), [(b"a\n\nb\n", "line 2"), (b"a\na\n", "line 1"), (b"", "line 1")]
)
def test_read_labels_of_a_wrong_file_raises(tmp_path, content, where):
    (tmp_path / "labels.txt").write_bytes(content)
    with raises(UserError, where=where):
        read_labels(tmp_path / "labels.txt")
    with raises(UserError, problem="can't be read"):
        read_labels(tmp_path / "none.txt")
