"""Temporary folder of uploads, and their deletion."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

MAX_AGE_SECONDS = 600  # of an upload that is never submitted


@contextlib.contextmanager
def temporary_folder() -> Iterator[pathlib.Path]:
    """Folder for all files that Gradio writes, deleted on exit.

    Must be entered before Gradio is imported, since its import creates folders.
    """
    with tempfile.TemporaryDirectory(prefix="dstadapter_jax_app_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = folder
        try:
            yield pathlib.Path(folder).resolve()
        finally:
            tempfile.tempdir = None


def check_upload(folder: pathlib.Path, path: str) -> bool:
    """Whether the path is an uploaded file, which lies in a subfolder of its own."""
    upload = pathlib.Path(path)
    return upload.is_file() and upload.resolve().parent.parent == folder


def delete_upload(folder: pathlib.Path, path: str) -> None:
    """Delete an upload and its subfolder."""
    if check_upload(folder, path):
        shutil.rmtree(pathlib.Path(path).parent, ignore_errors=True)


def sweep(folder: pathlib.Path, seconds: float) -> None:
    """Delete files and subfolders older than `seconds`.

    Unlike Gradio's `delete_cache`, this includes the temporary files of aborted uploads.
    """
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime < seconds:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def folder_size(folder: pathlib.Path) -> int:
    """Total size in bytes of the files in a folder, some of which may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total
