"""Publishes an adapter file: `python -m dstadapter_jax.export push signs.safetensors OWNER/REPO`.

Uploads the file and its model card, `signs.md` beside it, which becomes the repository's README.md,
in one commit to the Hugging Face hub. `hf auth login` or the environment variable HF_TOKEN says who
you are. The last line on stdout is one JSON object.
"""

import argparse
import json
import pathlib
from typing import Any

from dstadapter_jax.adapters.file import read_adapter
from dstadapter_jax.cli.paths import expanded_path


def push(path: pathlib.Path, repository: str, *, private: bool = False) -> dict[str, Any]:
    """Uploads an adapter file and its card to a repository, which is made if there is none.

    Returns:
        The commit, its address, and what `--adapter` takes to load the file from there.

    Raises:
        AdapterError: It is no whole adapter file; nothing is uploaded.
        FileNotFoundError: There is no such file, or no card beside it.
        ValueError: The hub refused, or wasn't reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # a fifth of a second

    read_adapter(path)
    card = path.with_suffix(".md")
    if not card.is_file():
        raise FileNotFoundError(f"{card}: expected the model card, which `export adapter` writes.")
    files = {path.name: path, "README.md": card}
    operations = [CommitOperationAdd(name, file) for name, file in files.items()]
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.create_commit(repository, operations, commit_message=f"Adapter {path.stem}")
    except Exception as error:  # the client's errors share no base class
        # Of an upload that failed the cause alone tells why.
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise ValueError(
            f"{repository}: not pushed ({reason}). Check the name, the connection and who you are:"
            " `hf auth login`."
        ) from error
    adapter = f"hf:{repository}/{path.name}"
    return {"commit": commit.oid, "url": commit.commit_url, "adapter": adapter}


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m dstadapter_jax.export push", description=__doc__
    )
    parser.add_argument("adapter", type=expanded_path, metavar="FILE")
    parser.add_argument("repository", metavar="OWNER/REPO")
    parser.add_argument("--private", action="store_true", help="if the repository is to be made")
    args = parser.parse_args(argv)
    print(json.dumps(push(args.adapter, args.repository, private=args.private)))
    return 0
