"""Weight files in each format, intact and corrupt."""

import io
import json
import re

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from dstadapter_jax.adapters.file import BUNDLED
from dstadapter_jax.pretrained.formats import open_weights, state_dict_level
from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from dstadapter_jax.pretrained.sources import WeightsError, resolve_source, weights_sha256
from tests.helpers.errors import raises
from tests.helpers.weights import (
    CHECKPOINT,
    CHECKPOINT_SIZES,
    FILES,
    assert_refused,
    assert_same,
    blank_model,
    written,
)


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
def test_open_weights_of_each_format_gives_equal_weights(tmp_path, golden_weights, file):
    model = blank_model()
    load_weights(model, written(tmp_path / file, golden_weights))
    assert_same(dump_weights(model), golden_weights)
    assert load_weights(model, str(tmp_path / file)).loaded == tuple(golden_weights)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_open_weights_of_other_precisions_gives_float32(tmp_path, golden_weights, dtype):
    stored = {name: array.astype(dtype) for name, array in golden_weights.items()}
    model = blank_model()
    load_weights(model, written(tmp_path / "w.safetensors", stored))
    assert_same(dump_weights(model), {n: a.astype(np.float32) for n, a in stored.items()})


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, 0.999])
def test_open_weights_of_a_truncated_file_raises(tmp_path, golden_weights, file, kept):
    path = written(tmp_path / file, golden_weights)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert_refused(path)


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
def test_open_weights_of_a_garbled_file_raises(tmp_path, file):
    path = tmp_path / file
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    assert_refused(path)


def test_open_weights_of_an_npz_with_garbled_or_pickled_members_raises(tmp_path, golden_weights):
    path = written(tmp_path / "w.npz", golden_weights)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    assert_refused(path)
    np.savez(path, **golden_weights | {"backbone.class_embedding": np.array([print], dtype=object)})
    assert_refused(path, "allow_pickle=False")
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    path.write_bytes(buffer.getvalue())
    assert_refused(path, "one array")


def test_open_weights_of_other_files_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        load_weights(blank_model(), tmp_path / "gone.npz")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        resolve_source(tmp_path)
    for name in ("w.ckpt", "weights"):
        (tmp_path / name).write_bytes(b"x")
        with raises(WeightsError, expected=".safetensors, .npz, .pt, .pth, .bin"):
            load_weights(blank_model(), tmp_path / name)


def test_open_weights_of_a_reference_checkpoint_gives_a_whole_model():
    model = blank_model(**CHECKPOINT_SIZES)
    loaded = load_weights(model, CHECKPOINT)
    assert loaded.initialized == loaded.ignored == ()
    with np.load(FILES / "state.npz") as state:
        assert_same(dump_weights(model), {name: state[name] for name in loaded.loaded})
    assert load_weights(model, FILES / "torchscript.pt").format == "OpenAI CLIP"


@pytest.mark.parametrize("wrap", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_load_weights_with_a_prefix_of_wrappers_reads_them(wrap):
    with open_weights(CHECKPOINT) as tensors:
        level = state_dict_level(tensors)
        weights = {name: np.array(level[name]) for name in level}
    plain, wrapped = (blank_model(**CHECKPOINT_SIZES) for _ in range(2))
    load_weights(plain, weights)
    load_weights(wrapped, {wrap + name: array for name, array in weights.items()})
    load_weights(wrapped, {"model": {wrap + name: array for name, array in weights.items()}})
    for name, array in dump_weights(plain).items():
        np.testing.assert_array_equal(dump_weights(wrapped)[name], array)


def write_shards(folder, weights, parts=2):
    folder.mkdir(exist_ok=True)
    names, places = sorted(weights), {}
    for part in range(parts):
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        own = names[part::parts]
        save_file({name: weights[name] for name in own}, folder / file)
        places |= dict.fromkeys(own, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.fixture
def weights():
    with open_weights(CHECKPOINT) as tensors:
        level = state_dict_level(tensors)
        return {name: np.array(level[name]) for name in level}


def test_open_weights_of_shards_reads_all(tmp_path, weights):
    index = write_shards(tmp_path, weights)
    with open_weights(index) as tensors:
        assert set(tensors) == set(weights)
        for name, array in weights.items():
            np.testing.assert_array_equal(tensors[name], array)
    before = weights_sha256(index)
    weights["backbone.class_embedding"] = weights["backbone.class_embedding"] + 1
    assert weights_sha256(write_shards(tmp_path, weights)) != before


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"{}", b'{"weight_map": 3}', b'{"weight_map": {"a": "../b.safetensors"}}'],
)
def test_open_weights_of_a_wrong_index_raises(tmp_path, content):
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    with raises(WeightsError, where=str(index)), open_weights(index):
        pass


def test_open_weights_without_a_shard_names_it(tmp_path, weights):
    index = write_shards(tmp_path, weights)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    expected = "model-00002-of-00002.safetensors"
    with raises(WeightsError, expected=expected), open_weights(index):
        pass


def test_open_weights_takes_a_suffix_in_any_case(tmp_path, weights):
    save_file(weights, tmp_path / "MODEL.SAFETENSORS")
    with open_weights(tmp_path / "MODEL.SAFETENSORS") as tensors:
        assert set(tensors) == set(weights)


def test_open_weights_of_an_adapter_file_names_it():
    with raises(WeightsError, found="an adapter file"), open_weights(BUNDLED["demo"]):
        pass
