"""Files that PyTorch and MMEngine wrote, and files that only look like theirs."""

import importlib.util
import io
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from dstadapter_jax.pretrained.formats import open_weights
from dstadapter_jax.pretrained.pytorch.reader import PyTorchFile
from dstadapter_jax.pretrained.sources import WeightsError
from tests.helpers.errors import raises
from tests.helpers.weights import FILES


@pytest.fixture(scope="module")
def state():
    with np.load(FILES / "state.npz") as file:
        return dict(file)


def assert_equal_to(state, file):
    assert list(file) == list(state)
    for name, expected in state.items():
        np.testing.assert_array_equal(file[name], expected, err_msg=name, strict=True)


@pytest.mark.parametrize("name", ["mmengine.pth", "old_format.pth"])
def test_read_checkpoint_gives_the_tensors_of_its_state_dict(name, state):
    assert_equal_to(state, PyTorchFile(FILES / name))


def test_read_checkpoint_of_the_installed_mmengine(tmp_path):
    pytest.importorskip("mmengine")
    spec = importlib.util.spec_from_file_location("write", FILES / "write.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write_files(tmp_path)
    with np.load(tmp_path / "state.npz") as state:
        for name in ("mmengine.pth", "old_format.pth"):
            assert_equal_to(dict(state), PyTorchFile(tmp_path / name))


def test_read_torchscript_gives_the_parameters_of_its_modules(state):
    file = PyTorchFile(FILES / "torchscript.pt")
    assert len(file) == 31
    for name, array in file.items():
        expected = state[name.replace("visual.", "backbone.")].astype(np.float16)
        np.testing.assert_array_equal(array, expected, strict=True)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(kind="FloatStorage", key="0", count=6, offset=0, shape=(6,), strides=(1,)):
    """Pickle instructions that push a tensor."""
    reference = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    reference += integer(count) + b"tQ"
    arguments = reference + integer(offset) + integers(shape) + integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89NtR"


SIX = np.arange(6, dtype=np.float32)


def write_file(path, instructions, storage=SIX, pickled=None):
    """Write an archive with a state dict of one tensor, `w`."""
    pickled = pickled or b"\x80\x02}" + text("w") + instructions + b"s."
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/0", storage.tobytes())
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *(("DoubleStorage", np.float64), ("FloatStorage", np.float32), ("HalfStorage", np.float16)),
        *(("BFloat16Storage", ml_dtypes.bfloat16), ("LongStorage", np.int64)),
        *(("IntStorage", np.int32), ("ShortStorage", np.int16), ("CharStorage", np.int8)),
        *(("ByteStorage", np.uint8), ("BoolStorage", np.bool_)),
    ],
)
def test_read_tensor_of_each_dtype(tmp_path, kind, dtype):
    storage = np.array([0, 1, 2, 3, 4, 100], dtype)
    file = PyTorchFile(write_file(tmp_path / "w.pth", tensor(kind), storage))
    np.testing.assert_array_equal(file["w"], storage, strict=True)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (2, 3), (3, 1), [[0, 1, 2], [3, 4, 5]]),
        (0, (3, 2), (1, 3), [[0, 3], [1, 4], [2, 5]]),
        (2, (2,), (2,), [2, 4]),
        (5, (), (), 5),
        (0, (2, 2), (0, 1), [[0, 1], [0, 1]]),
        (6, (0, 3), (3, 1), np.zeros((0, 3))),
    ],
)
def test_read_tensor_that_is_a_view(tmp_path, offset, shape, strides, expected):
    instructions = tensor(offset=offset, shape=shape, strides=strides)
    file = PyTorchFile(write_file(tmp_path / "w.pth", instructions))
    np.testing.assert_array_equal(file["w"], np.asarray(expected, np.float32), strict=True)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"offset": 1}, {"shape": (7,)}, {"strides": (2,)}, {"offset": -1}, {"shape": (-1,)}),
        *({"strides": (-1,)}, {"shape": (2, 3)}, {"count": 7, "shape": (7,)}, {"offset": 2**62}),
        *({"shape": (2**62,), "strides": (0,)}, {"shape": (0, 2**62), "strides": (1, 1)}),
        *({"shape": (1,) * 9, "strides": (1,) * 9}, {"key": "../0"}, {"key": "1"}),
        {"count": 2**60, "shape": (2**60,)},
    ],
)
def test_read_tensor_beyond_its_storage_raises(tmp_path, wrong):
    path = write_file(tmp_path / "w.pth", tensor(**wrong))
    assert_refused(path)


def assert_refused(path):
    with raises(WeightsError, where=str(path)) as caught, open_weights(path) as tensors:
        dict(tensors)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "pickled",
    [
        *(b"", b"N.", b"K\x01.", b"}.", b"].", b"cos\nsystem\n(S'true'\ntR."),
        b"\x80\x02}" + text("w") + b"ccollections\nOrderedDict\n)Rs.",
        b"\x80\x02" + tensor() + b".",
        b"\x80\x02}" + text("w") + tensor(kind="QInt8Storage") + b"s.",
        b"\x80\x02]" + tensor() + b"a.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(KKKKtR.",
        b"\x80\x02" + b"]" * 10_000 + b".",
    ],
)
def test_read_file_without_named_tensors_raises(tmp_path, pickled):
    assert_refused(write_file(tmp_path / "w.pth", b"", pickled=pickled or b" "))


def test_read_file_with_a_huge_pickle_raises_before_it_is_read(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as file, file.open("a/data.pkl", "w") as entry:
        for _ in range(257):
            entry.write(bytes(2**20))
    tracemalloc.start()
    try:
        assert_refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_read_file_of_a_big_endian_machine_raises(tmp_path):
    path = write_file(tmp_path / "w.pth", tensor())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("a/byteorder", "big")
    assert_refused(path)


@pytest.mark.parametrize("name", ["mmengine.pth", "old_format.pth", "torchscript.pt"])
def test_read_truncated_file_raises(tmp_path, name):
    content = (FILES / name).read_bytes()
    path = tmp_path / name
    for kept in (0, 1, 100, 5000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        assert_refused(path)


@pytest.mark.parametrize("name", ["mmengine.pth", "old_format.pth", "torchscript.pt"])
def test_read_garbled_file_raises_or_gives_tensors(tmp_path, name):
    content, path = (FILES / name).read_bytes(), tmp_path / name
    pickled = content.index(b"\x80\x02")
    rng = np.random.default_rng(0)
    for _ in range(40):
        garbled = bytearray(content)
        for position in pickled + rng.integers(0, 5000, 3):
            garbled[position] = rng.integers(256)
        for position in rng.integers(0, len(content), 20):
            garbled[position] = rng.integers(256)
        path.write_bytes(garbled)
        try:
            with open_weights(path) as tensors:
                assert sum(array.nbytes for array in tensors.values()) <= len(content)
        except WeightsError as error:
            assert error.where == str(path)  # noqa: PT017 (both outcomes are right)


def test_read_old_format_with_other_storages_raises(tmp_path):
    content = (FILES / "old_format.pth").read_bytes()
    path = tmp_path / "w.pth"
    sizes = content.index(struct.pack("<q", 16), content.rindex(b"e."))
    for size in (15, -1, 2**62):
        changed = content[:sizes] + struct.pack("<q", size) + content[sizes + 8 :]
        path.write_bytes(changed)
        assert_refused(path)
    stream = io.BytesIO(content)
    path.write_bytes(stream.read(14) + b"garbled")
    assert_refused(path)
