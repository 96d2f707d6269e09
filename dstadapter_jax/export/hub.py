"""Publish an adapter file: `python -m dstadapter_jax.export push signs.safetensors OWNER/REPO`.

Uploads the file and its model card, `signs.md` beside it, which becomes the repository's README.md,
in one commit to the Hugging Face Hub. Log in with `hf auth login`, or set the environment variable
HF_TOKEN. The last line on stdout is one JSON object.
"""

import argparse
import json
import pathlib
from typing import Any

from dstadapter_jax.adapters.file import read_adapter
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.errors import UserError


def push(path: pathlib.Path, repository: str, *, private: bool = False) -> dict[str, Any]:
    """Upload an adapter file and its card to a repository, which is created if it doesn't exist.

    Returns:
        The commit's hash, its address, and the value of `--adapter` that loads the file.

    Raises:
        AdapterError: The file is not a valid adapter file; nothing is uploaded.
        FileNotFoundError: The file or its card does not exist.
        UserError: The hub refused the upload, or can't be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # slow to import: 0.2 s

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
        # The message of a failed upload gives the reason only in its cause.
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise UserError(
            repository,
            problem=f"not uploaded ({reason})",
            advice="Check the repository's name, the connection and your login: `hf auth login`.",
        ) from error
    adapter = f"hf:{repository}/{path.name}"
    return {"commit": commit.oid, "url": commit.commit_url, "adapter": adapter}


def main(argv: list[str]) -> int:
    """Run the subcommand with these arguments and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dstadapter_jax.export push", description=__doc__
    )
    parser.add_argument("adapter", type=expanded_path, metavar="FILE", help="adapter file")
    parser.add_argument("repository", metavar="OWNER/REPO", help="repository on the hub")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    args = parser.parse_args(argv)
    print(json.dumps(push(args.adapter, args.repository, private=args.private)))
    return 0
