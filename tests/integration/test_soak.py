"""Reading thousands of clips keeps memory flat and leaks no file or thread."""

import gc
import itertools
import os
import time
from pathlib import Path

import pytest

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_batches, train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.linux,
]
# A view is 300 kB, decoded frames 74 kB, a record about 15 kB.
CFG = PreprocessConfig(resolution=112)
BATCH, EPOCH = 9, 27  # clips


def status(field: str) -> int:
    """A number in /proc/self/status: `VmRSS` in kB, `Threads` of the whole process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def read(dataset: ClipDataset, num_clips: int, every: int) -> list[int]:
    """Read clips as training does; returns the resident memory in kB after each `every` clips."""
    num_epochs = -(-num_clips // EPOCH)
    clips = train_clips(
        dataset, CFG, batch_size=BATCH, num_epochs=num_epochs, seed=0, decoder="pyav"
    )
    batches = train_batches(clips, batch_size=BATCH, num_threads=4)
    memory = [
        status("VmRSS") for _ in itertools.islice(batches, every // BATCH, None, every // BATCH)
    ]
    batches.close()
    return memory


def settled(count, expected: int) -> int:
    """The count once it is at most `expected`, or after ten seconds, since threads end late."""
    until = time.monotonic() + 10
    while count() > expected and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    return count()


@pytest.mark.parametrize("storage", ["frames", "original"])
def test_train_batches_over_thousands_of_clips_leaks_nothing(data_dir, storage):
    dataset = open_dataset(f"recordings/{storage}", str(data_dir))
    files = open_files()
    # The first reader starts ArrayRecord's 64 permanent threads and fills the allocator's pools.
    read(dataset, 500, 500)
    settled(open_files, files)
    threads = settled(lambda: status("Threads"), 0)
    memory = read(dataset, 2000, 200)
    # The allocator may add a pool. Leaking each record would take 27 MB, each view 0.5 GB.
    assert max(memory) - memory[0] < 16_000, memory
    # Files and threads of earlier tests may end meanwhile.
    assert settled(open_files, files) <= files
    assert settled(lambda: status("Threads"), threads) <= threads
