"""Paths as users type them on the command line."""

import argparse
import pathlib
import tempfile

from dstadapter_jax.errors import UserError


class PathError(UserError, argparse.ArgumentTypeError):
    """An invalid path; `argparse` shows its message, too."""


def expanded_path(text: str) -> pathlib.Path:
    """Expand `~` in a path; a type for `argparse`."""
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise PathError(text, problem=str(error), advice="Write the path out.") from error


def workdir_path(text: str) -> pathlib.Path:
    """Expand and check the folder that a command writes to.

    Raises:
        PathError: The path is empty or not on a disk.
    """
    if not text.strip() or "://" in text:
        raise PathError(
            "--workdir",
            expected="a folder on a local or mounted disk",
            found=repr(text),
            advice="Buckets can be mounted (gcsfuse, s3fs); . is the current folder.",
        )
    return expanded_path(text)


def make_output(folder: pathlib.Path) -> None:
    """Create the folder for results if needed, before there are results to lose.

    Raises:
        UserError: The folder can't be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            str(folder),
            expected="a folder that results can be written to",
            found=error.strerror,
            advice="Choose another --output DIR.",
        ) from error


def png_path(text: str) -> pathlib.Path:
    """Expand the path of a PNG file to write; a type for `argparse`."""
    path = expanded_path(text)
    if path.suffix.lower() != ".png":
        raise PathError(text, expected="a name that ends in .png", found=path.name)
    return path
