"""Paths on the command line."""

import pytest

from dstadapter_jax import evaluate
from dstadapter_jax.cli.paths import PathError, expanded_path, make_output, workdir_path
from tests.helpers.errors import raises


@pytest.mark.parametrize("text", ["", " ", "gs://bucket/run", "s3://bucket/run"])
def test_workdir_path_that_is_not_a_folder_raises(text):
    with raises(PathError, where="--workdir", found="'"):
        workdir_path(text)


def test_expanded_path_of_unknown_home_raises(capsys):
    with raises(PathError, where="~nosuchuser/x"):
        expanded_path("~nosuchuser/x")
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--workdir", "~nosuchuser/x"])
    assert "~nosuchuser/x: " in capsys.readouterr().err


@pytest.mark.parametrize("output", ["file", "file/folder", "/proc/results", "/proc/self"])
def test_make_output_in_unwritable_place_raises(tmp_path, output):
    (tmp_path / "file").touch()
    path = tmp_path / output
    with raises(where=str(path), advice="--output DIR"):
        make_output(path)
