"""Sliding windows over a stream."""

import numpy as np
import pytest

from dstadapter_jax.data.preprocess import preprocess
from dstadapter_jax.data.views import Views
from dstadapter_jax.spotting.windows import SlidingWindows
from tests.helpers.streams import CFG, FPS, noise_frames


def hops_of(lengths: tuple[float, ...], frames: np.ndarray) -> list:
    sliding = SlidingWindows(lengths, CFG)
    hops = []
    for index, frame in enumerate(frames):
        sliding.push(index / FPS, frame)
        if windows := sliding.pop_ready():
            hops.append((index, windows))
    return hops


def test_window_view_equals_the_view_of_a_clip_of_its_frames():
    frames = noise_frames(60)
    for last, windows in hops_of((0.4, 0.8), frames):
        for window in windows:
            first = round(window.start * FPS)
            clip = frames[first : last + 1]
            views, _ = preprocess(len(clip), clip.__getitem__, CFG, "test", views=Views(1, 1))
            assert window.end == last / FPS
            np.testing.assert_array_equal(window.view, views[0])


def test_windows_have_their_lengths_at_every_hop():
    hops = hops_of((0.36, 0.72), noise_frames(100))
    ends = np.array([last / FPS for last, _ in hops])
    assert ends[0] == 0.36
    assert len(set(np.diff(ends).round(3))) == 2  # one or two frames: a hop is 1.125 frames
    assert np.diff(ends).mean() == pytest.approx(0.36 / 8, rel=0.03)
    for number, windows in ((0, [0.36]), (-1, [0.36, 0.72])):
        found = [window.end - window.start for window in hops[number][1]]
        np.testing.assert_allclose(found, windows)


def test_windows_with_a_gap_in_the_stream_are_skipped():
    sliding = SlidingWindows((0.4,), CFG)
    ends = []
    for seconds in (0, 0.1, 0.2, 0.3, 0.4, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5):
        sliding.push(seconds, noise_frames(1)[0])
        ends += [window.end for window in sliding.pop_ready()]
    assert ends == [0.4, 3.4, 3.5]


def test_push_of_a_long_stream_keeps_only_the_longest_window():
    sliding = SlidingWindows((0.4, 0.8), CFG)
    for index, frame in enumerate(noise_frames(500, 8, 8)):
        sliding.push(index / FPS, frame)
    assert len(sliding) == 0.8 * FPS + 1


def test_push_above_the_maximum_frame_rate_drops_frames():
    sliding = SlidingWindows((0.4,), CFG)
    for index, frame in enumerate(noise_frames(500, 8, 8)):
        sliding.push(index / 1000, frame)
    assert len(sliding) == 101  # 250 a second
