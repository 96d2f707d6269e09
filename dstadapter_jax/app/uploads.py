"""Where uploads lie for the time being, and how they go."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

KEPT_SECONDS = 600  # an upload that nobody asks about


@contextlib.contextmanager
def temporary_folder() -> Iterator[pathlib.Path]:
    """A folder for all that Gradio writes, gone afterwards with whatever is in it.

    To be entered before Gradio is imported, which makes folders at once.
    """
    with tempfile.TemporaryDirectory(prefix="dstadapter_jax_app_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = folder
        try:
            yield pathlib.Path(folder).resolve()
        finally:
            tempfile.tempdir = None


def check_upload(folder: pathlib.Path, path: str) -> bool:
    """Whether there is such an upload, each of which lies in a subfolder of its own."""
    upload = pathlib.Path(path)
    return upload.is_file() and upload.resolve().parent.parent == folder


def delete_upload(folder: pathlib.Path, path: str) -> None:
    """Deletes an upload and its subfolder."""
    if check_upload(folder, path):
        shutil.rmtree(pathlib.Path(path).parent, ignore_errors=True)


def sweep(folder: pathlib.Path, seconds: float) -> None:
    """Deletes what has lain there for so long, broken-off uploads included."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime < seconds:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def folder_size(folder: pathlib.Path) -> int:
    """Bytes of all files in it, which may be deleted meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total
