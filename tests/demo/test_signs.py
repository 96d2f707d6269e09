"""The demo's rendered vocabulary and its shipped backbone."""

import csv
import dataclasses
from pathlib import Path

import av
import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames, normalize
from dstadapter_jax.demo import signs, stills
from dstadapter_jax.demo.figure import SIZE, Signer
from dstadapter_jax.demo.signs import LENGTHS, REVERSED, SIGNS, SPLITS, Take
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.pretrained.loading import load_weights
from dstadapter_jax.pretrained.names import is_adapter_weight


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signs.render_vocabulary(tmp_path_factory.mktemp("demo"), takes=1, seed=3)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("label", "reverse"), REVERSED.items())
def test_a_reverse_is_the_same_poses_in_opposite_order(label: str, reverse: str) -> None:
    rng = np.random.default_rng(0)
    take = Take.draw(SIGNS[label], Signer.draw(rng), rng)
    backwards = dataclasses.replace(take, holds=take.holds[::-1], jitter=take.jitter[::-1])
    hands = signs.trajectory(SIGNS[label], take)
    np.testing.assert_allclose(
        signs.trajectory(SIGNS[reverse], backwards), hands[::-1], rtol=0, atol=1e-12
    )
    assert np.abs(hands[0] - hands[-1]).max() > 1  # there is a way to go
    assert SIGNS[label].shape == SIGNS[reverse].shape


def test_only_the_reversed_signs_have_a_direction() -> None:
    directed = {label for label, sign in SIGNS.items() if sign.poses != sign.poses[::-1]}
    assert directed == {*REVERSED.keys(), *REVERSED.values()}


@pytest.mark.parametrize("frames", LENGTHS)
def test_sampled_frames_lie_symmetrically_in_time(frames: int) -> None:
    cfg = PreprocessConfig(num_frames=8)
    chosen = choose_frames(frames, cfg, "test")
    np.testing.assert_array_equal(chosen, frames - 1 - chosen[::-1])
    rng = np.random.default_rng(0)
    drawn = np.array([choose_frames(frames, cfg, "train", rng) for _ in range(400)])
    for extreme in (np.min, np.max):  # of each segment; 400 draws miss none of its ends
        mirrored = frames - 1 - (np.max if extreme is np.min else np.min)(drawn, axis=0)[::-1]
        np.testing.assert_array_equal(extreme(drawn, axis=0), mirrored)


def test_holds_are_alike_at_both_ends() -> None:
    rng = np.random.default_rng(0)
    signer = Signer.draw(rng)
    holds = np.array([Take.draw(SIGNS["raise"], signer, rng).holds for _ in range(2000)])
    start, end = holds.mean(axis=0)
    # Five standard deviations of the difference of two means of 2000 draws from U(0, 0.2).
    assert abs(start - end) < 5 * 0.2 / np.sqrt(12) * np.sqrt(2 / 2000)


def test_recordings_list_every_clip_and_no_signer_twice(vocabulary: Path) -> None:
    rows = read_rows(vocabulary)
    assert list(rows[0]) == ["path", "label", "signer", "split"]
    assert len(rows) == len(SPLITS) * len(SIGNS)
    assert {row["path"] for row in rows} == {
        str(path.relative_to(vocabulary.parent)) for path in vocabulary.parent.rglob("*.mp4")
    }
    assert len({(row["signer"], row["split"]) for row in rows}) == len(SPLITS)


def test_clips_decode(vocabulary: Path) -> None:
    for row in read_rows(vocabulary)[::7]:
        with av.open(str(vocabulary.parent / row["path"])) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) in LENGTHS
        assert frames[0].shape == (SIZE, SIZE, 3)
        # The figure moves: some pixel changes by far more than grain and compression do.
        assert np.abs(frames[0].astype(int) - frames[len(frames) // 4]).max() > 60


def test_a_seed_always_draws_the_same(vocabulary: Path, tmp_path: Path) -> None:
    again = signs.render_vocabulary(tmp_path, takes=1, seed=3)
    assert again.read_bytes() == vocabulary.read_bytes()
    for row in read_rows(vocabulary):
        clip = (vocabulary.parent / row["path"]).read_bytes()
        assert (tmp_path / row["path"]).read_bytes() == clip, row["path"]


def test_a_seed_draws_other_clips_than_another() -> None:
    first, second = (
        signs.draw_clip(Signer.draw(rng), SIGNS["wave"], rng)[0]
        for rng in map(np.random.default_rng, (0, 1))
    )
    assert np.abs(first.astype(int) - second).mean() > 5


def test_backbone_has_learned_from_stills_where_hands_are() -> None:
    assert stills.PATH.stat().st_size < 2e6
    model = init_model(stills.MODEL, seed=0)
    chance = unexplained_by_features(model)
    loaded = load_weights(model, stills.PATH)
    assert not loaded.ignored
    assert all(is_adapter_weight(name) for name in loaded.initialized)
    # Measured: 1.1 to 1.2 with random weights, 0.56 to 0.71 with the shipped ones.
    assert unexplained_by_features(model).max() < 0.75 < chance.min()


def unexplained_by_features(model: DSTAdapter) -> np.ndarray:
    """Share of the variance of both hands' columns and rows that a linear map leaves, `(4,)`."""
    # Signers behind those that the backbone was trained on: 12 to fit the map, 4 to measure it.
    drawn = [stills.draw_stills(stills.SIGNERS + number) for number in range(16)]
    images, targets = map(np.concatenate, zip(*drawn, strict=True))
    cells = targets[:, :2]
    places = np.concatenate([cells % stills.CELLS[0], cells // stills.CELLS[0]], axis=1)
    graphdef, state = nnx.split(model)  # arguments, so that one program serves all weights
    compiled = jax.jit(lambda state, frames: nnx.merge(graphdef, state).features(frames))
    features = np.asarray(compiled(state, normalize(images)[:, np.newaxis]))
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    fit = len(images) * 3 // 4
    weights = np.linalg.lstsq(features[:fit], places[:fit], rcond=None)[0]
    return (features[fit:] @ weights - places[fit:]).var(axis=0) / places[fit:].var(axis=0)
