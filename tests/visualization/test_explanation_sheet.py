"""The picture of an explanation, and the command that draws it."""

import json

import numpy as np
import pytest

from dstadapter_jax import predict
from dstadapter_jax.data.preprocess import make_views
from dstadapter_jax.data.video.reader import read_frames
from dstadapter_jax.inference import ranking
from dstadapter_jax.inference.attribution import Attribution
from dstadapter_jax.inference.ranking import rank_labels, read_clip
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.visualization.contact_sheet import MARGIN
from dstadapter_jax.visualization.explanation_sheet import (
    Explanation,
    draw_explanations,
    explain_best,
)
from dstadapter_jax.visualization.heatmap import overlay_heatmap
from tests.visualization.test_contact_sheet import SCALE, pixels_of, strip_rows


def made_up(layers=2, **changes):
    """An invented attribution of three frames."""
    rng = np.random.default_rng(0)
    patches = rng.random((1, 3, 2, 2)).astype(np.float32)
    attribution = {
        "logits": np.zeros((1, 3)),
        "frame_contributions": rng.normal(size=(1, 3)),
        "patches": patches / patches.sum(),
        "temporal_gates": rng.random((1, layers, 32)),
        "spatial_gates": rng.random((1, layers - 1, 32)),
        "temporal_mixing": rng.random((1, layers)),
    }
    return Attribution(**attribution | changes)


def test_predict_with_explain_draws_the_view_of_each_video(run_dir, recordings, tmp_path, capsys):
    videos = [str(recordings / name) for name in ("s0_l0_t0.mp4", "s1_l2_t1.mp4")]
    broken, picture = tmp_path / "broken.mp4", tmp_path / "new" / "why.png"
    broken.write_bytes(b"no video")
    arguments = ["--explain", str(picture), videos[0], str(broken), videos[1]]
    assert predict.main(["--workdir", str(run_dir), *arguments]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(answer) for answer in answers] == [
        {"video", "predictions"},
        {"video", "error"},
        {"video", "predictions"},
    ]
    recognizer, sheet = Recognizer.load(run_dir), pixels_of(picture)
    tops = []
    for video in videos:
        clip = read_clip(recognizer, video)
        # Three crops of these 64x48 videos are scored; the middle one is drawn, then its heat map.
        explanation = explain_best(recognizer, video, clip, rank_labels(recognizer, clip))
        (top,) = strip_rows(sheet, clip.views[-1])
        large = clip.views[-1].repeat(SCALE, axis=1).repeat(SCALE, axis=2)
        warm = overlay_heatmap(large, explanation.attribution.patches[0])
        side = warm.shape[1]
        drawn = sheet[top + side + 4 : top + 2 * side + 4, MARGIN : MARGIN + side]
        np.testing.assert_array_equal(drawn, warm[0])
        tops.append(top)
    assert tops == sorted(tops)


def test_explain_best_explains_the_middle_crop_of_the_predicted_frames(run_dir, recordings):
    recognizer, video = Recognizer.load(run_dir), str(recordings / "s0_l1_t0.mp4")
    clip = read_clip(recognizer, video)
    predictions = rank_labels(recognizer, clip)
    assert predictions == ranking.predict(recognizer, video)
    explanation = explain_best(recognizer, video, clip, predictions)
    frames = read_frames(video, clip.indices.tolist())
    views, _ = make_views(frames, recognizer.preprocess, "test")
    np.testing.assert_array_equal(clip.views, views)
    # 64x48 became 43x32: the middle crop begins at 5, within what both of the others show.
    np.testing.assert_array_equal(explanation.view[..., :-5, :], views[0][..., 5:, :])
    assert explanation.label == f"{predictions[0]['label']}  {predictions[0]['probability']:.1%}"
    assert "the middle one of 3 crops" in explanation.details
    assert explanation.frame_captions == [f"frame {index}" for index in clip.indices]
    shown = recognizer.probabilities(explanation.view[None])
    logits = explanation.attribution.logits[0]
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(shown[0], softmax, atol=1e-6)
    best = predictions[0]["id"]
    bias = np.asarray(recognizer.model.head.bias)
    margin = (logits - bias)[best] - (logits - bias).mean()
    assert explanation.attribution.frame_contributions.sum() == pytest.approx(margin, abs=1e-5)


def test_overlay_heatmap_colors_the_relevant_patches():
    view = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    patches = np.zeros((4, 4, 4), np.float32)
    patches[2, 1, 3] = 0.5
    patches[0, 3, 0] = 0.25
    warm = overlay_heatmap(view, patches).astype(int)
    assert warm.shape == view.shape
    color = np.ptp(warm, axis=-1)
    # Patches of 8 pixels, colored most in their middles.
    half, full = color[0, 26:30, 2:6], color[2, 10:14, 26:30]
    cold = np.delete(color, [0, 2], axis=0)
    assert full.min() > cold.max() + 50
    assert half.min() > cold.max() + 30
    assert cold.max() < 10  # gray, darkened
    gray = view[1].mean(axis=-1)
    assert np.corrcoef(gray.ravel(), warm[1, ..., 0].ravel())[0, 1] > 0.99


def test_draw_explanations_takes_any_text_and_contributions(tmp_path):
    texts = ["手語 नमस्ते سلام", "a$^$_{", "\udcff\n", "W" * 1000]
    attributions = [
        made_up(),
        made_up(frame_contributions=np.zeros((1, 3))),
        made_up(frame_contributions=-np.ones((1, 3))),
        made_up(layers=24, patches=np.full((1, 3, 2, 2), 1 / 12, np.float32)),
    ]
    view = np.zeros((3, 8, 8, 3), np.uint8)
    path = tmp_path / "why.png"
    explanations = [
        Explanation(text, text, [text] * 3, view, attribution, baseline=text)
        for text, attribution in zip(texts, attributions, strict=True)
    ]
    draw_explanations(path, explanations)
    sheet = pixels_of(path)
    assert sheet.shape[1] == 880 + 2 * MARGIN
    assert (sheet[:, : MARGIN - 3] == 255).all()
    assert (sheet[:, 3 - MARGIN :] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--explain", "why.jpg", "clip.mp4"], ".png"),
        (["--explain", "why.png", *["clip.mp4"] * 21], "21"),
        (["--explain", "why.png"], "VIDEO"),
    ],
)
def test_predict_with_wrong_explain_arguments_exits_with_2(tmp_path, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        predict.main(["--workdir", str(tmp_path), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_predict_with_explain_of_unreadable_videos_draws_nothing(run_dir, tmp_path, capsys):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    picture = tmp_path / "why.png"
    assert predict.main(["--workdir", str(run_dir), "--explain", str(picture), str(empty)]) == 1
    assert "error" in json.loads(capsys.readouterr().out)
    assert not picture.exists()
