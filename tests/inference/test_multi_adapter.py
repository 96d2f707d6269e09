"""One backbone, many languages: the same bits as each alone, nothing compiled, no memory shared."""

import gc
import pathlib
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from dstadapter_jax.adapters.file import AdapterError
from dstadapter_jax.inference.multi_adapter import MultiAdapterRecognizer
from dstadapter_jax.inference.ranking import predict
from dstadapter_jax.inference.recognizer import Recognizer
from tests.helpers.adapters import SIZES, write_drawn, write_tower

CLASSES = {"ase": 3, "gsg": 7, "fsl": 33}
RNG = np.random.default_rng(0)
CLIPS = RNG.integers(0, 256, (12, 4, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> pathlib.Path:
    return write_tower(tmp_path_factory.mktemp("tower") / "tower.safetensors", SIZES)


@pytest.fixture(scope="module")
def files(tower) -> dict[str, pathlib.Path]:
    return {
        name: write_drawn(tower.with_name(f"{name}.safetensors"), tower, classes, seed)
        for seed, (name, classes) in enumerate(CLASSES.items())
    }


@pytest.fixture(scope="module")
def plain(tower, files) -> dict[str, Recognizer]:
    return {name: Recognizer.load_adapter(file, str(tower)) for name, file in files.items()}


def compilations(function) -> int:
    """How many programs JAX compiles, or takes from its cache of compiled ones, meanwhile."""
    seen = []

    def note(event: str, *_: object, **__: object) -> None:
        seen.extend([event] if event.endswith("backend_compile_duration") else [])

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        function()
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    return len(seen)


@pytest.mark.exact
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_hundred_requests_in_turn_are_as_of_three_predictors_and_compile_nothing(
    tower, files, batch_size
):
    together = MultiAdapterRecognizer(files, str(tower), batch_size)
    # Features once, and a head of each number of classes.
    assert compilations(together.warm_up) == 1 + len(files)
    alone = {
        name: MultiAdapterRecognizer({name: file}, str(tower), batch_size)
        for name, file in files.items()
    }
    rng = np.random.default_rng(1)
    requests = []
    for _ in range(100):
        rows = rng.integers(len(CLIPS), size=rng.integers(1, 7))
        requests.append((rows, rng.choice(list(files), size=len(rows)).tolist()))
    answers = []

    def ask() -> None:
        answers.extend(together.probabilities(CLIPS[rows], names) for rows, names in requests)

    assert compilations(ask) == 0
    expected = {
        name: predictor.probabilities(CLIPS, [name] * len(CLIPS))
        for name, predictor in alone.items()
    }
    for (rows, names), answer in zip(requests, answers, strict=True):
        for row, name, found in zip(rows, names, answer, strict=True):
            assert found.shape == (CLASSES[name],)
            np.testing.assert_array_equal(found, expected[name][row], strict=True)


@pytest.mark.exact
def test_a_clip_at_a_time_it_gives_the_bits_of_a_recognizer(tower, files, plain):
    predictor = MultiAdapterRecognizer(files, str(tower))
    for name, recognizer in plain.items():
        for clip in CLIPS[:4, None]:
            (found,) = predictor.probabilities(clip, [name])
            np.testing.assert_array_equal(found, recognizer.probabilities(clip)[0], strict=True)


def test_more_clips_at_a_time_are_a_recognizers_but_for_rounding(tower, files, plain):
    predictor = MultiAdapterRecognizer(files, str(tower), batch_size=4)
    names = [*files, "ase"]
    found = predictor.probabilities(CLIPS[:4], names)
    for row, name in enumerate(names):
        (expected,) = plain[name].probabilities(CLIPS[row : row + 1])
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-6)


def live_bytes() -> int:
    gc.collect()
    return sum(array.nbytes for array in jax.live_arrays())


def test_a_further_language_takes_the_memory_of_its_own_weights(tower, files):
    sizes = {name: file.stat().st_size for name, file in files.items()}
    held, before = list[MultiAdapterRecognizer](), live_bytes()
    used = []
    for count in range(1, 4):
        some = dict(list(files.items())[:count])
        held = [MultiAdapterRecognizer(some, str(tower))]
        held[0].warm_up()
        used.append(live_bytes() - before)
    # The tower once, and the adapters; a hundredth for the little that the programs hold.
    assert used[0] < 1.01 * (tower.stat().st_size + sizes["ase"])
    for name, more in zip(list(files)[1:], np.diff(used), strict=True):
        weights = sum(4 * np.prod(shape) for shape in held[0].adapters[name].shapes.values())
        assert more == weights
        assert more < sizes[name]  # the file has its names and labels besides


def test_a_head_alone_goes_beside_adapters_and_shares_what_it_leaves_untouched(tower, files):
    heads = {
        name: write_drawn(tower.with_name(f"{name}.safetensors"), tower, 5, seed, tune="head")
        for seed, name in enumerate(("head1", "head2"), start=7)
    }
    before = live_bytes()
    predictor = MultiAdapterRecognizer(files | {"head1": heads["head1"]}, str(tower))
    one = live_bytes() - before
    del predictor
    predictor = MultiAdapterRecognizer(files | heads, str(tower))
    assert live_bytes() - before - one == 4 * (5 * SIZES["width"] + 5)
    expected = Recognizer.load_adapter(heads["head2"], str(tower)).probabilities(CLIPS[:1])
    found = predictor.probabilities(CLIPS[:1], ["head2"])
    np.testing.assert_array_equal(found, expected, strict=True)


def test_each_language_is_a_recognizer_too(tower, files, plain, recordings):
    video = str(recordings / "s0_l0_t0.mp4")
    recognizer = MultiAdapterRecognizer(files, str(tower)).recognizers["gsg"]
    assert recognizer.label_names == plain["gsg"].label_names
    assert recognizer.preprocess == plain["gsg"].preprocess
    pairs = zip(predict(recognizer, video), predict(plain["gsg"], video), strict=True)
    for found, expected in pairs:
        assert found["label"] == expected["label"]
        # Its three views were one batch there.
        assert found["probability"] == pytest.approx(expected["probability"], abs=1e-6)


def test_requests_may_come_from_many_threads(tower, files):
    predictor = MultiAdapterRecognizer(files, str(tower))
    names = [list(files)[i % 3] for i in range(60)]
    expected = predictor.probabilities(CLIPS[np.arange(60) % 12], names)
    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(
            lambda i: predictor.probabilities(CLIPS[i % 12][None], [names[i]])[0], range(60)
        )
        for found, one in zip(asked, expected, strict=True):
            np.testing.assert_array_equal(found, one)


def test_only_adapters_of_the_very_same_backbone_and_sizes(tower, files, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"another file")
    foreign = write_drawn(tmp_path / "foreign.safetensors", other, 3, 0)
    with pytest.raises(AdapterError, match=r"foreign: backbone: expected SHA-256"):
        MultiAdapterRecognizer({"ase": files["ase"], "foreign": foreign}, str(tower))
    for size, changes in (("num_frames", {"num_frames": 2}), ("dtype", {"dtype": "bfloat16"})):
        file = write_drawn(tmp_path / "size.safetensors", tower, 3, 0, **changes)
        with pytest.raises(AdapterError, match=rf"b: model\.{size}: expected .*, as in ase, found"):
            MultiAdapterRecognizer({"ase": files["ase"], "b": file}, str(tower))


def test_requests_that_cannot_be_answered(tower, files):
    predictor = MultiAdapterRecognizer(files, str(tower))
    with pytest.raises(ValueError, match="expected one of ase, gsg, fsl, found 'bfi'"):
        predictor.probabilities(CLIPS[:1], ["bfi"])
    with pytest.raises(ValueError, match="one for each of 2 names"):
        predictor.probabilities(CLIPS[:1], ["ase", "ase"])
    with pytest.raises(ValueError, match="expected uint8 clips"):
        predictor.probabilities(CLIPS[:1].astype(np.float32), ["ase"])
    with pytest.raises(ValueError, match=r"expected shape \(batch, frames"):
        predictor.probabilities(CLIPS[:1, :2], ["ase"])
    assert predictor.probabilities(CLIPS[:0], []) == []
    for some, batch_size in (({}, 1), (files, 0)):
        with pytest.raises(ValueError, match="at least one adapter file and a batch_size of at l"):
            MultiAdapterRecognizer(some, str(tower), batch_size)
