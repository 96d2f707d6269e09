"""Tensors of PyTorch's files by name: `torch.save`'s archives, its old format, and TorchScript.

A tensor is a view of a storage, a range of bytes in the file. Only tensors that are asked for are
read.
"""

import dataclasses
import io
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from dstadapter_jax.pretrained.pytorch.archive import Archive
from dstadapter_jax.pretrained.pytorch.unpickler import Opaque, RestrictedUnpickler

MAX_PICKLE_BYTES = 2**28  # MMEngine's hold the log of the training, megabytes
OLD_PICKLE_BYTES = 2**24  # names and shapes alone
MAX_AXES = 8
_OLD_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    **{"DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16},
    **{"BFloat16Storage": ml_dtypes.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32},
    **{"ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8},
    "BoolStorage": np.bool_,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """Elements that tensors are views of."""

    key: str
    dtype: np.dtype
    size: int  # elements

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, content: np.ndarray) -> np.ndarray:
        """Return the array, given the bytes `(n,)` uint8 of the storage."""
        itemsize = self.storage.dtype.itemsize
        return np.ndarray(
            self.shape,
            self.storage.dtype,
            content.data,
            self.offset * itemsize,
            tuple(stride * itemsize for stride in self.strides),
        )


class PyTorchFile(Mapping[str, np.ndarray]):
    """Tensors of a PyTorch file by name, memory-mapped; arrays are views of the file."""

    def __init__(self, path: Path):
        """Read the names and shapes.

        Raises:
            ValueError: The file is truncated, corrupt, or has no named tensors.
        """
        content = np.memmap(path, np.uint8, mode="r")
        if content[:2].tobytes() == b"PK":
            root, self._storage = _open_archive(Archive(content))
        else:
            root, self._storage = _open_old(content)
        self._tensors = _named_tensors(root)

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        content = self._storage(tensor.storage)
        if len(content) < tensor.storage.nbytes:
            raise ValueError(f"the storage of {name} is truncated")
        return tensor.view(content)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _open_archive(archive: Archive) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Root object of an archive, and the function that reads its storages."""
    if "byteorder" in archive.names and archive.read("byteorder").tobytes() != b"little":
        raise ValueError("it was written on a big-endian machine")
    pickled = archive.read("data.pkl")
    if len(pickled) > MAX_PICKLE_BYTES:
        raise ValueError(f"its pickle has {len(pickled):,} bytes")
    unpickler = RestrictedUnpickler(_FUNCTIONS, _storage_of)
    root = unpickler.load(io.BytesIO(pickled.data))
    return root, lambda storage: archive.read(f"data/{storage.key}")


def _open_old(content: np.ndarray) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Root object of a file of PyTorch before 1.6: five pickles, then the storages in a row."""
    stream = io.BytesIO(content[:OLD_PICKLE_BYTES].data)
    storages: dict[str, Storage] = {}

    def storage_of(reference: Any) -> Storage | None:
        if storage := _storage_of(reference):
            storages[storage.key] = storage
        return storage

    def load() -> Any:
        return RestrictedUnpickler(_FUNCTIONS, storage_of).load(stream)

    if load() != _OLD_MAGIC:
        raise ValueError("it does not begin as PyTorch's files do")
    _version, _system, root, keys = load(), load(), load(), load()
    offset, starts = stream.tell(), {}
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages:
            raise ValueError("it has a storage of an unknown type")
        (size,) = struct.unpack_from("<q", content[offset : offset + 8].tobytes().ljust(8, b"\xff"))
        if size != storages[key].size:
            raise ValueError(f"its storage {key[:100]!r} has another size than its tensors expect")
        starts[key] = offset + 8
        offset += 8 + storages[key].nbytes

    def read(storage: Storage) -> np.ndarray:
        if storage.key not in starts:
            raise ValueError(f"the storage {storage.key[:100]!r} is missing")
        return content[starts[storage.key] :][: storage.nbytes]

    return root, read


def _storage_of(reference: Any) -> Storage | None:
    """Storage of a persistent id `("storage", type, key, device, size, …)`; None for others."""
    match reference:
        case ("storage", Opaque(name=name), str(key), _, int(size), *view) if view in ([], [None]):
            dtype = _DTYPES.get(name.removeprefix("torch "))
            if dtype and size >= 0:
                return Storage(key, np.dtype(dtype), size)
    return None


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
) -> Tensor | Opaque:
    """Tensor of these arguments of `torch._utils._rebuild_tensor_v2`.

    Raises:
        ValueError: The tensor exceeds its storage.
    """
    if not isinstance(storage, Storage):  # of a type that NumPy lacks, such as a quantized one
        return Opaque("torch Tensor")
    numbers = (offset, *shape, *strides)
    valid = all(isinstance(n, int) and 0 <= n < 2**63 for n in numbers)
    if not valid or len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise ValueError("a tensor has invalid sizes")
    size = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # A stride of 0 repeats elements: without the first condition, a small file could hold a tensor
    # that does not fit into memory.
    if size > storage.size or (size and last >= storage.size):
        raise ValueError("a tensor exceeds its storage")
    return Tensor(storage, offset if size else 0, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict(*_: Any) -> dict:
    return {}  # its items follow


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
    "torch._utils _rebuild_parameter_with_state": _rebuild_parameter,
}


def _named_tensors(root: Any) -> dict[str, Tensor]:
    """Tensors of a state dict, of a checkpoint that holds one, or of a TorchScript module."""
    if isinstance(root, dict):
        inner = root.get("state_dict")
        root = inner if isinstance(inner, dict) else root
        found = {n: t for n, t in root.items() if isinstance(n, str) and isinstance(t, Tensor)}
    elif isinstance(root, Opaque):
        found = dict(_module_tensors(root))
    else:
        found = {}
    if not found:
        kind = root.name if isinstance(root, Opaque) else type(root).__name__
        raise ValueError(f"expected a state_dict, found none in an object of {kind[:100]!r}")
    return found


def _module_tensors(root: Opaque) -> Iterator[tuple[str, Tensor]]:
    """Parameters of a TorchScript module and its submodules, each under one dotted name."""
    pending, seen = [("", root)], {id(root)}
    while pending:
        prefix, module = pending.pop()
        for name, value in module.state.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, Opaque) and id(value) not in seen:
                seen.add(id(value))
                pending.append((f"{prefix}{name}.", value))
