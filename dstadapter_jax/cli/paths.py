"""Paths as users type them on the command line."""

import argparse
import pathlib
import tempfile


class PathError(argparse.ArgumentTypeError, ValueError):
    """A path that can't be meant; `argparse` prints what it says, too."""


def expanded_path(text: str) -> pathlib.Path:
    """A path as a user types it, `~` included; for `argparse`."""
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise PathError(f"{text}: {error} Write the path out.") from error


def workdir_path(text: str) -> pathlib.Path:
    """The folder that a command is to fill.

    Raises:
        ValueError: It is empty, or in a place that isn't written to as to a disk.
    """
    if not text.strip() or "://" in text:
        raise PathError(
            f"--workdir: expected a folder on a disk of this machine or one that is mounted, found"
            f" {text!r}. A bucket can be mounted: gcsfuse, s3fs; . is the folder that you are in."
        )
    return expanded_path(text)


def make_output(folder: pathlib.Path) -> None:
    """Makes the folder that results go to, if need be, before there are any to lose.

    Raises:
        ValueError: It can't be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{folder}: expected a folder that results can be written to: {error.strerror}. Name"
            " another as --output DIR, or mend this one."
        ) from error
