"""The page on the results of a run: figures, pixels, and nothing from outside."""

import base64
import collections
import csv
import dataclasses
import hashlib
import json
import re
import shutil

import cv2
import numpy as np
import pytest

from dstadapter_jax import evaluate
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.preprocess import choose_frames, make_views, preprocess, preprocess_config
from dstadapter_jax.data.video.reader import probe, read_frames
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views
from dstadapter_jax.evaluation import run as evaluation
from dstadapter_jax.evaluation.report.evaluation_page import Evaluation, caveats
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.scores import Scores
from dstadapter_jax.evaluation.signers import shared_signers
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.initialization import init_model
from tests.conftest import tiny_config
from tests.helpers.builds import run
from tests.helpers.html_page import Page

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; ]]> --> \u202e gnol",
]


def results_of(run_dir, split="test"):
    return EvaluationResult.load(run_dir / f"scores_{split}.npz")


def rows_of(recordings):
    with (recordings / "list.csv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_results_of_a_run_match_the_list_of_recordings(run_dir, recordings):
    results, rows = results_of(run_dir), rows_of(recordings)
    assert len(set(results.ids)) == 9
    for clip, label, signer in zip(results.ids, results.labels, results.signers, strict=True):
        assert rows[clip]["label"] == results.label_names[label]
        assert rows[clip]["signer"] == signer


def test_summary_of_a_run_counts_signers_as_by_hand(run_dir, recordings):
    results, rows = results_of(run_dir, "test"), rows_of(recordings)
    summary = json.loads((run_dir / "eval_test.json").read_text())
    correct, clips = collections.Counter(), collections.Counter()
    for clip, scores in zip(results.scores.ids, results.scores.probabilities, strict=True):
        clips[rows[clip]["signer"]] += 1
        correct[rows[clip]["signer"]] += f"sign {scores.argmax()}" == rows[clip]["label"]
    assert {name: found["num_clips"] for name, found in summary["signers"].items()} == clips
    for name, found in summary["signers"].items():
        assert found["top1"] == correct[name] / clips[name]
        assert found["interval"][0] <= found["top1"] <= found["interval"][1]
    assert summary["shared_signers"] == {}
    expected = hashlib.sha256("\n".join(sorted(results.scores.ids)).encode()).hexdigest()
    assert summary["clips_sha256"] == expected
    assert summary["intervals"]["over_signers"] is None  # one signer tests
    for name, ends in summary["intervals"]["over_clips"].items():
        assert ends[0] <= summary[name] <= ends[1]


def test_evaluate_with_views_averages_these(run_dir, tmp_path, config, recordings, capsys):
    shutil.copytree(run_dir, tmp_path / "run")
    arguments = ["--workdir", str(tmp_path / "run"), "--views", "1x2"]
    assert evaluate.main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["views"] == "1 crop x 2 segments"
    scores = results_of(tmp_path / "run").scores
    recognizer, cfg = Recognizer.load(run_dir), preprocess_config(config)
    dataset = open_dataset(config.data.name, config.data.dir)
    for place in (0, 8):
        example = dataset.source("test")[place]
        stored = [cv2.imdecode(np.frombuffer(j, np.uint8), 1)[..., ::-1] for j in example["frames"]]
        views = []
        for clip in range(2):
            indices = choose_frames(len(stored), cfg, "test", clip=clip, num_clips=2)
            frames = np.stack([stored[i] for i in indices])
            views.append(make_views(frames, cfg, "test")[0][2])
        expected = recognizer.probabilities(np.stack(views)).mean(axis=0)
        np.testing.assert_allclose(scores.probabilities[place], expected, atol=1e-5)
    text = Page(tmp_path / "run/report_test.html").text
    assert "over 1 crop x 2 segments of a video; the reference uses 3 crops x 1 segment" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir", "x", "--views", "2x1"], "1 or 3 crops"),
        (["--workdir", "x", "--views", "many"], "CROPSxSEGMENTS"),
        (["--workdir", "x", "--compare", "a", "b"], "not allowed with"),
        (["--compare", "a", "b", "--views", "1x1"], "leave out --views"),
        (["--compare", "a", "b", "--step", "last"], "leave out --step"),
    ],
)
def test_evaluate_with_wrong_arguments_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def strips_of(text):
    """Clip, frame numbers and frames of each film strip, without those under a heat map."""
    strips = []
    for figure in re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL):
        images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"[^>]*', figure)
        numbers = [int(alt) for alt in re.findall(r'alt="frame (\d+)"', figure)]
        frames = [
            cv2.imdecode(np.frombuffer(base64.b64decode(image), np.uint8), 1)[..., ::-1]
            for image in images
        ]
        (clip,) = re.findall(r"<code>(.*?)</code>", figure)
        shown = len(frames) // 2
        assert numbers[:shown] == numbers[shown:]
        strips.append((clip, numbers[:shown], np.stack(frames[:shown])))
    return strips


def test_page_of_confused_signs_shows_the_pixels_of_the_clips(
    run_dir, recordings, tmp_path, config
):
    """The model predicts sign 1 for every clip."""
    recognizer = dataclasses.replace(
        Recognizer.load(run_dir),
        probabilities=lambda clips: np.tile([0.2, 0.7, 0.1], (len(clips), 1)),
    )
    evaluation.evaluate(recognizer, tmp_path, "test", views=Views(3, 3))
    page_of_run = Page(tmp_path / "report_test.html")
    page_of_run.check()
    assert {"Signers", "Most confused signs", "All signs", "Calibration", "Clips", "Run"} <= set(
        page_of_run.texts
    )
    confusions = "3 clips of sign 0 predicted as sign 1, 0 clips of sign 1 predicted as sign 0"
    assert confusions in page_of_run.text
    strips = strips_of((tmp_path / "report_test.html").read_text())
    labels = [rows_of(recordings)[clip]["label"] for clip, *_ in strips]
    assert sorted(labels) == ["sign 0", "sign 1", "sign 1", "sign 2"]
    cfg = preprocess_config(config)
    for clip, numbers, frames in strips:
        path = recordings / clip
        views, _ = preprocess(
            probe(path).num_frames,
            lambda indices, path=path: read_frames(path, indices.tolist()),
            cfg,
            "test",
            views=Views(1, 3),
        )
        expected = choose_frames(probe(path).num_frames, cfg, "test", clip=1, num_clips=3)
        assert numbers == expected.tolist()
        assert frames.shape == views[1].shape
        # Twice JPEG between them; another clip or another order would be far off.
        difference = np.abs(frames.astype(int) - views[1])
        assert difference.mean() < 4
        assert np.abs(frames.astype(int) - views[1][::-1]).mean() > 2 * difference.mean()


def test_page_of_a_run_shows_its_summary(run_dir):
    found = Page(run_dir / "report_test.html")
    found.check()
    summary = json.loads((run_dir / "eval_test.json").read_text())
    assert f"{summary['top1']:.1%}" in found.texts
    assert summary["clips_sha256"] in found.texts
    assert "33,667" in found.texts  # the parameters of the tests' network
    assert any('"num_classes": 3' in text for text in found.texts)


@pytest.fixture(scope="module")
def hostile_data(recordings, tmp_path_factory):
    """A built dataset with hostile names, whose metadata then put one signer into all splits."""
    source, out = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("hostile_data")
    clips = iter(sorted(recordings.glob("*.mp4")))
    with (source / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "signer", "split"])
        for split in ("train", "validation", "test"):
            for number, label in enumerate(HOSTILE):
                name = f"<i>{split}&{number}.mp4"
                shutil.copy(next(clips), source / name)
                signer = HOSTILE[1] if (split, number) == ("test", 0) else f"{split} & {number} <b>"
                writer.writerow([name, label, signer, split])
    arguments = ["recordings/frames", "--manual_dir", str(source), "--data_dir", str(out)]
    assert run(arguments) == 0
    path = out / "recordings/frames/1.0.0/metadata.json"
    metadata = json.loads(path.read_text())
    for signers in metadata["signers"].values():
        signers[:] = sorted({*signers, HOSTILE[1]})
    path.write_text(json.dumps(metadata))
    return out


def test_page_of_hostile_names_shows_them_as_text(hostile_data, tmp_path):
    config = tiny_config(hostile_data)
    dataset = open_dataset(config.data.name, str(hostile_data))
    recognizer = Recognizer(
        probabilities=lambda clips: np.tile([0.3, 0.5, 0.2], (len(clips), 1)),
        model=init_model(ModelConfig(**config.model), seed=0),
        label_names=dataset.label_names,
        preprocess=preprocess_config(config),
        config=config.to_dict(),
        step=0,
        backbone=BackboneRef(),
    )
    summary = evaluation.evaluate(recognizer, tmp_path, "test")
    assert summary["shared_signers"] == {"train": [HOSTILE[1]], "validation": [HOSTILE[1]]}
    found = Page(tmp_path / "report_test.html")
    found.check()
    for name in HOSTILE[:2]:
        assert name in found.texts
    assert "&lt;b&gt; ]]> --> \\u202e gnol" in found.texts
    assert "<i>test&0.mp4" in found.texts
    text = found.text
    assert "1 of 3 signers are in the training split, too" in text
    assert "1 of 3 signers are in the validation split, too" in text
    assert f"{HOSTILE[1]} also in train and validation" in text


def evaluation_of(data_dir, split, metadata):
    dataset = open_dataset("recordings/frames", str(data_dir))
    dataset = dataclasses.replace(dataset, metadata=metadata)
    labels = np.array([0, 1])
    scores = Scores(np.eye(3)[labels], labels, np.array(["a", "b"]), np.array(["", ""]))
    missing = MissingClips.from_dataset(dataset, split)
    summary = {"num_missing": len(missing.ids), "num_clips": 2 + len(missing.ids)}
    summary |= {"num_unavailable": 4, "shared_signers": shared_signers(dataset, split)}
    summary["test_signer"] = ""
    results = EvaluationResult(scores, missing, dataset.label_names)
    return Evaluation(None, dataset, split, REFERENCE_VIEWS, results, summary)


def test_caveats_name_signs_without_clips(data_dir):
    names = open_dataset("recordings/frames", str(data_dir)).label_names
    metadata = {"missing_labels": {"train": names[1:]}, "signers": {}}  # two signs are tested
    evaluated = evaluation_of(data_dir, "test", metadata)
    found = " ".join(one.text for one in caveats(evaluated))
    assert "1 of 3 signs have no clip here" in found
    assert "The mean of the others is 100.0%." in found
    assert f"The training split lacks 1 sign of this split, never predicted: {names[1]}." in found
    evaluated.summary["test_signer"] = "ann"  # other splits than the metadata's
    assert not any("The training split lacks" in one.text for one in caveats(evaluated))


@pytest.mark.parametrize(
    ("split", "signers", "expected"),
    [
        ("test", {}, "Signers are unknown"),
        ("test", {"train": [], "test": ["ann"]}, "Signers are unknown"),
        (
            "test",
            {"train": ["ann", "ben"], "test": ["ben"]},
            "1 of 1 signer are in the train",
        ),
        ("train", {"train": ["ann"], "test": ["ann"]}, "was trained on these clips"),
        ("validation", {"train": ["ann"], "validation": ["ben"]}, "are too high"),
    ],
)
def test_caveats_name_what_limits_the_accuracies(data_dir, split, signers, expected):
    found = [one.text for one in caveats(evaluation_of(data_dir, split, {"signers": signers}))]
    assert expected in found[0]
    assert "1 of 3 signs have no clip here" in " ".join(found)
    assert not any("missing" in text for text in found)
    assert any("4 listed clips were never published" in text for text in found)
    fine = {"train": ["ann"], "validation": ["ben"], "test": ["cem"]}
    found = [one.text for one in caveats(evaluation_of(data_dir, "test", {"signers": fine}))]
    assert not any("igners" in text for text in found)
