"""Weight files in each format, intact and corrupt."""

import io
import re
import sys

import ml_dtypes
import numpy as np
import pytest

from dstadapter_jax.files.hashing import file_sha256
from dstadapter_jax.pretrained import formats as weight_files
from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from dstadapter_jax.pretrained.sources import WeightsError, resolve_source
from tests.helpers.errors import raises
from tests.helpers.weights import assert_refused, assert_same, blank_model, openai_visual, written


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


def test_pytorch_files_without_pytorch_say_how_to_convert(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it weren't installed
    for suffix in (".pt", ".pth", ".bin"):
        (tmp_path / f"w{suffix}").write_bytes(b"x")
        advice = ("pip install torch", "safetensors.torch.save_file")
        assert_refused(tmp_path / f"w{suffix}", *advice)


def test_pytorch_files(tmp_path, golden_weights):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in golden_weights.items()}
    torch.save({"meta": {"epoch": 3}, "state_dict": tensors}, tmp_path / "w.pth")
    model = blank_model()
    load_weights(model, tmp_path / "w.pth")
    assert_same(dump_weights(model), golden_weights)
    torch.save({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "w.bin")
    load_weights(model, tmp_path / "w.bin")
    rounded = {
        n: a.astype(ml_dtypes.bfloat16).astype(np.float32) for n, a in golden_weights.items()
    }
    assert_same(dump_weights(model), rounded)
    torch.save(list(tensors.values()), tmp_path / "w.pt")
    assert_refused(tmp_path / "w.pt", "state_dict", "list")
    torch.save({"state_dict": tensors, "work_dir": tmp_path}, tmp_path / "w.pt")
    assert_refused(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pth").read_bytes()[:-9000])
    assert_refused(tmp_path / "w.pt")


# PyTorch warns that the format of OpenAI's files is old, and before it refuses others of it.
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_is_opened_only_if_its_hash_is_published(tmp_path, monkeypatch, backbone):
    torch = pytest.importorskip("torch")
    root = torch.nn.Module()
    for name, array in openai_visual(backbone, "visual.").items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_parameter(leaf, torch.nn.Parameter(torch.from_numpy(array)))
    path = tmp_path / "ViT.pt"
    torch.jit.script(root).save(path)
    assert_refused(path, "TorchScript", "ViT-B/16, ViT-L")
    monkeypatch.setitem(weight_files.OPENAI_SHA256, file_sha256(path), "this one")
    assert load_weights(blank_model(), path).ignored == ("visual.proj",)
