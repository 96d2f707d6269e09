"""The demo from end to end, as the README has it, and what it claims."""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dstadapter_jax.demo.__main__ import pair_metrics
from dstadapter_jax.demo.signs import SIGNS
from dstadapter_jax.evaluation.scores import Scores
from tests.helpers.html_page import Page

ROOT = pathlib.Path(__file__).parents[2]


def command(*arguments: str) -> list[dict]:
    # Compiled as everybody else's programs are, and not in the tests' quick way.
    env = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    line = [sys.executable, "-m", *arguments]
    result = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_pair_metrics_compare_a_sign_with_its_reverse_alone():
    names = sorted(SIGNS)
    # A clip of each sign; probability 0.6 for drum and the rest for one other class.
    labels = np.arange(len(names))
    probabilities = np.zeros((8, 8))
    probabilities[:, names.index("drum")] = 0.6
    for row, guess in enumerate(
        ["close", "drum", "give", "raise", "open", "raise", "give", "wave"]
    ):
        probabilities[row, names.index(guess)] += 0.4
    assert names == ["close", "drum", "give", "lower", "open", "raise", "take", "wave"]
    metrics = pair_metrics(Scores(probabilities, labels), names)
    # close, give, open and raise are right; lower is taken for raise, take for give.
    assert metrics == {"pairs_top1": 0.0, "direction": pytest.approx(4 / 6), "pairs_num_clips": 6}


@pytest.mark.slow
def test_adapters_learn_what_a_head_cannot(tmp_path):
    # Where the demo has run already, it only evaluates again.
    workdir = pathlib.Path(os.environ.get("DEMO_WORKDIR", tmp_path))
    (results,) = command("dstadapter_jax.demo", "--workdir", str(workdir))
    adapter, head = results["adapter"], results["head"]
    assert adapter["num_clips"] == 144
    assert adapter["top1"] >= 0.9
    assert adapter["pairs_top1"] >= 0.9
    assert adapter["direction"] >= 0.9
    # Within chance: 3.3 standard deviations of a fair coin, which one run in a thousand leaves.
    assert abs(head["direction"] - 0.5) < 3.3 * math.sqrt(0.25 / head["pairs_num_clips"])

    run = workdir / "adapter"
    (again,) = command("dstadapter_jax.evaluate", "--workdir", str(run))
    assert again == {key: adapter[key] for key in again}
    (compared,) = command(
        "dstadapter_jax.evaluate", "--compare", str(workdir / "head"), str(workdir / "adapter")
    )
    for over in ("over_clips", "over_signers"):
        assert compared["intervals"][over]["top1"][0] > 0.2
    assert {"lower", "give"} <= set(compared["better"])
    Page(pathlib.Path(compared["report"])).check()
    page = Page(run / "report_test.html")
    page.check()
    assert f"{adapter['top1']:.1%}" in page.texts
    assert set(adapter["signers"]) == {"signer7", "signer8", "signer9"}
    clips = [workdir / f"recordings/{sign}/signer9_0.mp4" for sign in SIGNS]
    answers = command("dstadapter_jax.predict", "--workdir", str(run), *map(str, clips))
    right = [a["predictions"][0]["label"] == sign for a, sign in zip(answers, SIGNS, strict=True)]
    assert sum(right) >= 6
    for picture in ("pairs.png", "adapter/curves.png", "adapter/confusion_test.png"):
        assert (workdir / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_signs_of_a_long_video_are_found(tmp_path):
    workdir = pathlib.Path(os.environ.get("DEMO_WORKDIR", tmp_path))
    if not (workdir / "adapter").exists():
        command("dstadapter_jax.demo", "--workdir", str(workdir))
    calibrated, result = command("dstadapter_jax.demo.stream", "--workdir", str(workdir))
    assert result["shown"] == calibrated["test"]["shown"] == 144
    assert result["found"] >= 0.9 * result["shown"]
    assert result["false"] <= 0.05 * (result["found"] + result["false"])

    adapter = tmp_path / "signs.safetensors"
    run = ("--workdir", str(workdir / "adapter"))
    command("dstadapter_jax.export", "adapter", *run, "-o", str(adapter))
    video = str(workdir / "stream.mp4")
    lines = command("dstadapter_jax.predict", "--adapter", str(adapter), "--stream", video)
    assert len(lines) == result["found"] + result["false"]
    assert {line["label"] for line in lines} == set(SIGNS)
