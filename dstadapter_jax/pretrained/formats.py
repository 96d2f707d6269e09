"""Weight files, read as name -> array."""

import collections
import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from safetensors import SafetensorError, safe_open

from dstadapter_jax.pretrained.pytorch.reader import PyTorchFile
from dstadapter_jax.pretrained.sources import INDEX_SUFFIX, WeightsError, first_line, shards_of

ADAPTER_KEY = "dstadapter_jax.adapter"  # of the metadata of adapter files
# Raised by the readers for files that are truncated, corrupt or in another format.
_READ_ERRORS = (ValueError, EOFError, RuntimeError, SafetensorError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open a weight file as name -> array; tensors are read on access.

    No code from the file is executed.

    Raises:
        WeightsError: The file is corrupt or in an unsupported format. Also raised inside the `with`
            block, at the first corrupt tensor.
    """
    readers = {INDEX_SUFFIX: _open_shards, ".safetensors": _open_safetensors, ".npz": _open_npz}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), _open_pytorch)
    name = path.name.lower()
    suffix = next((known for known in readers if name.endswith(known)), None)
    if suffix is None:
        expected = f"a name that ends in {', '.join(readers)}"
        raise WeightsError(str(path), expected=expected, found=repr(path.suffix))
    try:
        with readers[suffix](path) as tensors:
            yield tensors
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(str(path), problem=f"can't be read ({first_line(error)})") from error
    except _READ_ERRORS as error:
        raise WeightsError(
            str(path),
            problem=f"corrupt, or not a {suffix} file ({first_line(error)})",
            advice="Fetch it again.",
        ) from error


class _Safetensors(Mapping[str, np.ndarray]):
    """An open safetensors file, read lazily: CLIP's unused text tower stays on disk."""

    def __init__(self, file: Any):
        self._file = file
        self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[Mapping[str, Any]]:
    with safe_open(path, framework="numpy") as file:
        if ADAPTER_KEY in (file.metadata() or {}):
            raise WeightsError(
                str(path),
                expected="weights of a backbone",
                found="an adapter file, which holds trained weights only",
                advice="Pass it as --adapter to evaluate or predict.",
            )
        yield _Safetensors(file)


@contextlib.contextmanager
def _open_shards(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open all files that an index lists as one mapping."""
    with contextlib.ExitStack() as stack:
        tensors = collections.ChainMap[str, Any]()
        for name in shards_of(path):
            shard = path.with_name(name)
            if not shard.is_file():
                raise WeightsError(str(path), expected=f"the file {name} beside it", found="none")
            tensors.maps.append(stack.enter_context(_open_safetensors(shard)))  # type: ignore[arg-type]
        yield tensors


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:  # given a path, NumPy would leave a corrupt file open
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise WeightsError(str(path), expected="an archive of numpy.savez", found="one array")
        yield archive


@contextlib.contextmanager
def _open_pytorch(path: Path) -> Iterator[Mapping[str, Any]]:
    yield PyTorchFile(path)


def state_dict_level(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping that holds the weights, without what wrappers put before all names.

    MMEngine's checkpoints have it under `state_dict`, others under `model`; PyTorch's wrappers for
    several devices and for compilation put `module.` and `_orig_mod.` before each name.
    """
    for level in ("state_dict", "model"):
        if isinstance(inner := tensors.get(level), Mapping):
            return state_dict_level(inner)
    for prefix in ("module.", "_orig_mod.", "model."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            return state_dict_level(_WithoutPrefix(tensors, prefix))
    return tensors


class _WithoutPrefix(Mapping[str, Any]):
    """A mapping whose names all begin with a prefix, read without it."""

    def __init__(self, tensors: Mapping[str, Any], prefix: str):
        self._tensors, self._prefix = tensors, prefix

    def __getitem__(self, name: str) -> Any:
        return self._tensors[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
