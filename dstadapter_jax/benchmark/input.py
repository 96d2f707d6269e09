"""What a core feeds the network with, from either storage, and what the storages cost.

Both are built of the same drawn files, by the builder for own recordings, and read in turn by one
thread, as a loader's thread reads: record, decoding and preprocessing. Times are the process's CPU
seconds, so that a busy machine's other programs don't count.
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
from dstadapter_jax.data.loader import example_views, train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig
from tfds_builders import __main__ as tfds_builders
from tfds_builders.clip_examples import STORAGES, Clip, encode_clip
from tfds_builders.listing import SPLITS

LEAST_SECONDS = 0.3  # of a measurement: a clip alone may be within the clock's noise
DRAWS = 4  # training clips whose frames are compared

logger = logging.getLogger(__name__)


def benchmark_input(kinds: Sequence[str], repeats: int) -> dict[str, Any]:
    """Measures kinds of clips, names in `KINDS`, `repeats` times each.

    Returns:
        By kind: `bytes` a clip of the file and of each storage's records; `build_seconds` a clip;
        `test` and `train`, clips a second with that preprocessing, median and extremes, and how
        many times `original` `frames` is; whether both take the `same_frames` in training for the
        same seed; `pixel_difference` between the storages after test preprocessing, mean and
        largest, in gray levels of 255.
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
        "build_seconds": {storage: statistics.median(of) for storage, of in build.items()},
        "test": _speeds({s: _test_loader(d, cfg) for s, d in datasets.items()}, repeats),
        "train": _speeds({s: _train_loader(d, cfg) for s, d in datasets.items()}, repeats),
        "same_frames": _same_frames(datasets, cfg),
        "pixel_difference": _pixel_difference(datasets, cfg),
    }


def _draw_recordings(folder: pathlib.Path, kind: ClipKind) -> pathlib.Path:
    """A folder of one clip a split."""
    folder.mkdir()
    for seed, split in enumerate(SPLITS):
        write_clip(folder / f"{split}.mp4", kind, seed)
    rows = [f"{split}.mp4,sign,{split}" for split in SPLITS]
    (folder / "recordings.csv").write_text("\n".join(["path,label,split", *rows]))
    return folder


def _build(recordings: pathlib.Path, data_dir: pathlib.Path, storage: str) -> ClipDataset:
    name = f"recordings/{storage}"
    arguments = [name, "--manual_dir", str(recordings), "--data_dir", str(data_dir)]
    with contextlib.redirect_stdout(io.StringIO()):  # stdout is for the figures
        tfds_builders.main(arguments)
    return open_dataset(name, str(data_dir))


def _record_bytes(dataset: ClipDataset) -> int:
    return len(dataset.builder.as_data_source(split="test").data_source[0])  # as it lies there


def _test_loader(dataset: ClipDataset, cfg: PreprocessConfig) -> Callable[[], Any]:
    source = dataset.source("test")
    return lambda: example_views(source[0], cfg, "pyav", "test", None)


def _train_clips(dataset: ClipDataset, cfg: PreprocessConfig) -> grain.MapDataset:
    # Epochs without end: each takes and augments the one clip in its own way.
    return train_clips(dataset, cfg, batch_size=1, num_epochs=10**6, seed=0, decoder="pyav")


def _train_loader(dataset: ClipDataset, cfg: PreprocessConfig) -> Callable[[], Any]:
    clips, places = _train_clips(dataset, cfg), itertools.count()
    return lambda: clips[next(places)]


def _speeds(loaders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    speeds = {
        storage: [1 / one for one in seconds]
        for storage, seconds in _cpu_seconds(loaders, repeats).items()
    }
    medians = {storage: statistics.median(of) for storage, of in speeds.items()}
    return {
        **{
            storage: {"clips_per_second": medians[storage], "least": min(of), "most": max(of)}
            for storage, of in speeds.items()
        },
        "ratio": medians["frames"] / medians["original"],
    }


def _cpu_seconds(
    functions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """CPU seconds that a call takes, of functions called in turn, each once before for nothing."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].append(_seconds_a_call(function))
    return seconds


def _seconds_a_call(function: Callable[[], Any]) -> float:
    calls, started, passed = 0, time.process_time(), 0.0
    while passed < LEAST_SECONDS:
        function()
        calls, passed = calls + 1, time.process_time() - started
    return passed / calls


def _same_frames(datasets: Mapping[str, ClipDataset], cfg: PreprocessConfig) -> bool:
    first, second = (_train_clips(dataset, cfg) for dataset in datasets.values())
    return all(np.array_equal(first[i]["indices"], second[i]["indices"]) for i in range(DRAWS))


def _pixel_difference(
    datasets: Mapping[str, ClipDataset], cfg: PreprocessConfig
) -> dict[str, float]:
    first, second = (_test_loader(dataset, cfg)()[0] for dataset in datasets.values())
    difference = np.abs(first.astype(int) - second)
    return {"mean": float(difference.mean()), "max": int(difference.max())}
