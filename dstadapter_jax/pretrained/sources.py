"""Sources of weights: local files, or files fetched from the Hugging Face hub."""

import re
from pathlib import Path

from dstadapter_jax.errors import UserError


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
    if isinstance(source, str) and source.startswith("hf:"):
        return _fetch(source, revision)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"{source}: expected a weight file, found {'a folder' if path.is_dir() else 'nothing'}."
            " Pass a file or hf:OWNER/REPO/FILE."
        )
    return path


def _fetch(source: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # imported late: takes 0.2 s

    match = re.fullmatch(r"hf:([^/]+/[^/]+)(?:/(.+))?", source)
    if match is None:
        raise WeightsError(source, expected="hf:OWNER/REPO or hf:OWNER/REPO/FILE", found=source)
    repo, file = match[1], match[2] or "model.safetensors"
    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except Exception as error:  # the client's errors share no base class
        raise WeightsError(
            f"{source} at revision {revision or 'main'}",
            problem=f"can't be fetched ({first_line(error)})",
            advice="Check the name and the connection, or download the file and pass its path.",
        ) from error


def first_line(error: BaseException) -> str:
    """First line of an error's text, for a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
