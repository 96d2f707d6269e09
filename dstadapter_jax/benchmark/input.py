"""Input pipeline throughput per core and size of both storages, `frames` and `original`.

Both storages are built from the same synthetic files with the builder for your own recordings. One
thread reads them in turn like a loader thread: record, decoding, preprocessing. Times are CPU
seconds of the process, so that other programs on the machine do not count.
"""

import contextlib
import functools
import io
import itertools
import logging
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from dstadapter_jax.benchmark.clips import KINDS, ClipKind, write_clip
from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.records import example_views
from tfds_builders import __main__ as tfds_builders
from tfds_builders.clip_examples import STORAGES, Clip, encode_clip
from tfds_builders.listing import SPLITS

MIN_SECONDS = 0.3  # per measurement, well above the resolution of the clock
COMPARED_CLIPS = 4  # training clips whose frame indices are compared

logger = logging.getLogger(__name__)


def benchmark_input(kinds: Sequence[str], repeats: int) -> dict[str, Any]:
    """Measure kinds of clips, keys of `KINDS`, `repeats` times each.

    Returns:
        By kind: `bytes` per clip of the file and of each storage's record; `build_seconds` per
        clip; `test` and `train`, clips per second with that preprocessing (median, `min` and
        `max`) and the `ratio` of `frames` to `original`; `same_frames`, whether both storages
        sample the same frames in training for the same seed; `pixel_difference` between the
        storages after test preprocessing, mean and maximum, in gray levels of 255.
    """
    results = {}
    for name in kinds:
        with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
            logger.info("%s: drawing, building and measuring clips of %s", name, KINDS[name])
            results[name] = _measure_kind(KINDS[name], pathlib.Path(folder), repeats)
    return results


def _measure_kind(kind: ClipKind, folder: pathlib.Path, repeats: int) -> dict[str, Any]:
    recordings = _draw_recordings(folder / "recordings", kind)
    datasets = {storage: _build(recordings, folder / "data", storage) for storage in STORAGES}
    file, cfg = recordings / "test.mp4", PreprocessConfig()
    clip = Clip("test", file, "sign")
    encoders = {storage: functools.partial(encode_clip, clip, storage) for storage in STORAGES}
    stored = {storage: _record_bytes(dataset) for storage, dataset in datasets.items()}
    build = _cpu_seconds(encoders, repeats)
    return {
        "clip": str(kind),
        "bytes": {"file": file.stat().st_size, **stored},
        "build_seconds": {
            storage: statistics.median(seconds) for storage, seconds in build.items()
        },
        "test": _speeds({s: _test_loader(d, cfg) for s, d in datasets.items()}, repeats),
        "train": _speeds({s: _train_loader(d, cfg) for s, d in datasets.items()}, repeats),
        "same_frames": _same_frames(datasets, cfg),
        "pixel_difference": _pixel_difference(datasets, cfg),
    }


def _draw_recordings(folder: pathlib.Path, kind: ClipKind) -> pathlib.Path:
    """Create a folder with one clip per split."""
    folder.mkdir()
    for seed, split in enumerate(SPLITS):
        write_clip(folder / f"{split}.mp4", kind, seed)
    rows = [f"{split}.mp4,sign,{split}" for split in SPLITS]
    (folder / "recordings.csv").write_text("\n".join(["path,label,split", *rows]))
    return folder


def _build(recordings: pathlib.Path, data_dir: pathlib.Path, storage: str) -> ClipDataset:
    name = f"recordings/{storage}"
    arguments = [name, "--manual_dir", str(recordings), "--data_dir", str(data_dir)]
    with contextlib.redirect_stdout(io.StringIO()):  # stdout is for the results
        tfds_builders.main(arguments)
    return open_dataset(name, str(data_dir))


def _record_bytes(dataset: ClipDataset) -> int:
    return len(dataset.builder.as_data_source(split="test").data_source[0])  # the encoded record


def _test_loader(dataset: ClipDataset, cfg: PreprocessConfig) -> Callable[[], Any]:
    source = dataset.source("test")
    return lambda: example_views(source[0], cfg, "pyav", "test", None)


def _train_clips(dataset: ClipDataset, cfg: PreprocessConfig) -> grain.MapDataset:
    # Each of many epochs samples and augments the single clip differently.
    return train_clips(dataset, cfg, batch_size=1, num_epochs=10**6, seed=0, decoder="pyav")


def _train_loader(dataset: ClipDataset, cfg: PreprocessConfig) -> Callable[[], Any]:
    clips, indices = _train_clips(dataset, cfg), itertools.count()
    return lambda: clips[next(indices)]


def _speeds(loaders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    speeds: dict[str, Any] = {}
    for storage, seconds in _cpu_seconds(loaders, repeats).items():
        values = [1 / value for value in seconds]
        median = statistics.median(values)
        speeds[storage] = {"clips_per_second": median, "min": min(values), "max": max(values)}
    frames, original = (speeds[name]["clips_per_second"] for name in ("frames", "original"))
    return speeds | {"ratio": frames / original}


def _cpu_seconds(
    functions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """CPU seconds per call of functions that are called in turn, after one warm-up call each."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].append(_seconds_per_call(function))
    return seconds


def _seconds_per_call(function: Callable[[], Any]) -> float:
    calls, started, passed = 0, time.process_time(), 0.0
    while passed < MIN_SECONDS:
        function()
        calls, passed = calls + 1, time.process_time() - started
    return passed / calls


def _same_frames(datasets: Mapping[str, ClipDataset], cfg: PreprocessConfig) -> bool:
    first, second = (_train_clips(dataset, cfg) for dataset in datasets.values())
    clips = range(COMPARED_CLIPS)
    return all(np.array_equal(first[i]["indices"], second[i]["indices"]) for i in clips)


def _pixel_difference(
    datasets: Mapping[str, ClipDataset], cfg: PreprocessConfig
) -> dict[str, float]:
    first, second = (_test_loader(dataset, cfg)()[0] for dataset in datasets.values())
    difference = np.abs(first.astype(int) - second)
    return {"mean": float(difference.mean()), "max": int(difference.max())}
