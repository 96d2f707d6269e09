"""Two runs on the same clips: what differs, counted by hand, and what can't be compared."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dstadapter_jax import evaluate
from dstadapter_jax.evaluation import run as evaluation
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.scores import Scores
from tests.helpers.html_page import Page

ROOT = Path(__file__).parents[2]
NAMES = ("wave", "<b>give</b>", "take")
LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
A = [0, 0, 1, 1, 1, 1, 0, 2, 0, 2]  # what each takes the clips for
B = [0, 0, 0, 0, 1, 0, 0, 2, 2, 2]


def write_run(workdir, taken, order=range(10), views="3 crops x 1 segment", **changes):
    workdir.mkdir()
    order = list(order)
    signers = np.array(["ann", "ben", "cem", "dan", "eve"])[np.arange(10) % 5]
    results = EvaluationResult(
        Scores(
            probabilities=np.eye(3)[taken][order] * 0.9 + 0.01 * np.arange(3),
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


def test_figures_by_hand_on_one_line_and_a_page(runs, capsys):
    assert evaluate.main(["--compare", *map(str, runs)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    # Of eleven clips, one of them left out, A has 6 right and B 8.
    assert told["num_clips"] == 11
    assert told["a"]["top1"] == pytest.approx(6 / 11)
    assert told["b"]["top1"] == pytest.approx(8 / 11)
    assert told["difference"]["top1"] == pytest.approx(2 / 11)
    assert told["a"]["mean_class_accuracy"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 4) / 3)
    assert told["b"]["mean_class_accuracy"] == pytest.approx((4 / 4 + 1 / 3 + 3 / 4) / 3)
    assert (told["only_a_right"], told["only_b_right"]) == (1, 3)
    assert told["better"] == {
        "wave": {"right_a": 2, "right_b": 4, "num_clips": 4},
        "take": {"right_a": 2, "right_b": 3, "num_clips": 4},
    }
    assert told["worse"] == {"<b>give</b>": {"right_a": 2, "right_b": 1, "num_clips": 3}}
    low, high = told["intervals"]["over_clips"]["top1"]
    assert -2 / 11 <= low < 2 / 11 < high <= 6 / 11
    assert told["intervals"]["over_signers"]["top1"][0] < 2 / 11

    path = runs[1] / "comparison_test_with_before.html"
    assert told["report"] == str(path)
    page = Page(path)
    page.check()
    assert "No clear difference" in page.text
    assert "B recognizes more clips of: 2 signs" in page.text
    assert "B recognizes fewer clips of: 1 sign" in page.text
    assert "<b>give</b>" in page.texts
    assert "Right of A alone: 1" in page.texts
    assert "clip5.mp4" in page.texts
    assert "+18.2 points" in page.texts


def test_a_clear_difference_is_called_one(tmp_path, capsys):
    runs = [write_run(tmp_path / "a", [2, 2, 2, 2, 0, 0, 0, 2, 2, 2]), write_run(tmp_path / "b", B)]
    for pair, verdict in ((runs, "more than A"), (runs[::-1], "less than A")):
        assert evaluate.main(["--compare", *map(str, pair)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert f"B recognizes {verdict}: 0 is in no interval" in Page(Path(told["report"])).text


def test_other_views_are_told(tmp_path, runs):
    other = write_run(tmp_path / "other", B, views="1 crop x 1 segment")
    evaluation.compare(runs[0], other, "test")
    text = Page(other / "comparison_test_with_before.html").text
    assert "The views differ: 3 crops x 1 segment of A, 1 crop x 1 segment of B." in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": [0, 1, 2, 3, 5, 6, 7, 8, 9]}, r"1 clips are in .*before alone: clip4\.mp4\."),
        ({"label_names": ("wave", "give", "take")}, r"1 signs are in .*before alone: <b>give</b>"),
        ({"label_names": (NAMES[1], NAMES[0], NAMES[2])}, "their signs are in another order"),
        (
            {"missing": MissingClips(np.array(["x"]), np.array([2]), np.array([""]))},
            r"left out are in .*before alone: lost.mp4; .* left out are in .*other alone: x\.",
        ),
    ],
)
def test_runs_on_other_clips_are_refused_and_the_clips_named(tmp_path, runs, changes, message):
    other = write_run(tmp_path / "other", B, **changes)
    with pytest.raises(ValueError, match=f"can't be compared: .*{message}.*the same split"):
        evaluate.main(["--compare", str(runs[0]), str(other)])
    assert not list(other.glob("*.html"))


def test_clips_that_no_list_names_count_as_wrong_of_both(tmp_path):
    lost = MissingClips(np.array([], str), np.array([], int), np.array([], str), num_unlisted=10)
    runs = [write_run(tmp_path / name, taken, missing=lost) for name, taken in (("a", A), ("b", B))]
    told = evaluation.compare(*runs, "test")
    assert told["num_clips"] == 20
    assert (told["a"]["top1"], told["b"]["top1"]) == (6 / 20, 8 / 20)
    other = write_run(tmp_path / "other", B, missing=dataclasses.replace(lost, num_unlisted=9))
    with pytest.raises(ValueError, match="of 10 and of 9 clips more no list has the names"):
        evaluation.compare(runs[0], other, "test")


def test_a_clip_of_another_sign_is_refused(tmp_path, runs):
    other = write_run(tmp_path / "other", B)
    results = EvaluationResult.load(other / "scores_test.npz")
    results.scores.labels[6] = 2
    results.save(other / "scores_test.npz")
    with pytest.raises(ValueError, match=r"clip6.mp4 is '<b>give</b>' there, 'take' here"):
        evaluation.compare(runs[0], other, "test")


def test_runs_that_were_not_evaluated_are_told_of(runs, tmp_path):
    with pytest.raises(ValueError, match=r"none/scores_test.npz: expected scores of clips, found"):
        evaluation.compare(runs[0], tmp_path / "none", "test")
    (runs[1] / "eval_test.json").write_text("[]")
    with pytest.raises(ValueError, match=r"after/eval_test.json: expected what .* writes, found"):
        evaluation.compare(*runs, "test")


def test_the_command_ends_with_a_message(runs):
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
