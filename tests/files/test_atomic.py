"""Tests of atomic writes."""

import re

import pytest

from dstadapter_jax.files.atomic import atomic_paths, atomic_write


@pytest.mark.parametrize("content", ["new", b"new"])
def test_atomic_write_replaces_content(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old")
    atomic_write(path, content)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_paths_after_error_keep_all_files(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_text("old")
    with pytest.raises(RuntimeError), atomic_paths(*paths) as temporaries:
        _write_and_fail(temporaries)
    assert paths[0].read_text() == "old"
    assert list(tmp_path.iterdir()) == paths[:1]


def test_atomic_write_that_fails_names_the_path(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError, match=re.escape(str(path))):
        atomic_write(path, "new")
    assert list(tmp_path.iterdir()) == [path]


def _write_and_fail(paths):
    for path in paths:
        path.write_text("new")
    raise RuntimeError
