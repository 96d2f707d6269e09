"""The page on a run's results: its figures, the pixels it shows, and nothing from outside."""

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
from dstadapter_jax.evaluation.calibration import Calibration
from dstadapter_jax.evaluation.confusions import confused_pairs, confusion_counts, typical_clip
from dstadapter_jax.evaluation.report import charts
from dstadapter_jax.evaluation.report.caveats import caveats
from dstadapter_jax.evaluation.report.evaluation import Evaluation
from dstadapter_jax.evaluation.report.provenance import network_facts
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.scores import Scores
from dstadapter_jax.evaluation.signers import shared_signers
from dstadapter_jax.html.markup import page, section
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.initialization import init_model
from tests.conftest import tiny_config
from tests.helpers.html_page import Page
from tfds_builders import __main__ as tfds_builders

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


# Figures


def test_scores_know_their_clips(run_dir, recordings):
    results, rows = results_of(run_dir), rows_of(recordings)
    assert len(set(results.ids)) == 9
    for clip, label, signer in zip(results.ids, results.labels, results.signers, strict=True):
        assert rows[clip]["label"] == results.label_names[label]
        assert rows[clip]["signer"] == signer


def test_figures_of_signers_are_a_count_by_hand(run_dir, recordings):
    results, rows = results_of(run_dir, "test"), rows_of(recordings)
    summary = json.loads((run_dir / "eval_test.json").read_text())
    right, clips = collections.Counter(), collections.Counter()
    for clip, scores in zip(results.scores.ids, results.scores.probabilities, strict=True):
        clips[rows[clip]["signer"]] += 1
        right[rows[clip]["signer"]] += f"sign {scores.argmax()}" == rows[clip]["label"]
    assert {name: of["num_clips"] for name, of in summary["signers"].items()} == clips
    for name, of in summary["signers"].items():
        assert of["top1"] == right[name] / clips[name]
        assert of["interval"][0] <= of["top1"] <= of["interval"][1]
    assert summary["shared_signers"] == {}
    expected = hashlib.sha256("\n".join(sorted(results.scores.ids)).encode()).hexdigest()
    assert summary["clips_sha256"] == expected
    assert summary["intervals"]["over_signers"] is None  # one signer tests
    for name, ends in summary["intervals"]["over_clips"].items():
        assert ends[0] <= summary[name] <= ends[1]


def test_calibration_by_hand():
    # Sure by 0.9 of three, two right; by 0.85 of one, right: the same bin; by 0.4 of one, wrong.
    sure, right = [0.9, 0.9, 0.9, 0.85, 0.4], [1, 1, 0, 1, 0]
    probabilities = np.array([[p, (1 - p) / 2, (1 - p) / 2] for p in sure])
    found = Calibration.of(probabilities, np.array([0 if ok else 1 for ok in right]))
    assert found.counts.tolist() == [0] * 5 + [1] + [0] * 6 + [1, 3] + [0]
    # 0.4 is the upper end of the sixth bin of fifteen; 0.85 lies in the 13th, 0.9 in the 14th.
    expected = (1 * 0.4 + 1 * 0.15 + 3 * (0.9 - 2 / 3)) / 5
    assert found.ece == pytest.approx(expected)
    certain = Calibration.of(np.eye(3)[[0, 1]], np.array([0, 1]))
    assert certain.counts[-1] == 2
    assert certain.ece == 0


def test_confused_pairs_by_hand():
    truth = [0, 0, 0, 1, 1, 2, 2, 2, 3]
    taken = [0, 1, 1, 0, 1, 3, 3, 3, 3]
    probabilities = np.full((9, 5), 0.1)
    probabilities[range(9), taken] = np.linspace(0.5, 0.58, 9)
    scores = Scores(probabilities, np.array(truth))
    counts = confusion_counts(scores)
    assert counts[0].tolist() == [1, 2, 0, 0, 0]
    pairs = confused_pairs(counts, 5)
    assert [(pair.labels, pair.counts) for pair in pairs] == [((0, 1), (2, 1)), ((2, 3), (3, 0))]
    assert confused_pairs(counts, 1) == pairs[:1]
    # The surest of those taken for it, else the one of which its own sign is the likeliest.
    assert typical_clip(scores, 0, 1) == 2
    assert typical_clip(scores, 3, 2) == 8
    assert typical_clip(scores, 1, 4) == 4
    assert typical_clip(scores, 4, 0) is None


def test_flops_and_parameters_are_those_of_the_shipped_experiment():
    from configs import autsl_vitb

    config = autsl_vitb.get_config().to_dict()
    facts = network_facts(config, Views(3, 2))
    head = 768 * 226 + 226
    assert facts["parameters"] == 89_367_552 + head
    assert facts["trained_parameters"] == 3_569_664 + head
    assert facts["flops_per_clip"] == 6 * facts["flops_per_view"]
    # A ViT-B/16 takes 17.6 billion multiply-adds a frame; adapters add some.
    assert 8 * 2 * 16e9 < facts["flops_per_view"] < 8 * 2 * 19e9


# Views


def test_evaluate_takes_the_views_it_is_told(run_dir, tmp_path, config, recordings, capsys):
    shutil.copytree(run_dir, tmp_path / "run")
    arguments = ["--workdir", str(tmp_path / "run"), "--views", "1x2"]
    assert evaluate.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["views"] == "1 crop x 2 segments"
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
    assert "1 crop x 2 segments of a video, the reference's is over 3 crops x 1 segment" in text


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
def test_wrong_use_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# The page


def strips_of(text):
    """Of each film strip the clip, frames and their numbers; the same under heat are the rest."""
    strips = []
    for figure in re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL):
        images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"[^>]*', figure)
        told = [int(alt) for alt in re.findall(r'alt="frame (\d+)"', figure)]
        frames = [
            cv2.imdecode(np.frombuffer(base64.b64decode(image), np.uint8), 1)[..., ::-1]
            for image in images
        ]
        (clip,) = re.findall(r"<code>(.*?)</code>", figure)
        shown = len(frames) // 2
        assert told[:shown] == told[shown:]
        strips.append((clip, told[:shown], np.stack(frames[:shown])))
    return strips


def test_the_page_needs_nothing_else_and_shows_the_clips_real_pixels(
    run_dir, recordings, tmp_path, config
):
    """Of a model that takes every clip for sign 1."""
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
    assert "3 clips of sign 0 taken for sign 1, none of sign 1 for sign 0" in page_of_run.text
    strips = strips_of((tmp_path / "report_test.html").read_text())
    labels = [rows_of(recordings)[clip]["label"] for clip, *_ in strips]
    assert sorted(labels) == ["sign 0", "sign 1", "sign 1", "sign 2"]
    cfg = preprocess_config(config)
    for clip, told, frames in strips:
        path = recordings / clip
        views, _ = preprocess(
            probe(path).num_frames,
            lambda indices, path=path: read_frames(path, indices.tolist()),
            cfg,
            "test",
            views=Views(1, 3),
        )
        expected = choose_frames(probe(path).num_frames, cfg, "test", clip=1, num_clips=3)
        assert told == expected.tolist()
        assert frames.shape == views[1].shape
        # Twice JPEG between them; another clip or another order would be far off.
        difference = np.abs(frames.astype(int) - views[1])
        assert difference.mean() < 4
        assert np.abs(frames.astype(int) - views[1][::-1]).mean() > 2 * difference.mean()


def test_a_run_leaves_a_page_at_its_end(run_dir):
    found = Page(run_dir / "report_test.html")
    found.check()
    summary = json.loads((run_dir / "eval_test.json").read_text())
    assert f"{summary['top1']:.1%}" in found.texts
    assert summary["clips_sha256"] in found.texts
    assert "33,667" in found.texts  # the parameters of the tests' network
    assert any('"num_classes": 3' in text for text in found.texts)


@pytest.fixture(scope="module")
def hostile_data(recordings, tmp_path_factory):
    """Built for real; then one signer is said to be in all splits."""
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
    assert tfds_builders.main(arguments) == 0
    path = out / "recordings/frames/1.0.0/metadata.json"
    metadata = json.loads(path.read_text())
    for signers in metadata["signers"].values():
        signers[:] = sorted({*signers, HOSTILE[1]})
    path.write_text(json.dumps(metadata))
    return out


def test_names_of_signs_signers_and_clips_are_never_markup(hostile_data, tmp_path):
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
    assert "Of 3 signers 1 were trained on, too" in text
    assert "Of 3 signers 1 are in the validation split, too" in text
    assert f"{HOSTILE[1]} in train and validation, too" in text


def evaluation_of(data_dir, split, metadata):
    dataset = open_dataset("recordings/frames", str(data_dir))
    dataset = dataclasses.replace(dataset, metadata=metadata)
    labels = np.array([0, 1])
    scores = Scores(np.eye(3)[labels], labels, np.array(["a", "b"]), np.array(["", ""]))
    left_out = MissingClips.of(dataset, split)
    summary = {"num_missing": len(left_out.ids), "num_clips": 2 + len(left_out.ids)}
    summary |= {"num_unavailable": 4, "shared_signers": shared_signers(dataset, split)}
    results = EvaluationResult(scores, left_out, dataset.label_names)
    return Evaluation(None, dataset, split, REFERENCE_VIEWS, results, summary)


@pytest.mark.parametrize(
    ("split", "signers", "expected"),
    [
        ("test", {}, "Signers are unknown"),
        ("test", {"train": [], "test": ["ann"]}, "Signers are unknown"),
        ("test", {"train": ["ann", "ben"], "test": ["ben"]}, "Of 1 signers 1 were trained on"),
        ("train", {"train": ["ann"], "test": ["ann"]}, "clips that the run was trained on"),
        ("validation", {"train": ["ann"], "validation": ["ben"]}, "flatter the run"),
    ],
)
def test_what_keeps_figures_from_meaning_what_they_seem_to(data_dir, split, signers, expected):
    found = [one.text for one in caveats(evaluation_of(data_dir, split, {"signers": signers}))]
    assert expected in found[0]
    assert "1 of 3 signs have no clip here" in " ".join(found)
    assert not any("missing" in text for text in found)
    assert any("4 listed clip(s) were never published" in text for text in found)
    fine = {"train": ["ann"], "validation": ["ben"], "test": ["cem"]}
    found = [one.text for one in caveats(evaluation_of(data_dir, "test", {"signers": fine}))]
    assert not any("igners" in text for text in found)


def test_a_matrix_of_any_number_of_signs_is_drawn(tmp_path):
    for classes in (1, 8, 30, 263):
        counts = np.random.default_rng(0).poisson(3 / classes, (classes, classes))
        counts += 2 * np.eye(classes, dtype=int)
        names = [f"sign {i} 手語 with a very long name" for i in range(classes)]
        drawn = section("signs", "Signs", charts.confusion(counts, names))
        (tmp_path / "page.html").write_text(page("matrix", drawn))
        found = Page(tmp_path / "page.html")
        told = dict.fromkeys(found.texts)
        assert len(found.all("rect")) == 1 + (counts > 0).sum()
        for row, column in np.argwhere(counts)[:: max(1, classes // 20)]:
            what = f"{names[row]} taken for {names[column]}: {counts[row, column]} of"
            assert f"{what} {counts[row].sum()} clips" in told
        assert f"Confusion matrix: {np.trace(counts):,} of {counts.sum():,} clips on" in found.text


# Files of scores


def test_scores_are_read_as_they_were_written(tmp_path):
    results = EvaluationResult(
        Scores(np.eye(2), np.array([0, 1]), np.array(["ü/a.mp4", "b"]), np.array(["", "手"])),
        MissingClips(np.array(["c"]), np.array([1]), np.array(["ann"]), num_unlisted=3),
        ("one", "zwölf"),
    )
    results.save(tmp_path / "scores.npz")
    again = EvaluationResult.load(tmp_path / "scores.npz")
    assert again.label_names == results.label_names
    assert again.missing.num_unlisted == 3
    assert again.num_clips == 6
    assert again.metrics()["top1"] == 2 / 6
    for name in ("ids", "labels", "signers", "outcomes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(results, name))
    np.testing.assert_array_equal(again.scores.probabilities, results.scores.probabilities)


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
def test_files_that_are_no_scores_are_refused(tmp_path, monkeypatch, changes):
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
    with pytest.raises(ValueError, match=r"scores.npz: expected scores of clips, found"):
        EvaluationResult.load(path)
    assert not (tmp_path / "owned").exists()
