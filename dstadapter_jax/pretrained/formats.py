"""Weight files, read as name -> array."""

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
from dstadapter_jax.pretrained.sources import WeightsError, first_line

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
    readers = {".safetensors": _open_safetensors, ".npz": _open_npz}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), _open_pytorch)
    if path.suffix not in readers:
        expected = f"a name that ends in {', '.join(readers)}"
        raise WeightsError(str(path), expected=expected, found=repr(path.suffix))
    try:
        with readers[path.suffix](path) as tensors:
            yield tensors
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(str(path), problem=f"can't be read ({first_line(error)})") from error
    except _READ_ERRORS as error:
        raise WeightsError(
            str(path),
            problem=f"corrupt, or not a {path.suffix} file ({first_line(error)})",
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
        yield _Safetensors(file)


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
    """The mapping that holds the weights: under `state_dict` in MMEngine's checkpoints."""
    inner = tensors.get("state_dict")
    return inner if isinstance(inner, Mapping) else tensors
