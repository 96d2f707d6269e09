"""Batches from a built dataset: the same whatever the threads, the storage and the moment."""

import itertools
import threading
import time

import numpy as np
import pytest

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_batches, train_clips, view_batches
from dstadapter_jax.data.preprocess import PreprocessConfig, preprocess
from dstadapter_jax.data.video.reader import probe, read_frames

CFG = PreprocessConfig(num_frames=4, resolution=32)
# Without augmentation, so that pixels can be compared.
PLAIN = PreprocessConfig(
    num_frames=4, resolution=32, randaugment_layers=0, crop_area=(1.0, 1.0), flip_probability=0.0
)


@pytest.fixture(scope="module")
def dataset(data_dir):
    return open_dataset("recordings/frames", str(data_dir))


def batches_of(dataset, *, num_threads=2, num_epochs=3, seed=0, batch_size=4, cfg=CFG):
    clips = train_clips(
        dataset, cfg, batch_size=batch_size, num_epochs=num_epochs, seed=seed, decoder="pyav"
    )
    return train_batches(clips, batch_size=batch_size, num_threads=num_threads)


def same(a: list[dict], b: list[dict]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x
    )


def test_open_dataset_has_names_and_counts(dataset):
    assert dataset.label_names == ("sign 0", "sign 1", "sign 2")
    assert dataset.num_clips == {"train": 27, "validation": 9, "test": 9}


def test_train_batches_have_shapes_and_length(dataset):
    batches = list(batches_of(dataset))
    assert len(batches) == 3 * (27 // 4)
    assert batches[0]["clip"].shape == (4, 4, 32, 32, 3)
    assert batches[0]["clip"].dtype == np.uint8
    assert batches[0]["label"].dtype == np.int32


def test_train_batches_depend_on_the_seed_and_not_on_threads(dataset):
    one, many, other = (
        list(batches_of(dataset, num_threads=n, seed=s)) for n, s in ((1, 0), (5, 0), (1, 1))
    )
    assert same(one, many)
    assert not same(one, other)


def test_train_batches_with_saved_state_resume_exactly(dataset):
    unbroken = batches_of(dataset)
    list(itertools.islice(unbroken, 7))
    position = unbroken.get_state()
    resumed = batches_of(dataset, num_threads=1)
    resumed.set_state(position)
    assert same(list(unbroken), list(resumed))


def clips_of(dataset, **changes):
    options = {"batch_size": 4, "num_epochs": 3, "seed": 0, "decoder": "pyav"}
    return train_clips(dataset, CFG, **options | changes)


def test_train_clips_of_an_epoch_are_all_clips_in_another_order(dataset):
    names = [clip["id"] for clip in clips_of(dataset, batch_size=1, num_epochs=2)]
    first, second = names[:27], names[27:]
    assert sorted(first) == sorted(second)
    assert sorted(first) == sorted(e["id"].decode() for e in dataset.source("train"))
    assert first != second


def test_train_batches_hold_the_clips_of_train_clips(dataset):
    clips = list(clips_of(dataset))
    examples = {e["id"].decode(): e for e in dataset.source("train")}
    for batch, start in zip(batches_of(dataset), range(0, len(clips), 4), strict=True):
        assert set(batch) == {"clip", "label"}
        own = clips[start : start + 4]
        np.testing.assert_array_equal(batch["clip"], [clip["clip"] for clip in own])
        for label, clip in zip(batch["label"], own, strict=True):
            example = examples[clip["id"]]
            assert label == clip["label"] == example["label"]
            assert clip["signer"] == example["signer"].decode()


def test_train_clips_of_both_storages_sample_the_same_frames(dataset, data_dir):
    original = open_dataset("recordings/original", str(data_dir))
    clips, others = clips_of(dataset), clips_of(original)
    assert len({tuple(clip["indices"]) for clip in clips}) > 10
    for clip, other in zip(clips, others, strict=True):
        assert clip["id"] == other["id"]
        np.testing.assert_array_equal(clip["indices"], other["indices"])


def test_view_batches_equal_preprocess_of_the_file(dataset, recordings, data_dir):
    original = open_dataset("recordings/original", str(data_dir))
    rows = list(
        view_batches(
            original, "test", CFG, batch_size=4, mode="test", decoder="pyav", num_threads=2
        )
    )
    examples = list(original.source("test"))
    for index, example in enumerate(examples):
        path = recordings / example["id"].decode()
        expected, counts = preprocess(
            probe(path).num_frames, lambda i, path=path: read_frames(path, i.tolist()), CFG, "test"
        )
        own = [(b, r) for b in rows for r in range(4) if b["count"][r] and b["index"][r] == index]
        assert len(own) == len(expected) == 3  # landscape: three crops
        for (batch, row), view, count in zip(own, expected, counts, strict=True):
            np.testing.assert_array_equal(batch["clip"][row], view)
            assert batch["count"][row] == count
            assert batch["label"][row] == example["label"]


def test_the_last_batch_is_filled_up_with_rows_that_do_not_count(dataset):
    rows = list(
        view_batches(dataset, "test", CFG, batch_size=4, mode="test", decoder="pyav", num_threads=2)
    )
    assert [len(b["clip"]) for b in rows] == [4] * 7  # 9 clips x 3 views = 27 rows + 1
    assert sum(int(b["count"].sum()) for b in rows) == 27
    assert rows[-1]["count"].tolist() == [1, 1, 1, 0]


def test_storages_give_nearly_the_same_pixels(dataset, data_dir):
    original = open_dataset("recordings/original", str(data_dir))
    a, b = (next(batches_of(d, cfg=PLAIN, batch_size=16))["clip"] for d in (dataset, original))
    # The same frames and crops; JPEG of quality 95 is all that differs.
    difference = np.abs(a.astype(int) - b.astype(int))
    assert 0 < difference.mean() < 2.5


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("recordings/frames", "", "no built dataset in /nowhere/.*SRC`"),
        ("recordings/other", None, "no built dataset in .*recordings/other --.* --data_dir /"),
    ],
)
def test_a_dataset_that_is_not_there(data_dir, name, folder, message, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    with pytest.raises(ValueError, match=message):
        open_dataset(name, str(data_dir) if folder is None else folder)


def test_too_few_clips_for_a_batch(dataset):
    with pytest.raises(ValueError, match=r"at least 28 clips.*found 27.*config.batch_size"):
        batches_of(dataset, batch_size=28)


def test_iterators_left_early_leave_no_thread_behind(dataset):
    before = threading.active_count()
    views = view_batches(
        dataset, "train", CFG, batch_size=2, mode="test", decoder="pyav", num_threads=2
    )
    next(views)
    training = batches_of(dataset)
    next(training)
    assert threading.active_count() > before
    views.close()
    training.close()
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_train_batches_of_several_hosts_share_a_batch_and_resume_on_others(dataset):
    def part(rows):
        clips = clips_of(dataset, batch_size=6, num_epochs=2)
        return train_batches(clips, batch_size=6, num_threads=2, rows=rows)

    whole, *parts = part(None), part([0, 1, 4]), part([2, 3, 5])
    for step, batch in enumerate(itertools.islice(whole, 6)):
        for rows, share in zip(([0, 1, 4], [2, 3, 5]), map(next, parts), strict=True):
            assert same([{key: batch[key][rows] for key in batch}], [share]), step
    position = parts[0].get_state()
    assert position == whole.get_state()
    other = part([3])
    other.set_state(position)
    rest = list(whole)
    assert same([{key: batch[key][[3]] for key in batch} for batch in rest], list(other))
    assert len(rest) == 2
