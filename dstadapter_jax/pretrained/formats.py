"""Weight files, read as name -> array."""

import contextlib
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from safetensors import SafetensorError, safe_open

from dstadapter_jax.files.hashing import file_sha256
from dstadapter_jax.pretrained.sources import WeightsError, first_line

# Published in github.com/openai/CLIP, clip/clip.py, as part of each file's address.
OPENAI_SHA256 = {
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B/16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L/14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L/14@336px",
}
# Raised by the readers for files that are truncated, corrupt or in another format.
_READ_ERRORS = (ValueError, EOFError, RuntimeError, SafetensorError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open a weight file as name -> array; safetensors and npz files are read lazily.

    No code from the file is executed.

    Raises:
        WeightsError: The file is corrupt or in an unsupported format. Also raised inside the `with`
            block, at the first corrupt tensor.
    """
    readers = {".safetensors": _open_safetensors, ".npz": _open_npz}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), _open_torch)
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
def _open_torch(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            str(path),
            problem="reading a PyTorch file needs PyTorch, which is not installed",
            advice="Install it (pip install torch), or convert the file on a machine that has it:"
            " safetensors.torch.save_file(state_dict, 'weights.safetensors').",
        ) from error
    state = _load_torch(torch, path)
    if not isinstance(state, Mapping):
        raise WeightsError(str(path), expected="a state_dict", found=type(state).__name__)
    yield {
        # NumPy has no bfloat16.
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in state_dict_level(state).items()
        if isinstance(tensor, torch.Tensor)
    }


def _load_torch(torch: Any, path: Path) -> Any:
    if file_sha256(path) in OPENAI_SHA256:
        # TorchScript is code: executed only for files of a known hash.
        return torch.jit.load(path, map_location="cpu").state_dict()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to load the file unsafely
        raise WeightsError(
            str(path),
            problem="corrupt, or holds more than tensors, which is not loaded because it could"
            " execute code",
            advice="Save the state_dict alone on the machine that wrote the file.",
        ) from error
    except RuntimeError as error:
        reason = first_line(error).split(". ")[0]
        raise WeightsError(
            str(path),
            problem="corrupt, or a TorchScript archive other than those of OpenAI's CLIP"
            f" {', '.join(OPENAI_SHA256.values())} ({reason})",
        ) from error


def state_dict_level(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping that holds the weights: under `state_dict` in MMEngine's checkpoints."""
    inner = tensors.get("state_dict")
    return inner if isinstance(inner, Mapping) else tensors
