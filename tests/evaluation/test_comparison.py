"""Comparison of two runs: counts by hand, and results that can't be compared."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dstadapter_jax import evaluate
from dstadapter_jax.errors import UserError
from dstadapter_jax.evaluation import run as evaluation
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.scores import Scores
from tests.helpers.errors import raises
from tests.helpers.html_page import Page

ROOT = Path(__file__).parents[2]
NAMES = ("wave", "<b>give</b>", "take")
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
A = [0, 0, 1, 1, 1, 1, 0, 2, 0, 2]  # predictions
B = [0, 0, 0, 0, 1, 0, 0, 2, 2, 2]


def write_run(workdir, predictions, order=range(10), views="3 crops x 1 segment", **changes):
    workdir.mkdir()
    order = list(order)
    signers = np.array(["ann", "ben", "cem", "dan", "eve"])[np.arange(10) % 5]
    results = EvaluationResult(
        Scores(
            probabilities=np.eye(3)[predictions][order] * 0.9 + 0.01 * np.arange(3),
            labels=np.array(LABELS)[order],
            ids=np.array([f"clip{i}.mp4" for i in range(10)])[order],
            signers=signers[order],
        ),
        MissingClips(np.array(["lost.mp4"]), np.array([2]), np.array([""])),
        NAMES,
    )
    dataclasses.replace(results, **changes).save(workdir / "scores_test.npz")
    summary = {"step": 7, "views": views, "dataset": "recordings/frames"}
    (workdir / "eval_test.json").write_text(json.dumps(summary))
    return workdir


@pytest.fixture
def runs(tmp_path):
    # The same clips in another order are the same clips.
    return [
        write_run(tmp_path / "before", A),
        write_run(tmp_path / "after", B, order=[3, 9, 0, 1, 8, 2, 5, 4, 7, 6]),
    ]


def test_compare_prints_and_shows_counts_by_hand(runs, capsys):
    assert evaluate.main(["--compare", *map(str, runs)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    summary = json.loads(line)
    # Of eleven clips, one of them missing, A recognizes 6 and B 8.
    assert summary["num_clips"] == 11
    assert summary["a"]["top1"] == pytest.approx(6 / 11)
    assert summary["b"]["top1"] == pytest.approx(8 / 11)
    assert summary["difference"]["top1"] == pytest.approx(2 / 11)
    assert summary["a"]["mean_class_accuracy"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 4) / 3)
    assert summary["b"]["mean_class_accuracy"] == pytest.approx((4 / 4 + 1 / 3 + 3 / 4) / 3)
    assert (summary["only_a_correct"], summary["only_b_correct"]) == (1, 3)
    assert summary["better"] == {
        "wave": {"correct_a": 2, "correct_b": 4, "num_clips": 4},
        "take": {"correct_a": 2, "correct_b": 3, "num_clips": 4},
    }
    assert summary["worse"] == {"<b>give</b>": {"correct_a": 2, "correct_b": 1, "num_clips": 3}}
    low, high = summary["intervals"]["over_clips"]["top1"]
    assert -2 / 11 <= low < 2 / 11 < high <= 6 / 11
    assert summary["intervals"]["over_signers"]["top1"][0] < 2 / 11

    path = runs[1] / "comparison_test_with_before.html"
    assert summary["report"] == str(path)
    page = Page(path)
    page.check()
    assert "No clear difference" in page.text
    assert "B recognizes more clips: 2 signs" in page.text
    assert "B recognizes fewer clips: 1 sign" in page.text
    assert "<b>give</b>" in page.texts
    assert "Only A correct: 1" in page.texts
    assert "clip5.mp4" in page.texts
    assert "+18.2 points" in page.texts


def test_page_of_a_clear_difference_names_the_better_run(tmp_path, capsys):
    runs = [write_run(tmp_path / "a", [2, 2, 2, 2, 0, 0, 0, 2, 2, 2]), write_run(tmp_path / "b", B)]
    for pair, verdict in ((runs, "more"), (runs[::-1], "fewer")):
        assert evaluate.main(["--compare", *map(str, pair)]) == 0
        summary = json.loads(capsys.readouterr().out)
        text = Page(Path(summary["report"])).text
        assert f"B recognizes {verdict} clips than A: no interval of top-1 contains 0" in text


def test_page_of_other_views_warns(tmp_path, runs):
    other = write_run(tmp_path / "other", B, views="1 crop x 1 segment")
    evaluation.compare(runs[0], other, "test")
    text = Page(other / "comparison_test_with_before.html").text
    assert "The views differ: 3 crops x 1 segment for A, 1 crop x 1 segment for B." in text


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"order": [0, 1, 2, 3, 5, 6, 7, 8, 9]}, ["1 clips are only in ", "before: clip4.mp4"]),
        (
            {"label_names": ("wave", "give", "take")},
            ["1 signs are only in ", "before: <b>give</b>"],
        ),
        ({"label_names": (NAMES[1], NAMES[0], NAMES[2])}, "the signs have another order"),
        (
            {"missing": MissingClips(np.array(["x"]), np.array([2]), np.array([""]))},
            ["before: lost.mp4; ", "1 missing clips are only in ", "other: x"],
        ),
    ],
)
def test_compare_of_other_clips_raises_and_names_them(tmp_path, runs, changes, problem):
    other = write_run(tmp_path / "other", B, **changes)
    with raises(UserError, where=[str(runs[0]), str(other)], problem=problem):
        evaluate.main(["--compare", str(runs[0]), str(other)])
    assert not list(other.glob("*.html"))


def test_compare_counts_unlisted_clips_as_wrong_for_both(tmp_path):
    lost = MissingClips(np.array([], str), np.array([], int), np.array([], str), num_unlisted=10)
    runs = [
        write_run(tmp_path / name, predictions, missing=lost)
        for name, predictions in (("a", A), ("b", B))
    ]
    summary = evaluation.compare(*runs, "test")
    assert summary["num_clips"] == 20
    assert (summary["a"]["top1"], summary["b"]["top1"]) == (6 / 20, 8 / 20)
    other = write_run(tmp_path / "other", B, missing=dataclasses.replace(lost, num_unlisted=9))
    with raises(UserError, problem="10 and 9 clips are not listed"):
        evaluation.compare(runs[0], other, "test")


def test_compare_of_a_clip_with_two_signs_raises(tmp_path, runs):
    other = write_run(tmp_path / "other", B)
    results = EvaluationResult.load(other / "scores_test.npz")
    results.scores.labels[6] = 2
    results.save(other / "scores_test.npz")
    with raises(
        UserError, where=str(other), expected="clip6.mp4 of sign '<b>give</b>'", found="'take'"
    ):
        evaluation.compare(runs[0], other, "test")


def test_compare_of_a_run_without_results_raises(runs, tmp_path):
    with raises(UserError, where="none/scores_test.npz", expected="scores of clips"):
        evaluation.compare(runs[0], tmp_path / "none", "test")
    (runs[1] / "eval_test.json").write_text("[]")
    with raises(UserError, where="after/eval_test.json", expected="a summary"):
        evaluation.compare(*runs, "test")


def test_command_without_results_ends_with_a_message(runs):
    result = subprocess.run(
        [
            *(sys.executable, "-m", "dstadapter_jax.evaluate", "--compare", *map(str, runs)),
            *("--split", "validation"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "before/scores_validation.npz: expected scores of clips" in line
    assert "No such file" in line
