"""Weight files in each format, intact and corrupt."""

import io
import re

import ml_dtypes
import numpy as np
import pytest

from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from dstadapter_jax.pretrained.sources import WeightsError, resolve_source
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
