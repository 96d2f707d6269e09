"""Sources of weights: local files, or files fetched from the Hugging Face hub."""

import hashlib
import json
import logging
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dstadapter_jax.errors import UserError
from dstadapter_jax.files.hashing import file_sha256

logger = logging.getLogger(__name__)

INDEX_SUFFIX = ".safetensors.index.json"


class WeightsError(UserError):
    """A weight file that can't be fetched or read, or that does not fit the model."""


def resolve_source(source: str | Path, revision: str | None = None) -> Path:
    """Return the local file of a weight source, fetching it from the Hugging Face hub if needed.

    Args:
        source: Path, or `hf:OWNER/REPO[/FILE]`; FILE is `model.safetensors` by default.
        revision: Commit, tag or branch of an `hf:` source, by default the branch `main`; a full
            commit hash pins the file. Ignored for a path.

    Raises:
        WeightsError: The source is malformed or can't be fetched.
        FileNotFoundError: There is no such file.
    """
    if parse_hub_source(source):
        path = _fetch(str(source), revision)
        for shard in shards_of(path):
            fetch_beside(str(source), shard, revision)
        return path
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"{source}: expected a weight file, found {'a folder' if path.is_dir() else 'nothing'}."
            " Pass a file or hf:OWNER/REPO/FILE."
        )
    return path


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weight file; of an index, that of its own hash and those of its files."""
    hashes = [file_sha256(file) for file in (path, *map(path.with_name, shards_of(path)))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def shards_of(path: Path) -> list[str]:
    """Names of the files that an index, `NAME.safetensors.index.json`, lists; empty for others.

    Raises:
        WeightsError: The index is damaged, or names a file outside its folder.
    """
    if not path.name.lower().endswith(INDEX_SUFFIX):
        return []
    try:
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
        inside = all(PurePosixPath(name).name == name for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            str(path), expected="an index of safetensors files, with weight_map", found=repr(error)
        ) from error
    if not inside:
        raise WeightsError(str(path), expected="names of files in its folder", found=names)
    return names


class HubSource(NamedTuple):
    """A file on the Hugging Face hub."""

    repo: str
    file: str


def parse_hub_source(source: str | Path) -> HubSource | None:
    """Parse `hf:OWNER/REPO[/FILE]`; None for a path.

    Raises:
        WeightsError: The source is malformed.
    """
    if not isinstance(source, str) or not source.startswith("hf:"):
        return None
    match = re.fullmatch(r"hf:([^/]+/[^/]+)(?:/(.+))?", source)
    if match is None:
        raise WeightsError(source, expected="hf:OWNER/REPO or hf:OWNER/REPO/FILE", found=source)
    return HubSource(match[1], match[2] or "model.safetensors")


def fetch_beside(source: str, name: str, revision: str | None) -> Path | None:
    """Fetch another file of the folder that an `hf:` source is in; None if there is none."""
    from huggingface_hub import hf_hub_download  # imported late: takes 0.2 s
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub = parse_hub_source(source)
    assert hub is not None
    path = PurePosixPath(hub.file).with_name(name).as_posix()
    try:
        return Path(hf_hub_download(hub.repo, path, revision=revision))
    except Exception as error:  # the client's errors share no base class
        absent = isinstance(error, EntryNotFoundError)
        if not absent or isinstance(error, LocalEntryNotFoundError):
            logger.warning("hf:%s/%s can't be fetched (%s)", hub.repo, path, first_line(error))
        return None


def _fetch(source: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # imported late: takes 0.2 s

    hub = parse_hub_source(source)
    assert hub is not None
    try:
        return Path(hf_hub_download(hub.repo, hub.file, revision=revision))
    except Exception as error:  # the client's errors share no base class
        raise WeightsError(
            f"{source} at revision {revision or 'main'}",
            problem=f"can't be fetched ({first_line(error)})",
            advice="Check the name and the connection, or download the file and pass its path.",
        ) from error


def first_line(error: BaseException) -> str:
    """First line of an error's text, for a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
