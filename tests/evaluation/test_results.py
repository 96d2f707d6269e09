"""Files of scores: what is written is read, and other files are refused."""

import numpy as np
import pytest

from dstadapter_jax.errors import UserError
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.scores import Scores
from tests.helpers.errors import raises


def test_result_that_was_saved_loads_equal(tmp_path):
    results = EvaluationResult(
        Scores(np.eye(2), np.array([0, 1]), np.array(["ü/a.mp4", "b"]), np.array(["", "手"])),
        MissingClips(np.array(["c"]), np.array([1]), np.array(["ann"]), num_unlisted=3),
        ("one", "zwölf"),
    )
    results.save(tmp_path / "scores.npz")
    loaded = EvaluationResult.load(tmp_path / "scores.npz")
    assert loaded.label_names == results.label_names
    assert loaded.missing.num_unlisted == 3
    assert loaded.num_clips == 6
    assert loaded.metrics()["top1"] == 2 / 6
    for name in ("ids", "labels", "signers", "outcomes"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(results, name))
    np.testing.assert_array_equal(loaded.scores.probabilities, results.scores.probabilities)


class Evil:
    def __reduce__(self):
        return (open, ("owned", "w"))


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": None},
        {"labels": np.array([0, 2])},
        {"labels": np.array([0])},
        {"signers": np.array([1, 2])},
        {"label_names": np.array(["one"])},
        {"probabilities": np.zeros(3)},
        {"missing_num_unlisted": np.array(-1)},
        {"missing_num_unlisted": np.array([1, 2])},
        {"ids": np.array([Evil(), Evil()], object)},
        "text",
        "empty",
        "cut",
    ],
)
def test_load_of_another_file_raises_and_executes_nothing(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "scores.npz"
    arrays = {"probabilities": np.eye(2), "labels": np.arange(2), "ids": np.array(["a", "b"])}
    arrays |= {"signers": np.array(["", ""]), "label_names": np.array(["one", "two"])}
    arrays |= {f"missing_{name}": arrays[name][:0] for name in ("ids", "labels", "signers")}
    arrays |= {"missing_num_unlisted": np.array(0)}
    if isinstance(changes, dict):
        arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    if not isinstance(changes, dict):
        content = {"text": b"scores", "empty": b"", "cut": path.read_bytes()[:500]}[changes]
        path.write_bytes(content)
    with raises(UserError, where="scores.npz", expected="scores of clips"):
        EvaluationResult.load(path)
    assert not (tmp_path / "owned").exists()
