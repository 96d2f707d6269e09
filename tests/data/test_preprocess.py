"""Preprocessing against plain computations of MMAction2's steps, written out here on their own."""

import dataclasses
import fractions
import math

import av
import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.data.preprocess import (
    MODES,
    PreprocessConfig,
    choose_frames,
    make_views,
    preprocess,
)
from dstadapter_jax.data.randaugment import rand_augment
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views

CFG = PreprocessConfig()
SMALL = PreprocessConfig(num_frames=4, resolution=28)  # short sides 32 and 28
PLAIN = dataclasses.replace(SMALL, randaugment_layers=0, flip_probability=0.0)
# (height, width): landscape, portrait, square, odd, tiny, oblong, and 225:224, a step of 0 or not.
SHAPES = [(48, 64), (64, 48), (50, 50), (37, 91), (1, 1), (7, 5), (20, 200), (225, 224), (28, 31)]


def noise(num_frames, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def resized(frames, short_side):
    """Every frame by OpenCV; sides in exact arithmetic, half a pixel rounded up."""
    height, width = frames.shape[1:3]
    scale = fractions.Fraction(short_side, min(height, width))
    size = tuple(math.floor(side * scale + fractions.Fraction(1, 2)) for side in (width, height))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])


def half_to_even(value):
    low = math.floor(value)
    if value - low == fractions.Fraction(1, 2):
        return low + low % 2
    return math.floor(value + fractions.Fraction(1, 2))


def segment_bounds(num_frames, segments):
    size = fractions.Fraction(num_frames - 1, segments)
    return [half_to_even(size * i) for i in range(segments + 1)]


# Which frames


@pytest.mark.parametrize("num_clips", [1, 2, 3])
@pytest.mark.parametrize("mode", ["validation", "test"])
def test_fixed_frames(mode, num_clips):
    for num_frames in [*range(1, 70), 100, 333, 5000]:
        bounds = segment_bounds(num_frames, 8)
        size = fractions.Fraction(num_frames - 1, 8)
        for clip in range(num_clips):
            offset = math.floor(size * (clip + 1) / (num_clips + 1))
            found = choose_frames(num_frames, CFG, mode, clip=clip, num_clips=num_clips)
            assert found.dtype == np.int64
            assert found.tolist() == [start + offset for start in bounds[:-1]]
            assert found.max() < num_frames


def test_fixed_frames_by_hand():
    # n = 33: segments of 4 frames, and the middle of each is 2 behind its start.
    assert choose_frames(33, CFG, "test").tolist() == [2, 6, 10, 14, 18, 22, 26, 30]
    # n = 5: starts 0, 0.5, 1, 1.5, … rounded half to even.
    assert choose_frames(5, CFG, "validation").tolist() == [0, 0, 1, 2, 2, 2, 3, 4]
    assert choose_frames(1, CFG, "test").tolist() == [0] * 8
    assert choose_frames(2, CFG, "test").tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 8, 9, 17, 22, 40, 64])
def test_random_frames_fill_their_segments(num_frames):
    bounds = segment_bounds(num_frames, 8)
    drawn = np.stack(
        [choose_frames(num_frames, CFG, "train", np.random.default_rng(s)) for s in range(600)]
    )
    assert drawn.dtype == np.int64
    assert (np.diff(drawn, axis=1) >= 0).all()
    for frames, first, last in zip(drawn.T, bounds[:-1], bounds[1:], strict=True):
        # Every frame of the segment, both ends included, and about equally often (5 deviations).
        values, counts = np.unique(frames, return_counts=True)
        assert values.tolist() == list(range(first, last + 1))
        share = 600 / len(values)
        assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()


@pytest.mark.parametrize("segments", [1, 3, 5, 7, 16])
def test_any_number_of_frames_stays_in_range(segments):
    cfg = dataclasses.replace(CFG, num_frames=segments)
    rng = np.random.default_rng(0)
    for num_frames in range(1, 90):
        for clip in range(4):
            fixed = choose_frames(num_frames, cfg, "test", clip=clip, num_clips=4)
            drawn = choose_frames(num_frames, cfg, "train", rng)
            for indices in (fixed, drawn):
                assert indices.shape == (segments,)
                assert 0 <= indices.min() <= indices.max() < num_frames
                assert (np.diff(indices) >= 0).all()


# Resize and crops


@pytest.mark.parametrize("shape", SHAPES)
def test_validation_is_the_center(shape):
    frames = noise(3, *shape)
    views, counts = make_views(frames, SMALL, "validation")
    expected = resized(frames, 32)
    top, left = (expected.shape[1] - 28) // 2, (expected.shape[2] - 28) // 2
    np.testing.assert_array_equal(views, expected[None, :, top : top + 28, left : left + 28])
    assert counts.tolist() == [1]
    assert views.dtype == np.uint8
    assert views.flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
def test_test_views_are_start_end_middle(shape):
    frames = noise(2, *shape)
    views, counts = make_views(frames, SMALL, "test")
    whole = resized(frames, 28)
    height, width = whole.shape[1:3]
    step = (max(height, width) - 28) // 2
    expected = [
        whole[:, :, o : o + 28] if width >= height else whole[:, o : o + 28]
        for o in (0, 2 * step, step)
    ]
    np.testing.assert_array_equal(np.repeat(views, counts, axis=0), expected)
    # Equal crops, and no others, are made once.
    assert counts.tolist() == ([3] if step == 0 else [1, 1, 1])


@pytest.mark.parametrize(("resolution", "short_side"), [(224, 256), (96, 110), (48, 55), (1, 1)])
def test_short_side_keeps_the_reference_proportion(resolution, short_side):
    cfg = dataclasses.replace(SMALL, resolution=resolution)
    frames = noise(1, 60, 80)
    expected = resized(frames, short_side)
    top = (short_side - resolution) // 2
    left = (expected.shape[2] - resolution) // 2
    views, _ = make_views(frames, cfg, "validation")
    expected = expected[:, top : top + resolution, left : left + resolution]
    np.testing.assert_array_equal(views[0], expected)


def test_frames_of_the_right_size_are_not_touched():
    frames = noise(2, 28, 28)
    views, counts = make_views(frames, SMALL, "test")
    np.testing.assert_array_equal(views[0], frames)
    assert counts.tolist() == [3]
    assert not np.shares_memory(views, frames)


def coordinates(height, width):
    """Two frames by which a crop shows its place: red encodes the column, green the row.

    They are ramps in the first frame, which places a crop roughly, and noise in the second, which
    places it exactly.
    """
    frames = np.zeros((2, height, width, 3), np.uint8)
    for frame, column, row in (
        (frames[0], np.arange(width), np.arange(height)),
        (frames[1], noise(1, width, 1)[0, :, 0, 0], noise(1, height, 1)[0, :, 0, 1]),
    ):
        frame[..., 0], frame[..., 1] = column, row[:, None]
    return frames


def span_of(line, source):
    """Which part of `source` was resized to `line`; both are (ramp, noise), (2, N)."""
    slope, start = np.polyfit(np.arange(line.shape[1]) + 0.5, line[0] + 0.5, 1)
    end = start + slope * line.shape[1]
    near = [(round(start) + i, round(end) + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]

    def error(span):
        # Not zero even for the right span: OpenCV rounds a lone line a little differently.
        guess = cv2.resize(source[1:, slice(*span)], (line.shape[1], 1))
        return np.abs(guess.astype(int) - line[1]).sum()

    return min((span for span in near if 0 <= span[0] < span[1] <= source.shape[1]), key=error)


@pytest.mark.parametrize("shape", [(128, 170), (170, 128), (128, 128)])
def test_random_crop_area_aspect_and_place(shape):
    cfg = dataclasses.replace(PLAIN, resolution=112)  # short side 128: no resize before the crop
    frames = coordinates(*shape)
    height, width = shape
    boxes = []
    for seed in range(400):
        views, counts = make_views(frames, cfg, "train", np.random.default_rng(seed))
        assert views.shape == (1, 2, 112, 112, 3)
        assert counts.tolist() == [1]
        left, right = span_of(views[0, :, 0, :, 0], frames[:, 0, :, 0])
        top, bottom = span_of(views[0, :, :, 0, 1], frames[:, :, 0, 1])
        boxes.append((left, right, top, bottom))
        # These very pixels, resized by OpenCV: which also proves the box.
        for view, frame in zip(views[0], frames, strict=True):
            crop = cv2.resize(frame[top:bottom, left:right], (112, 112))
            np.testing.assert_array_equal(view, crop)
    left, right, top, bottom = np.array(boxes).T
    assert left.min() == 0
    assert top.min() == 0
    assert right.max() == width
    assert bottom.max() == height
    areas = (right - left) * (bottom - top) / (height * width)
    aspects = (right - left) / (bottom - top)
    # Sides are whole pixels, 31 or more here: up to 2 % off in aspect and 3 % in area.
    assert 0.08 * 0.97 < areas.min() < 0.12
    assert 0.8 < areas.max() <= 1
    assert 3 / 4 * 0.98 < aspects.min() < 0.78
    assert 1.28 < aspects.max() < 4 / 3 * 1.02
    # Log-uniform around 1, and small boxes anywhere: rejected large ones bias neither on average.
    small = areas < 0.4
    assert abs(np.log(aspects[small]).mean()) < 0.05
    assert abs(((left + right) / 2 / width)[small].mean() - 0.5) < 0.05
    assert abs(((top + bottom) / 2 / height)[small].mean() - 0.5) < 0.05


def test_crop_that_never_fits_falls_back_to_the_centerd_square():
    cfg = dataclasses.replace(PLAIN, crop_area=(1.0, 1.0), resolution=28)
    for shape in [(32, 141), (141, 32)]:
        frames = noise(2, *shape)
        offset = (141 - 32) // 2
        square = frames[:, :, offset:][:, :, :32] if shape[0] == 32 else frames[:, offset:][:, :32]
        views, _ = make_views(frames, cfg, "train", np.random.default_rng(0))
        expected = [cv2.resize(frame, (28, 28)) for frame in square]
        np.testing.assert_array_equal(views[0], expected)


def test_training_works_on_any_size():
    for shape in SHAPES:
        for cfg in (SMALL, dataclasses.replace(SMALL, resolution=1)):
            for seed in range(30):
                views, _ = make_views(noise(1, *shape), cfg, "train", np.random.default_rng(seed))
                assert views.shape == (1, 1, cfg.resolution, cfg.resolution, 3)


# Random choices, once a clip


def test_flip_mirrors_the_whole_clip_about_half_the_time():
    frames = noise(3, 40, 50)
    flipping = dataclasses.replace(PLAIN, flip_probability=0.5)
    always = dataclasses.replace(PLAIN, flip_probability=1.0)
    flips = 0
    for seed in range(300):
        plain, mirrored, view = (
            make_views(frames, cfg, "train", np.random.default_rng(seed))[0]
            for cfg in (PLAIN, always, flipping)
        )
        np.testing.assert_array_equal(mirrored, plain[:, :, :, ::-1])
        assert np.array_equal(view, plain) != np.array_equal(view, mirrored)
        flips += np.array_equal(view, mirrored)
    assert abs(flips - 150) < 5 * math.sqrt(300) / 2


def test_every_frame_is_augmented_alike():
    frames = np.repeat(noise(1, 40, 50), 5, axis=0)
    for seed in range(60):
        views, _ = make_views(frames, SMALL, "train", np.random.default_rng(seed))
        np.testing.assert_array_equal(views[0], np.repeat(views[0, :1], 5, axis=0))


def test_randaugment_comes_between_resize_and_crop():
    frames = noise(2, 40, 50)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        augmented = rand_augment(resized(frames, 32), 4, 7, rng)
        # With the augmented clip in hand and the generator where it is, the rest is the same.
        expected, _ = make_views(
            augmented, dataclasses.replace(SMALL, randaugment_layers=0), "train", rng
        )
        found, _ = make_views(frames, SMALL, "train", np.random.default_rng(seed))
        np.testing.assert_array_equal(found, expected)


def test_same_seed_same_clip_and_other_seeds_others():
    frames = noise(40, 40, 50)
    clips = [
        preprocess(40, frames.__getitem__, SMALL, "train", np.random.default_rng(seed))[0]
        for seed in (0, 1, 2, 0)
    ]
    np.testing.assert_array_equal(clips[0], clips[3])
    assert not np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[1], clips[2])


@pytest.mark.parametrize("mode", MODES)
def test_input_stays_as_it_was(mode):
    for shape in [(28, 28), (32, 32), (40, 50)]:
        frames = noise(2, *shape)
        before = frames.copy()
        for seed in range(20):
            make_views(frames, SMALL, mode, np.random.default_rng(seed))
        np.testing.assert_array_equal(frames, before)


# The whole way


@pytest.fixture(params=[1, 2, 19])
def video(request, tmp_path):
    """A real mp4 file and its frames as PyAV decodes them."""
    path = tmp_path / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 90, 50, "yuv420p"
        for image in noise(request.param, 50, 90):
            image = cv2.GaussianBlur(image, (0, 0), 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == request.param
    return np.stack(frames)


@pytest.mark.parametrize("mode", MODES)
def test_preprocess_reads_once_and_makes_views_of_what_it_read(video, mode):
    calls = []

    def read(indices):
        calls.append(indices)
        return video[indices]

    views, counts = preprocess(len(video), read, CFG, mode, np.random.default_rng(5))
    assert len(calls) == 1
    rng = np.random.default_rng(5)
    indices = choose_frames(len(video), CFG, mode, rng)
    np.testing.assert_array_equal(calls[0], indices)
    expected, expected_counts = make_views(video[indices], CFG, mode, rng)
    np.testing.assert_array_equal(views, expected)
    np.testing.assert_array_equal(counts, expected_counts)
    assert views.shape == (3 if mode == "test" else 1, 8, 224, 224, 3)


# Several clips of a video


@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("num_clips", [1, 2, 4])
@pytest.mark.parametrize("num_frames", [1, 3, 41])
def test_views_are_all_crops_of_all_clips_and_the_video_is_read_once(num_frames, num_clips, crops):
    video, asked = noise(num_frames, 40, 64), []

    def read(indices):
        asked.append(indices)
        return video[indices]

    views, counts = preprocess(num_frames, read, SMALL, "test", views=Views(crops, num_clips))
    (indices,) = asked
    assert len(indices) == 4 * num_clips
    assert (np.diff(indices) >= 0).all()
    expected = []
    for clip in range(num_clips):
        chosen = choose_frames(num_frames, SMALL, "test", clip=clip, num_clips=num_clips)
        start, end, middle = make_views(video[chosen], SMALL, "test")[0]
        expected += [start, end, middle] if crops == 3 else [middle]
    np.testing.assert_array_equal(views, expected)
    assert counts.tolist() == [1] * (crops * num_clips)


def test_crops_of_a_square_video_are_one_view_a_clip():
    video = noise(20, 50, 50)
    for crops in (1, 3):
        views, counts = preprocess(
            20, lambda indices: video[indices], SMALL, "test", views=Views(crops, 2)
        )
        assert len(views) == 2
        assert counts.tolist() == [crops, crops]


def test_training_and_validation_have_one_view_whatever_a_test_has():
    video, views = noise(20, 40, 64), Views(3, 4)
    for mode in ("train", "validation"):
        both = [
            preprocess(20, video.__getitem__, SMALL, mode, np.random.default_rng(0), **more)[0]
            for more in ({}, {"views": views})
        ]
        np.testing.assert_array_equal(*both)
        assert len(both[0]) == 1


def test_views_are_read_and_told_as_crops_by_clips():
    assert Views.parse("3x1") == REFERENCE_VIEWS == Views(3, 1)
    assert str(Views.parse("3x1")) == "3 crops x 1 segment"
    assert str(Views.parse("1x10")) == "1 crop x 10 segments"


@pytest.mark.parametrize("text", ["", "3", "3x", "x1", "2x1", "3x0", "3x101", "0x1", "-1x1", "3X1"])
def test_other_views_are_refused(text):
    with pytest.raises(ValueError, match="views: expected"):
        Views.parse(text)


def test_normalize_on_numpy_and_jax():
    clips = noise(2, 6, 5)
    mean, std = [122.769, 116.74, 104.04], [68.493, 66.63, 70.321]
    expected = np.empty(clips.shape)
    for c in range(3):
        expected[..., c] = (clips[..., c].astype(np.float64) - mean[c]) / std[c]
    for found in (
        normalize(clips),
        normalize(clips.astype(np.float64)),
        normalize(jnp.asarray(clips)),
        jax.jit(normalize)(clips),
        jax.jit(normalize)(clips.astype(np.float32)),
    ):
        assert found.dtype == np.float32
        # 2 ulp of the largest value, 2.15: a subtraction and a division in float32.
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=5e-7)
    with jax.numpy_dtype_promotion("strict"):
        assert normalize(jnp.asarray(clips)).dtype == jnp.float32
    assert isinstance(normalize(clips), np.ndarray)


def test_opencv_starts_no_threads_of_its_own():
    assert cv2.getNumThreads() == 1


# Bad input


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"\(2, 8, 8, 3\), float32"),
        (np.zeros((8, 8, 3), np.uint8), r"\(8, 8, 3\), uint8"),
        (np.zeros((2, 8, 8, 1), np.uint8), r"\(2, 8, 8, 1\), uint8"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"\(0, 8, 8, 3\), uint8"),
        (np.zeros((2, 0, 8, 3), np.uint8), r"\(2, 0, 8, 3\), uint8"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_refuses_other_frames(frames, found, mode):
    with pytest.raises(ValueError, match=rf"expected frames \(T, H, W, 3\), uint8.*{found}"):
        make_views(frames, SMALL, mode, np.random.default_rng(0))


def test_refuses_an_unknown_mode():
    for call in (
        lambda: choose_frames(9, CFG, "eval"),
        lambda: make_views(noise(1, 9, 9), CFG, "eval"),
    ):
        with pytest.raises(ValueError, match="'eval': expected one of train, validation, test"):
            call()


@pytest.mark.parametrize("rng", [None, 7])
def test_training_refuses_to_go_without_a_generator(rng):
    for call in (
        lambda: choose_frames(9, CFG, "train", rng),
        lambda: make_views(noise(1, 9, 9), CFG, "train", rng),
    ):
        with pytest.raises(ValueError, match=rf"default_rng\(seed\), found {rng}"):
            call()


def test_refuses_an_empty_video_and_a_wrong_clip():
    with pytest.raises(ValueError, match="at least one frame, found 0"):
        choose_frames(0, CFG, "test")
    with pytest.raises(ValueError, match=r"clip in \[0, num_clips=2\), found 2"):
        choose_frames(9, CFG, "test", clip=2, num_clips=2)


def test_refuses_a_reader_that_gives_other_frames_than_asked_for():
    with pytest.raises(ValueError, match=r"expected 8 frames .* read 5"):
        preprocess(9, lambda indices: noise(5, 9, 9), CFG, "test")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_frames", 0),
        ("resolution", 0),
        ("randaugment_layers", 15),
        ("randaugment_magnitude", 11),
        ("crop_area", (0.0, 1.0)),
        ("crop_area", (0.9, 0.5)),
        ("flip_probability", 1.5),
    ],
)
def test_refuses_config_values_out_of_range(field, value):
    with pytest.raises(ValueError, match=rf"preprocess.{field}: expected .*, found "):
        PreprocessConfig(**{field: value})


def test_normalize_refuses_another_layout():
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\), RGB last, found \(3, 8, 8\)"):
        normalize(np.zeros((3, 8, 8), np.uint8))
