"""The demo from end to end with the README's commands, and its results."""

import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

from dstadapter_jax.demo.signs import SIGNS
from tests.helpers.html_page import Page

ROOT = pathlib.Path(__file__).parents[2]


def command(*arguments: str) -> list[dict]:
    # With optimizations, as users compile, unlike the other tests.
    env = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    line = [sys.executable, "-m", *arguments]
    result = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_demo_adapters_separate_reversed_signs_and_a_head_does_not(tmp_path):
    # A finished demo is only evaluated again.
    workdir = pathlib.Path(os.environ.get("DEMO_WORKDIR", tmp_path))
    (results,) = command("dstadapter_jax.demo", "--workdir", str(workdir))
    adapter, head = results["adapter"], results["head"]
    assert adapter["num_clips"] == 144
    assert adapter["top1"] >= 0.9
    assert adapter["pairs_top1"] >= 0.9
    assert adapter["direction"] >= 0.9
    # Within 3.3 standard deviations of chance, exceeded by one run in a thousand.
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
def test_demo_stream_spots_the_signs_of_a_long_video(tmp_path):
    workdir = pathlib.Path(os.environ.get("DEMO_WORKDIR", tmp_path))
    if not (workdir / "adapter").exists():
        command("dstadapter_jax.demo", "--workdir", str(workdir))
    calibrated, result = command("dstadapter_jax.demo.stream", "--workdir", str(workdir))
    assert result["num_signs"] == calibrated["test"]["num_signs"] == 144
    num_detections = result["true_positives"] + result["false_positives"]
    assert result["true_positives"] >= 0.9 * result["num_signs"]
    assert result["false_positives"] <= 0.05 * num_detections

    adapter = tmp_path / "signs.safetensors"
    run = ("--workdir", str(workdir / "adapter"))
    command("dstadapter_jax.export", "adapter", *run, "-o", str(adapter))
    video = str(workdir / "stream.mp4")
    lines = command("dstadapter_jax.predict", "--adapter", str(adapter), "--stream", video)
    assert len(lines) == num_detections
    assert {line["label"] for line in lines} == set(SIGNS)
