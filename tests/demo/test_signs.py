import csv
import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest

from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames
from dstadapter_jax.demo import signs
from dstadapter_jax.demo.signer import SIZE, Signer
from dstadapter_jax.demo.signs import LENGTHS, REVERSED, SIGNS, SPLITS, Take


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signs.render_vocabulary(tmp_path_factory.mktemp("demo"), takes=1, seed=3)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("label", "reverse"), REVERSED.items())
def test_trajectory_of_a_reverse_is_the_path_from_its_end(label: str, reverse: str) -> None:
    rng = np.random.default_rng(0)
    take = Take.draw(SIGNS[label], Signer.draw(rng), rng)
    backwards = dataclasses.replace(take, holds=take.holds[::-1], jitter=take.jitter[::-1])
    hands = signs.trajectory(SIGNS[label], take)
    np.testing.assert_allclose(
        signs.trajectory(SIGNS[reverse], backwards), hands[::-1], rtol=0, atol=1e-12
    )
    assert np.abs(hands[0] - hands[-1]).max() > 1  # the hands move
    assert SIGNS[label].shape == SIGNS[reverse].shape


def test_only_signs_of_pairs_are_asymmetric_in_time() -> None:
    directed = {label for label, sign in SIGNS.items() if sign.poses != sign.poses[::-1]}
    assert directed == {*REVERSED.keys(), *REVERSED.values()}


@pytest.mark.parametrize("frames", LENGTHS)
def test_sampled_frames_of_clip_lengths_are_symmetric_in_time(frames: int) -> None:
    cfg = PreprocessConfig(num_frames=8)
    chosen = choose_frames(frames, cfg, "test")
    np.testing.assert_array_equal(chosen, frames - 1 - chosen[::-1])
    rng = np.random.default_rng(0)
    drawn = np.array([choose_frames(frames, cfg, "train", rng) for _ in range(400)])
    for extreme in (np.min, np.max):  # of each segment; 400 draws reach both ends
        mirrored = frames - 1 - (np.max if extreme is np.min else np.min)(drawn, axis=0)[::-1]
        np.testing.assert_array_equal(extreme(drawn, axis=0), mirrored)


def test_take_draws_holds_from_one_distribution_at_both_ends() -> None:
    rng = np.random.default_rng(0)
    signer = Signer.draw(rng)
    holds = np.array([Take.draw(SIGNS["raise"], signer, rng).holds for _ in range(2000)])
    start, end = holds.mean(axis=0)
    # Five standard deviations of the difference of two means of 2000 draws from U(0, 0.2).
    assert abs(start - end) < 5 * 0.2 / np.sqrt(12) * np.sqrt(2 / 2000)


def test_recordings_csv_lists_every_clip_and_each_signer_in_one_split(vocabulary: Path) -> None:
    rows = read_rows(vocabulary)
    assert list(rows[0]) == ["path", "label", "signer", "split"]
    assert len(rows) == len(SPLITS) * len(SIGNS)
    assert {row["path"] for row in rows} == {
        str(path.relative_to(vocabulary.parent)) for path in vocabulary.parent.rglob("*.mp4")
    }
    assert len({(row["signer"], row["split"]) for row in rows}) == len(SPLITS)


def test_rendered_clips_decode_and_move(vocabulary: Path) -> None:
    for row in read_rows(vocabulary)[::7]:
        with av.open(str(vocabulary.parent / row["path"])) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) in LENGTHS
        assert frames[0].shape == (SIZE, SIZE, 3)
        # Motion: some pixel changes by far more than noise and compression.
        assert np.abs(frames[0].astype(int) - frames[len(frames) // 4]).max() > 60


def test_render_vocabulary_is_deterministic(vocabulary: Path, tmp_path: Path) -> None:
    again = signs.render_vocabulary(tmp_path, takes=1, seed=3)
    assert again.read_bytes() == vocabulary.read_bytes()
    for row in read_rows(vocabulary):
        clip = (vocabulary.parent / row["path"]).read_bytes()
        assert (tmp_path / row["path"]).read_bytes() == clip, row["path"]


def test_draw_clip_depends_on_the_seed() -> None:
    first, second = (
        signs.draw_clip(Signer.draw(rng), SIGNS["wave"], rng)[0]
        for rng in map(np.random.default_rng, (0, 1))
    )
    assert np.abs(first.astype(int) - second).mean() > 5
