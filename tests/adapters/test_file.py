"""Adapter files as such: whole round trips, and everything that may be wrong with one refused."""

import dataclasses
import json
import os
import pathlib
import pickle
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dstadapter_jax.adapters.file import KEY, AdapterError, read_adapter, write_adapter
from dstadapter_jax.files.hashing import checksum_arrays, checksum_json, file_sha256
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.pretrained.backbone import BUNDLED, BackboneRef, resolve_backbone
from dstadapter_jax.pretrained.formats import WeightsError
from tests.helpers.adapters import SIZES, draw_adapter, write_drawn, write_tower


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> pathlib.Path:
    return write_tower(tmp_path_factory.mktemp("tower") / "tower.safetensors", SIZES)


@pytest.fixture
def file(tower, tmp_path) -> pathlib.Path:
    return write_drawn(tmp_path / "signs.safetensors", tower, 5, 0)


@pytest.mark.parametrize("tune", ["adapter", "head"])
def test_round_trip(tower, tmp_path, tune):
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


def test_names_are_the_references_of_what_is_trained_and_no_others(tower):
    names = set(draw_adapter(tower, 5, 0)[0].shapes)
    assert not {name for name in names if re.search(r"attn|mlp|ln_1|ln_2|ln_pre|conv1", name)}
    blocks = [f"backbone.transformer.resblocks.{i}.{a}_adapter." for i in (0, 1) for a in "ts"]
    leaves = ["fc1.weight", "fc1.bias", "conv.weight", "conv.bias", "fc2.weight", "fc2.bias"]
    leaves += ["caf.fc.0.weight", "caf.fc.2.weight"]
    assert names == {block + leaf for block in blocks for leaf in leaves} | {
        *("backbone.temporal_embedding", "backbone.ln_post.weight", "backbone.ln_post.bias"),
        *("cls_head.fc_cls.weight", "cls_head.fc_cls.bias"),
    }


def test_float16_halves_the_weights_and_rounds_them(tower, tmp_path):
    adapter, weights = draw_adapter(tower, 5, 0)
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    write_adapter(whole, adapter, weights)
    write_adapter(half, adapter, weights, "float16")
    saved = whole.stat().st_size - half.stat().st_size
    # Headers differ by a few digits of the tensors' places.
    assert saved == pytest.approx(2 * sum(w.size for w in weights.values()), abs=50)
    for name, array in read_adapter(half)[1].items():
        expected = weights[name].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(array, expected, strict=True)
    weights["cls_head.fc_cls.bias"][2] = 70_000
    with pytest.raises(ValueError, match=r"fc_cls\.bias: 1 of 5 .* finite as float16: .* narrow"):
        write_adapter(tmp_path / "none.safetensors", adapter, weights, "float16")
    assert not list(tmp_path.glob("none*"))


def test_what_a_reader_would_refuse_is_not_written(tower, tmp_path):
    adapter, weights = draw_adapter(tower, 5, 0)
    adapter = dataclasses.replace(adapter, license="x" * 201)
    with pytest.raises(ValueError, match="license: expected at most 200 characters"):
        write_adapter(tmp_path / "none.safetensors", adapter, weights)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, 0.99, -1])
def test_truncated_files(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(AdapterError, match=r"signs\.safetensors: expected an adapter file, .* dam"):
        read_adapter(file)


def test_a_changed_byte_anywhere_is_noticed(file):
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(8), *rng.integers(8, header, 150), *rng.integers(header, len(content), 150)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        with pytest.raises(AdapterError, match=re.escape(str(file))):
            read_adapter(file)


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("exploded",)


def test_files_of_another_kind(tower, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "text.safetensors": b"These are not the weights you are looking for.\n" * 100,
        "pickle.safetensors": pickle.dumps(Bomb()),
        "clip.mp4": b"\0\0\0\x20ftypisom" + bytes(1000),
        "deep.safetensors": (2**20).to_bytes(8, "little") + b"[" * 2**20,
        "huge.safetensors": (99_000_000).to_bytes(8, "little") + bytes(100),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AdapterError, match=rf"{name}: expected an adapter file, .* another ki"):
            read_adapter(tmp_path / name)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(AdapterError, match=rf"safetensors without the metadata {KEY}"):
        read_adapter(tower)
    with pytest.raises(FileNotFoundError, match="found a folder"):
        read_adapter(tmp_path)
    with pytest.raises(FileNotFoundError, match="found nothing"):
        read_adapter(tmp_path / "none.safetensors")


def forge(
    path: pathlib.Path,
    edit: Callable[[dict[str, Any]], Any] = lambda _: None,
    edit_weights: Callable[[dict[str, np.ndarray]], Any] = lambda _: None,
) -> None:
    """Changes a file as somebody would who knows how, its checksum right again."""
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


def test_an_honest_change_is_read(file):
    forge(file, changed("license", "CC0-1.0"), lambda w: w["cls_head.fc_cls.bias"].fill(1))
    adapter, weights = read_adapter(file)
    assert adapter.license == "CC0-1.0"
    assert (weights["cls_head.fc_cls.bias"] == 1).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "format_version",
            3,
            "expected adapter format 2, found 3. Use the version of this project",
        ),
        ("format_version", None, "expected adapter format 2, found None"),
        ("format_version", "1" * 10**6, r"expected adapter format 2, found '1+ …"),
        ("surprise", 1, "metadata: expected the fields .*label_names.*, found .*surprise"),
        ("label_names", "abc", "label_names: expected list, found 'abc'"),
        ("label_names", ["a"] * 4, "label_names: expected 5 of them, .*, found 4"),
        ("label_names", ["a"] * 4 + [None], "label_names: expected str, found None"),
        ("label_names", ["a"] * 4 + ["\x1b[2J"], r"label_names: expected a line .*, found '\\x1b"),
        ("label_names", ["a"] * 4 + ["\ud800"], r"label_names: expected a line .*, found '\\ud80"),
        ("config", [], r"config: expected the fields .*, found \[\]"),
        (
            "config.tune",
            "full",
            r"config\.tune: expected one of \('adapter', 'head'\), found 'full",
        ),
        ("config.resize_positions", 1, r"config\.resize_positions: expected bool, found 1"),
        ("config.data.decoder", "eval", r"config\.data\.decoder: expected one of .*, found 'eval'"),
        ("config.preprocess.crop_area", ["0", 1], r"crop_area: expected float, found '0'"),
        ("config.preprocess.crop_area", [1], r"preprocess\.crop_area: expected \(smallest, large"),
        ("config.model.width", 10**12, r"config\.model\.width: expected 1 to 4096, found 10+\."),
        ("config.model.layers", 10**9, r"config\.model\.layers: expected 1 to 128, found"),
        ("config.model.num_classes", -1, r"num_classes: expected 1 to 100000, found -1"),
        ("config.model.num_frames", 4.0, r"config\.model\.num_frames: expected int, found 4\.0"),
        ("config.model.heads", True, r"config\.model\.heads: expected int, found True"),
        ("config.model.heads", 3, r"model\.width: expected .* multiple of model\.heads = 3"),
        ("config.model.input_resolution", 1024, r"attention weights in a layer: .*, found 2147"),
        ("config.model.dropout", float("nan"), r"found none \(NaN is no number\)"),
        ("config.model.spatial_kernel", {}, r"spatial_kernel: expected list, found \{\}"),
        ("config.model.spatial_kernel", [1, [], 1], r"model\.spatial_kernel: expected one of"),
        ("config.model.dtype", "object", r"model\.dtype: expected one of"),
        ("backbone.sha256", "0" * 63, r"backbone\.sha256: expected 64 hexadecimal digits"),
        (
            "backbone.source",
            "/etc/passwd",
            r"backbone\.source: expected hf:.* or a file's bare nam",
        ),
        ("backbone.source", "../tower.npz", r"backbone\.source: expected hf:.*, found '\.\./tower"),
        ("step", "12", "step: expected int, found '12'"),
        ("metrics", {"test": 3}, r"metrics\.test: expected dict, found 3"),
        ("metrics", {"test": {"top1": [1]}}, r"metrics\.test\.top1: expected str, found \[1\]"),
        ("license", "x" * 201, r"license: expected at most 200 characters, found 'x+ …"),
        ("checksum", "0" * 64, "damaged: it doesn't hold what was saved. Fetch or export it again"),
    ],
)
def test_documents_that_are_not_as_they_should_be(file, field, value, message):
    forge(file, changed(field, value))
    tracemalloc.start()
    with pytest.raises(AdapterError, match=rf"(?s){re.escape(str(file))}: .*{message}") as caught:
        read_adapter(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert peak < 20e6


@pytest.mark.parametrize("field", ["label_names", "config.model.width", "backbone.sha256", "step"])
def test_fields_that_are_missing(file, field):
    *groups, name = field.split(".")

    def remove(document: dict[str, Any]) -> None:
        for group in groups:
            document = document[group]
        del document[name]

    forge(file, remove)
    with pytest.raises(AdapterError, match=rf"expected the fields .*{name}.*, found"):
        read_adapter(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 10**5, "{}", "1" * 5000])
def test_metadata_that_is_no_document(file, text):
    save_file(load_file(file), file, {KEY: text})
    with pytest.raises(AdapterError, match=r"expected (one JSON document|adapter format 2), found"):
        read_adapter(file)


BIAS = "cls_head.fc_cls.bias"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop(BIAS), rf"1 tensors are missing: {BIAS}"),
        (lambda w: w.update(other=w[BIAS]), "1 tensors belong nowhere: other"),
        (lambda w: w.update({BIAS: w[BIAS][:4]}), rf"{BIAS}: expected \(5,\), .*, found \(4,\)"),
        (
            lambda w: w.update({BIAS: w[BIAS].astype(np.int64)}),
            rf"{BIAS}: expected F32 or F16, fou",
        ),
        (lambda w: w[BIAS].fill(np.nan), rf"{BIAS}: 5 of 5 values aren't finite as float32"),
    ],
)
def test_weights_that_are_not_as_they_should_be(file, edit, message):
    forge(file, edit_weights=edit)
    with pytest.raises(AdapterError, match=message):
        read_adapter(file)


def test_sizes_that_the_header_claims_need_the_weights_to_go_with_them(file):
    forge(file, changed("config.model.width", 4096))
    tracemalloc.start()
    with pytest.raises(
        AdapterError, match=r"temporal_embedding: expected \(1, 4, 4096\), by config\.model"
    ):
        read_adapter(file)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_sizes_that_only_the_backbone_bears_out(tower, tmp_path):
    # A head alone says nothing of layers: those of the backbone's file must be as many.
    file = write_drawn(tmp_path / "head.safetensors", tower, 5, 0, "head")
    forge(file, changed("config.model.layers", 128))
    with pytest.raises(WeightsError, match=r"does not fit the model:\n  missing: .*resblocks\.2\."):
        Recognizer.load_adapter(file, str(tower))


def test_another_backbone(file, tower, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.safetensors"
    save_file(load_file(tower) | {"backbone.class_embedding": np.ones(32, np.float32)}, other)
    hashes = rf"with SHA-256 {file_sha256(tower)}, found {file_sha256(other)}"
    with pytest.raises(
        WeightsError, match=rf"other\.safetensors: expected .*{hashes}.* --backbone"
    ):
        Recognizer.load_adapter(file, str(other))
    missing = r"tower\.safetensors: expected the backbone .* found nothing;.* as --backbone FILE\."
    with pytest.raises(WeightsError, match=missing):
        Recognizer.load_adapter(file)
    (tmp_path / "tower.safetensors").write_bytes(tower.read_bytes())
    Recognizer.load_adapter(file)  # of that name where one is: its hash is the right one


def test_a_backbone_that_comes_with_the_package_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sha256 = file_sha256(BUNDLED[0])
    for source in ("backbone.safetensors", "/home/somebody/clone/demo/backbone.safetensors"):
        assert resolve_backbone(BackboneRef(source, "", sha256)) == BUNDLED[0]
