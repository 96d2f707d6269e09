"""Adapter files: round trips, and refusal of corrupt, inconsistent and hostile files."""

import dataclasses
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dstadapter_jax.adapters.file import KEY, AdapterError, read_adapter, write_adapter
from dstadapter_jax.adapters.validation import SchemaError
from dstadapter_jax.files.hashing import checksum_arrays, checksum_json, file_sha256
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.pretrained.backbone import BUNDLED, BackboneRef, resolve_backbone
from dstadapter_jax.pretrained.sources import WeightsError
from tests.helpers.adapters import SIZES, draw_adapter, write_drawn, write_tower
from tests.helpers.errors import raises


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> pathlib.Path:
    return write_tower(tmp_path_factory.mktemp("tower") / "tower.safetensors", SIZES)


@pytest.fixture
def file(tower, tmp_path) -> pathlib.Path:
    return write_drawn(tmp_path / "signs.safetensors", tower, 5, 0)


@pytest.mark.parametrize("tune", ["adapter", "head"])
def test_read_adapter_returns_what_was_written(tower, tmp_path, tune):
    adapter, weights = draw_adapter(tower, 5, 0, tune)
    path = tmp_path / "signs.safetensors"
    write_adapter(path, adapter, weights)
    found, read = read_adapter(path)
    assert found == adapter
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
    content = path.read_bytes()
    write_adapter(path, adapter, weights)
    assert path.read_bytes() == content


def test_shapes_are_the_trained_parameters_by_reference_name(tower):
    names = set(draw_adapter(tower, 5, 0)[0].shapes)
    assert not {name for name in names if re.search(r"attn|mlp|ln_1|ln_2|ln_pre|conv1", name)}
    blocks = [f"backbone.transformer.resblocks.{i}.{a}_adapter." for i in (0, 1) for a in "ts"]
    leaves = ["fc1.weight", "fc1.bias", "conv.weight", "conv.bias", "fc2.weight", "fc2.bias"]
    leaves += ["caf.fc.0.weight", "caf.fc.2.weight"]
    assert names == {block + leaf for block in blocks for leaf in leaves} | {
        *("backbone.temporal_embedding", "backbone.ln_post.weight", "backbone.ln_post.bias"),
        *("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
    }


def test_write_adapter_as_float16_rounds_the_weights(tower, tmp_path):
    adapter, weights = draw_adapter(tower, 5, 0)
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    write_adapter(whole, adapter, weights)
    write_adapter(half, adapter, weights, "float16")
    saved = whole.stat().st_size - half.stat().st_size
    # Headers differ by a few digits of the offsets.
    assert saved == pytest.approx(2 * sum(w.size for w in weights.values()), abs=50)
    for name, array in read_adapter(half)[1].items():
        expected = weights[name].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(array, expected, strict=True)
    weights["cls_head.fc_cls.bias"][2] = 70_000
    with raises(where="cls_head.fc_cls.bias", problem=("1 of 5", "float16")):
        write_adapter(tmp_path / "none.safetensors", adapter, weights, "float16")
    assert not list(tmp_path.glob("none*"))


def test_write_adapter_with_invalid_metadata_writes_nothing(tower, tmp_path):
    adapter, weights = draw_adapter(tower, 5, 0)
    adapter = dataclasses.replace(adapter, license="x" * 201)
    with raises(SchemaError, where="license", expected="200", found="xxx"):
        write_adapter(tmp_path / "none.safetensors", adapter, weights)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, 0.99, -1])
def test_read_adapter_of_a_truncated_file_raises(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with raises(AdapterError, where=f"{file}: file"):
        read_adapter(file)


def test_read_adapter_with_a_flipped_bit_raises(file):
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(8), *rng.integers(8, header, 150), *rng.integers(header, len(content), 150)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        with raises(AdapterError, where=str(file)):
            read_adapter(file)


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("exploded",)


def test_read_adapter_of_other_files_raises(tower, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "text.safetensors": b"These are not the weights you are looking for.\n" * 100,
        "pickle.safetensors": pickle.dumps(Bomb()),
        "clip.mp4": b"\0\0\0\x20ftypisom" + bytes(1000),
        "deep.safetensors": (2**20).to_bytes(8, "little") + b"[" * 2**20,
        "huge.safetensors": (99_000_000).to_bytes(8, "little") + bytes(100),
    }.items():
        (tmp_path / name).write_bytes(content)
        with raises(AdapterError, where=f"{name}: file"):
            read_adapter(tmp_path / name)
    assert not (tmp_path / "exploded").exists()
    with raises(AdapterError, where=str(tower), found=KEY):
        read_adapter(tower)
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        read_adapter(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        read_adapter(tmp_path / "none.safetensors")


def forge(
    path: pathlib.Path,
    edit: Callable[[dict[str, Any]], Any] = lambda _: None,
    edit_weights: Callable[[dict[str, np.ndarray]], Any] = lambda _: None,
) -> None:
    """Change a file and make its checksum valid, as an attacker would."""
    with safe_open(path, framework="numpy") as opened:
        document = json.loads(opened.metadata()[KEY])
    weights = load_file(path)
    del document["checksum"]
    edit(document)
    edit_weights(weights)
    document.setdefault("checksum", checksum_json([document, checksum_arrays(weights)]))
    save_file(weights, path, {KEY: json.dumps(document)})


def changed(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *groups, name = field.split(".")

    def edit(document: dict[str, Any]) -> None:
        for group in groups:
            document = document[group]
        document[name] = value

    return edit


def test_read_adapter_of_a_valid_change_returns_it(file):
    forge(file, changed("license", "CC0-1.0"), lambda w: w["cls_head.fc_cls.bias"].fill(1))
    adapter, weights = read_adapter(file)
    assert adapter.license == "CC0-1.0"
    assert (weights["cls_head.fc_cls.bias"] == 1).all()


@pytest.mark.parametrize(
    ("field", "value", "facts"),
    [
        ("format_version", 2, ("format_version", "older", "3", "2")),
        ("format_version", 4, ("format_version", "newer", "3", "4")),
        ("format_version", None, ("format_version", "3", "none")),
        ("format_version", "1" * 10**6, ("format_version", "'111", "…")),
        ("surprise", 1, ("metadata", "`surprise`")),
        ("label_names", "abc", ("label_names", "`array`", "`str`")),
        ("label_names", ["a"] * 4, ("label_names", "5", "4")),
        ("label_names", ["a"] * 4 + [None], ("label_names", "`str`", "`null`")),
        ("label_names", ["a"] * 4 + ["\x1b[2J"], ("label_names[",)),
        ("label_names", ["a"] * 4 + ["\ud800"], ("label_names[",)),
        ("config", [], ("config", "`object`", "`array`")),
        ("config.tune", "full", ("config.tune", "'full'")),
        ("config.resize_positions", 1, ("config.resize_positions", "`bool`", "`int`")),
        ("config.data.decoder", "eval", ("config.data.decoder", "'eval'")),
        ("config.preprocess.crop_area", ["0", 1], ("config.preprocess.crop_area", "`float`")),
        ("config.preprocess.crop_area", [1], ("config.preprocess.crop_area",)),
        ("config.model.width", 10**12, ("config.model.width", "4096")),
        ("config.model.layers", 10**9, ("config.model.layers", "128")),
        ("config.model.num_classes", -1, ("config.model.num_classes", "1")),
        ("config.model.num_frames", 4.5, ("config.model.num_frames", "`int`", "`float`")),
        ("config.model.heads", True, ("config.model.heads", "`int`", "`bool`")),
        ("config.model.heads", 3, ("config.model.width", "model.heads=3")),
        ("config.model.input_resolution", 1024, ("config.model", "2147")),
        ("config.model.dropout", float("nan"), ("metadata", "NaN")),
        ("config.model.spatial_kernel", {}, ("config.model.spatial_kernel", "`object`")),
        ("config.model.spatial_kernel", [1, [], 1], ("config.model.spatial_kernel[1]",)),
        ("config.model.dtype", "object", ("config.model.dtype", "'object'")),
        ("backbone.sha256", "0" * 63, ("backbone.sha256",)),
        ("backbone.source", "/etc/passwd", ("backbone.source", "'/etc/passwd'")),
        ("backbone.source", "../tower.npz", ("backbone.source", "'../tower.npz'")),
        ("step", "12", ("step", "`int`", "`str`")),
        ("metrics", {"test": 3}, ("metrics", "`object`", "`int`")),
        ("metrics", {"test": {"top1": [1]}}, ("metrics", "`array`")),
        ("license", "x" * 201, ("license", "200")),
        ("checksum", "0" * 64, ("checksum",)),
    ],
)
def test_read_adapter_with_invalid_metadata_names_the_field(file, field, value, facts):
    forge(file, changed(field, value))
    tracemalloc.start()
    where, *values = facts
    with raises(AdapterError, where=f"{file}: {where}") as caught:
        read_adapter(file)
    for value in values:
        assert value in caught.value.problem + caught.value.expected + caught.value.found
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert peak < 20e6


@pytest.mark.parametrize("field", ["label_names", "config.model.width", "backbone.sha256", "step"])
def test_read_adapter_without_a_field_raises(file, field):
    *groups, name = field.split(".")

    def remove(document: dict[str, Any]) -> None:
        for group in groups:
            document = document[group]
        del document[name]

    forge(file, remove)
    with raises(AdapterError, where=str(file), problem=f"`{name}`"):
        read_adapter(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 10**5, "{}", "1" * 5000])
def test_read_adapter_without_a_json_document_raises(file, text):
    save_file(load_file(file), file, {KEY: text})
    where = "format_version" if text in ("[]", "3", "{}") else "metadata"
    with raises(AdapterError, where=f"{file}: {where}"):
        read_adapter(file)


BIAS = "cls_head.fc_cls.bias"


@pytest.mark.parametrize(
    ("edit", "facts"),
    [
        (lambda w: w.pop(BIAS), ("tensors", "1 ", BIAS)),
        (lambda w: w.update(other=w[BIAS]), ("tensors", "1 ", "other")),
        (lambda w: w.update({BIAS: w[BIAS][:4]}), (BIAS, "(5,)", "(4,)")),
        (lambda w: w.update({BIAS: w[BIAS].astype(np.int64)}), (BIAS, "F32 or F16", "I64")),
        (lambda w: w[BIAS].fill(np.nan), (BIAS, "5 of 5", "float32")),
    ],
)
def test_read_adapter_with_invalid_tensors_names_them(file, edit, facts):
    forge(file, edit_weights=edit)
    where, *values = facts
    with raises(AdapterError, where=f"{file}: {where}") as caught:
        read_adapter(file)
    for value in values:
        assert value in caught.value.problem + caught.value.expected + caught.value.found


def test_read_adapter_with_sizes_without_tensors_raises_before_allocation(file):
    forge(file, changed("config.model.width", 4096))
    tracemalloc.start()
    with raises(AdapterError, where="temporal_embedding", expected="(1, 4, 4096)"):
        read_adapter(file)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_load_adapter_with_more_layers_than_the_backbone_raises(tower, tmp_path):
    # A head has no tensors per layer: only the backbone's file limits their number.
    file = write_drawn(tmp_path / "head.safetensors", tower, 5, 0, "head")
    forge(file, changed("config.model.layers", 128))
    with raises(WeightsError, problem=("missing", "resblocks.2.")):
        Recognizer.load_adapter(file, str(tower))


def test_load_adapter_with_another_backbone_raises(file, tower, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.safetensors"
    save_file(load_file(tower) | {"backbone.class_embedding": np.ones(32, np.float32)}, other)
    hashes = {"expected": file_sha256(tower), "found": file_sha256(other)}
    with raises(WeightsError, where="other.safetensors", advice="--backbone", **hashes):
        Recognizer.load_adapter(file, str(other))
    with raises(WeightsError, where="tower.safetensors", advice="--backbone FILE"):
        Recognizer.load_adapter(file)
    (tmp_path / "tower.safetensors").write_bytes(tower.read_bytes())
    Recognizer.load_adapter(file)  # found in the current folder by its name


def test_resolve_backbone_finds_the_bundled_file_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sha256 = file_sha256(BUNDLED[0])
    for source in ("backbone.safetensors", "/home/somebody/clone/demo/backbone.safetensors"):
        assert resolve_backbone(BackboneRef(source, "", sha256)) == BUNDLED[0]


def test_read_adapter_does_not_import_tfds_grain_or_spotting(file):
    code = (
        "import sys\n"
        "from dstadapter_jax.adapters.file import read_adapter\n"
        "read_adapter(sys.argv[1])\n"
        "heavy = ('tensorflow_datasets', 'grain', 'orbax', 'dstadapter_jax.spotting')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    result = subprocess.run([sys.executable, "-c", code, file], capture_output=True, check=True)
    assert result.stdout.split() == [b"[]"]
