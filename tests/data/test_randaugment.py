"""RandAugment against torchvision's figures and a plain NumPy computation, and how it draws."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dstadapter_jax.data.randaugment import OPERATIONS, draw_operations, rand_augment

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "randaugment.npz"))
FRAMES = GOLDEN["input/frames_thwc"]
# PyTorchVideo's `_TRANSFORM_RANDAUG_MAX_PARAMS`: value at level 0, largest change, of either sign.
RANGES = {
    **dict.fromkeys(
        ("AdjustBrightness", "AdjustContrast", "AdjustSaturation", "AdjustSharpness"), (1, 0.9)
    ),
    "Rotate": (0, 30),
    **dict.fromkeys(("ShearX", "ShearY"), (0, 0.3)),
    **dict.fromkeys(("TranslateX", "TranslateY"), (0, 0.45)),
}
GEOMETRIC = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}


def frames_like_video(shape, seed=0):
    """Smooth structure, hard edges and noise, with black and white in it; frames differ."""
    rng = np.random.default_rng(seed)
    num_frames, height, width = shape
    y, x, t = np.mgrid[:height, :width, :num_frames]
    waves = [np.sin(x / (9 + c) + t) * np.cos(y / (13 - c) - t) for c in range(3)]
    frames = 128 + 150 * np.stack(waves, axis=-1).transpose(2, 0, 1, 3)
    frames[:, height // 4 : height // 2, width // 3 : width // 2] = (250, 10, 100)
    return np.clip(frames + rng.normal(0, 8, frames.shape), 0, 255).astype(np.uint8)


def sample_affine(frames, matrix):
    """torchvision's `affine` and PyTorch's `grid_sample`, written out in float64."""
    _, height, width, _ = frames.shape
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    a, b, c, d, e, f = matrix
    source_x = a * x + b * y + c + (width - 1) / 2
    source_y = d * x + e * y + f + (height - 1) / 2
    left, top = np.floor(source_x).astype(int), np.floor(source_y).astype(int)
    image, mask = np.zeros(frames.shape), np.zeros((height, width, 1))
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - abs(source_x - column)) * (1 - abs(source_y - row))
            weight *= (column >= 0) & (column < width) & (row >= 0) & (row < height)
            pixels = frames[:, row.clip(0, height - 1), column.clip(0, width - 1)]
            image += weight[..., None] * pixels
            mask += weight[..., None]
    return np.rint(image * mask + 0.5 * (1 - mask)).astype(np.uint8)


def matrix_of(name, value, height, width):
    """The six numbers which PyTorchVideo hands to torchvision (its `rotate` makes its own)."""
    cos, sin = np.cos(np.deg2rad(value)), np.sin(np.deg2rad(value))
    return {
        "Rotate": (cos, -sin, 0, sin, cos, 0),
        "ShearX": (1, value, height * value / 2, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, width * value / 2),
        "TranslateX": (1, 0, value * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value * height),
    }[name]


def equalized(channel):
    """`torchvision.transforms.functional.equalize` of one channel of one frame."""
    histogram = np.bincount(channel.ravel(), minlength=256)
    step = histogram[histogram != 0][:-1].sum() // 255
    if step == 0:
        return channel
    table = np.concatenate([[0], ((np.cumsum(histogram) + step // 2) // step)[:-1]])
    return np.clip(table, 0, 255).astype(np.uint8)[channel]


def difference(found, expected):
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    return np.abs(found.astype(int) - expected.astype(int))


def test_golden_figures_cover_every_operation():
    assert {key.split("/")[1] for key in GOLDEN if key.startswith("output/")} == set(OPERATIONS)
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize("key", [key for key in GOLDEN if key.startswith("output/")])
def test_operation_equals_torchvision(key):
    _, name, *value = key.split("/")
    before = FRAMES.copy()
    off = difference(OPERATIONS[name](FRAMES, float(value[0]) if value else 0.0), GOLDEN[key])
    if name in GEOMETRIC:
        # One level, at the frame's seam: the share inside is multiplied in after rounding.
        assert off.max() <= 1
        assert (off > 0).mean() < 0.01
    else:
        assert off.max() == 0
    np.testing.assert_array_equal(FRAMES, before, "the input clip must stay as it was")


@pytest.mark.parametrize("name", sorted(GEOMETRIC))
@pytest.mark.parametrize("sign", [-1, 1])
def test_geometric_operation_at_real_size(name, sign):
    # A fixed-point warp, exact to 1/32 pixel only, would pass on small smooth frames; not here.
    frames = frames_like_video((1, 256, 341))
    value = sign * 0.7313 * RANGES[name][1]
    expected = sample_affine(frames, matrix_of(name, value, 256, 341))
    off = difference(OPERATIONS[name](frames, value), expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 2e-3  # the seam, and ties between two levels


@pytest.mark.parametrize("factor", [0.37, 1.63])
def test_sharpness_at_real_size(factor):
    frames = frames_like_video((2, 255, 341))
    wide = frames.astype(int)
    total = 4 * wide[:, 1:-1, 1:-1]
    for dy in range(3):
        for dx in range(3):
            total = total + wide[:, dy : dy + 253, dx : dx + 339]
    blurred = frames.copy()
    blurred[:, 1:-1, 1:-1] = np.rint(total / 13)
    mixed = np.float32(factor) * frames + np.float32(1 - factor) * blurred
    expected = np.clip(mixed, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(OPERATIONS["AdjustSharpness"](frames, factor), expected)


def test_equalize_at_real_size():
    frames = frames_like_video((2, 255, 341))
    expected = np.stack([equalized(frames[..., c][t]) for t in range(2) for c in range(3)])
    expected = expected.reshape(2, 3, 255, 341).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(OPERATIONS["Equalize"](frames, 0.0), expected)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize"])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_uniform_frame_stays_as_it_is(name, level):
    frames = np.full((2, 12, 9, 3), level, np.uint8)
    np.testing.assert_array_equal(OPERATIONS[name](frames, 0.0), frames)


def test_extreme_values():
    frames = frames_like_video((1, 30, 40))
    assert not OPERATIONS["Posterize"](frames, 0).any()  # level 10 keeps no bit
    np.testing.assert_array_equal(OPERATIONS["Posterize"](frames, 4), frames // 16 * 16)
    np.testing.assert_array_equal(OPERATIONS["Solarize"](frames, 0.0), 255 - frames)
    inverted_white = np.where(frames == 255, 0, frames)
    np.testing.assert_array_equal(OPERATIONS["Solarize"](frames, 1.0), inverted_white)
    for name in GEOMETRIC:
        np.testing.assert_array_equal(OPERATIONS[name](frames, 0.0), frames)
    for name in ("AdjustBrightness", "AdjustContrast"):
        np.testing.assert_array_equal(OPERATIONS[name](frames, 1.0), frames)


@pytest.mark.parametrize("name", OPERATIONS)
def test_frames_are_treated_alike_and_apart(name):
    # Each frame's result depends on that frame and the value alone, wherever it stands.
    frames = frames_like_video((3, 31, 45))
    value = {"Posterize": 2.0, "Solarize": 0.4}.get(name, 0.21)
    together = OPERATIONS[name](frames[[0, 1, 2, 0]], value)
    alone = [OPERATIONS[name](frames[t : t + 1], value)[0] for t in (0, 1, 2, 0)]
    np.testing.assert_array_equal(together, alone)


def test_draws_distinct_operations_each_half_the_time():
    plans = [draw_operations(4, 7, np.random.default_rng(seed)) for seed in range(4000)]
    counts = Counter(name for plan in plans for name, _ in plan)
    for plan in plans:
        assert len({name for name, _ in plan}) == len(plan) <= 4
    assert counts.keys() == OPERATIONS.keys()
    # 5 standard deviations of the binomial draws: 4 of 14, then a half.
    expected = 4000 * 4 / 14 / 2
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in counts.values())
    lengths = Counter(len(plan) for plan in plans)
    for length, share in enumerate([1, 4, 6, 4, 1]):
        assert abs(lengths[length] - 4000 * share / 16) < 5 * np.sqrt(4000 * share / 16)


def test_order_of_operations_is_drawn_too():
    firsts = Counter(draw_operations(14, 7, np.random.default_rng(s))[0][0] for s in range(400))
    assert firsts.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("magnitude", [0, 7, 10])
def test_values_follow_the_level(magnitude):
    values: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    for seed in range(1500):
        for name, value in draw_operations(14, magnitude, np.random.default_rng(seed)):
            values[name].append(value)
    # Solarize's value gives the level away: 1 - level / 10.
    levels = {"Solarize": 10 * (1 - np.array(values["Solarize"]))}
    for name, (base, span) in RANGES.items():
        signed = (np.array(values[name]) - base) / span * 10
        if magnitude:
            assert 0.4 < (signed > 0).mean() < 0.6
        levels[name] = np.abs(signed)
    clipped_normal = np.clip(np.random.default_rng(0).normal(magnitude, 0.5, 100_000), 0, 10)
    for found in levels.values():
        assert found.min() >= 0
        assert found.max() <= 10 + 1e-12
        assert abs(found.mean() - clipped_normal.mean()) < 0.1
        assert abs(found.std() - clipped_normal.std()) < 0.08
    assert set(values["Posterize"]) == {0: {4}, 7: {1, 2}, 10: {0, 1}}[magnitude]


def test_rand_augment_is_the_drawn_operations_in_order():
    frames = frames_like_video((2, 33, 47))
    for seed in range(20):
        expected = frames
        for name, value in draw_operations(4, 7, np.random.default_rng(seed)):
            expected = OPERATIONS[name](expected, value)
        found = rand_augment(frames, 4, 7, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, expected)


def test_one_generator_goes_on_from_clip_to_clip():
    rng = np.random.default_rng(3)
    plans = [draw_operations(4, 7, rng) for _ in range(8)]
    again = np.random.default_rng(3)
    assert plans == [draw_operations(4, 7, again) for _ in range(8)]
    assert len({str(plan) for plan in plans}) > 1


@pytest.mark.parametrize("num_layers", [-1, 15])
def test_refuses_more_operations_than_there_are(num_layers):
    with pytest.raises(ValueError, match=rf"0 to 14 layers, found {num_layers}"):
        draw_operations(num_layers, 7, np.random.default_rng(0))
