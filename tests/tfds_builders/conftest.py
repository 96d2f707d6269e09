"""Folders and a small clip for tests of builders."""

from pathlib import Path

import pytest

from tests.helpers.clips import barcoded_frames, write_clip

HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 8


@pytest.fixture(scope="session")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 8 frames at 25 frames per second."""
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    write_clip(path, barcoded_frames(NUM_FRAMES, HEIGHT, WIDTH), fps=25)
    return path.read_bytes()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder for a dataset's files."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder to build in, which does not exist yet."""
    return tmp_path / "out"
