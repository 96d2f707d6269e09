"""How clips become the shards of a dataset, and how many unusable ones it may leave out."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from dstadapter_jax import video
from tfds_builders.clip_examples import Clip, Example, encode_clip

CLIPS_PER_SHARD = 256  # about 400 MB of frames

Shard = Callable[[], Iterator[tuple[str, Example]]]  # yields each clip's id and example
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class UnusableClipsError(ValueError):
    """Clips that are missing or can't be decoded: one error for all of a dataset's."""

    def __init__(self, reasons: Sequence[str], advice: str):
        lines = "\n".join(f"  {reason}" for reason in reasons)
        super().__init__(
            f"{len(reasons)} clip(s) can't be read, so nothing was built:\n{lines}\n{advice}"
        )


class LeftOut:
    """The clips that a dataset leaves out, and the bound on them.

    Attributes:
      reasons: for each split, the clips' ids, each with what is wrong with it.
    """

    def __init__(self, num_listed: Mapping[str, int], max_share: float):
        """Takes the number of clips that each split should have, and the share it may lack."""
        self.reasons: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self._num_listed, self._max_share = num_listed, max_share

    def check(self) -> None:
        """Raises UnusableClipsError, which names every clip, if a split lacks too many."""
        counts = {split: len(reasons) for split, reasons in self.reasons.items()}
        if all(n <= self._max_share * self._num_listed[split] for split, n in counts.items()):
            return
        advice = "Replace these files, or remove them (and their rows, if a CSV lists them)."
        if self._max_share:
            lacking = [f"{n:,} of {self._num_listed[s]:,} in {s}" for s, n in counts.items() if n]
            advice = (
                f"That is {', '.join(lacking)}; of each split {self._max_share:.3%} may be left "
                "out. Get these files (again), or give a higher --max_missing."
            )
        every = [f"{i}: {why}" for reasons in self.reasons.values() for i, why in reasons.items()]
        raise UnusableClipsError(sorted(every), advice)


def shard_iterators(
    splits: Mapping[str, Sequence[Clip]], storage: str, left_out: LeftOut | None = None
) -> dict[str, list[Shard]]:
    """Cuts each split into shards, for `tfds.core.ShardBasedBuilder`.

    Not for `GeneratorBasedBuilder`, whose shuffler holds up to 1 GB of a split in memory and
    then needs TensorFlow to go on. Clips stay in the order given: readers of ArrayRecord shuffle
    by index.

    Args:
      splits: the clips of each split.
      storage: `frames` or `original`.
      left_out: takes in the clips that can't be decoded; by default there may be none.

    Returns:
      For each split one function a shard, to be called in order. The last one raises
      `UnusableClipsError` if more clips can't be used than `left_out` allows.
    """
    bar = tqdm(total=sum(map(len, splits.values())), unit="clip", disable=None)
    if left_out is None:
        left_out = LeftOut({split: len(clips) for split, clips in splits.items()}, max_share=0)
    shards: dict[str, list[Shard]] = {}
    for split, clips in splits.items():
        reasons = left_out.reasons[split]
        starts = range(0, len(clips), CLIPS_PER_SHARD)
        shards[split] = [
            partial(_examples, clips[start : start + CLIPS_PER_SHARD], storage, reasons, bar)
            for start in starts
        ]
    last = list(shards)[-1]
    shards[last][-1] = partial(_then_check, shards[last][-1], left_out, bar)
    return shards


def _examples(
    clips: Sequence[Clip], storage: str, unusable: dict[str, str], bar: tqdm
) -> Iterator[tuple[str, Example]]:
    def encode(clip: Clip) -> Example | video.ClipError:
        try:
            return encode_clip(clip, storage)
        except video.ClipError as error:
            return error

    for clip, result in zip(clips, map_in_threads(encode, clips), strict=True):
        bar.update()
        if isinstance(result, video.ClipError):
            unusable[clip.id] = result.reason
            continue
        yield clip.id, result
        # TFDS keeps every example of a shard until the shard is written, only to count them;
        # this one is on disk by now.
        result.clear()


def _then_check(shard: Shard, left_out: LeftOut, bar: tqdm) -> Iterator[tuple[str, Example]]:
    """Goes on to the end before refusing, so that the error names every unusable clip."""
    yield from shard()
    bar.close()
    left_out.check()


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """`map` in one thread a core, in order, holding a few more items than threads at most."""
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    tasks = (pool.submit(function, item) for item in items)
    wait = True
    try:
        pending = deque(itertools.islice(tasks, threads + 2))
        while pending:
            yield pending.popleft().result()
            pending.extend(itertools.islice(tasks, 1))
    except KeyboardInterrupt:
        wait = False  # a long clip may take minutes to its end
        raise
    finally:
        pool.shutdown(wait, cancel_futures=True)
