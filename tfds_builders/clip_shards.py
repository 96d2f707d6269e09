"""How clips become the shards of a dataset: files that are written whole, each by itself."""

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from dstadapter_jax.data.video import reader as video
from tfds_builders.clip_examples import JPEG_QUALITY, SHORT_SIDE, Clip, encode_clip
from tfds_builders.sources import SourceError

DRAFT = ".draft"  # ends the names of files that aren't whole
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class UnusableClipsError(SourceError):
    """More clips are missing or can't be decoded than a dataset may lack.

    Attributes:
      num_clips: their number.
    """

    def __init__(self, folder: str, num_clips: int, problems: Sequence[str], advice: str):
        summary = f"{num_clips:,} clip(s) can't be read, so nothing was built"
        super().__init__(folder, problems, advice, summary=summary)
        self.num_clips = num_clips


class LeftOut:
    """The clips that a dataset leaves out, and the bound on them.

    Attributes:
      reasons: for each split, the clips' ids, each with what is wrong with it.
      labels: for each split, the same ids, each with the name of its label.
      signers: for each split, the same ids, each with its signer, '' where unknown.
      num_unlisted: for each split that has such clips, how many of them no list names, officially
        its own.
    """

    def __init__(
        self,
        folder: str,
        num_listed: Mapping[str, int],
        max_share: float,
        num_unlisted: Mapping[str, int] = MappingProxyType({}),
    ):
        """Takes the number of listed clips in each split, and the share that it may lack.

        Args:
          folder: the clips' or the dataset's, for errors.
          num_listed: listed clips of each split.
          max_share: the share of a split that may be left out.
          num_unlisted: official clips of each split that no list names.
        """
        self._folder = folder
        self.reasons: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self.labels: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self.signers: dict[str, dict[str, str]] = {split: {} for split in num_listed}
        self.num_unlisted = dict(num_unlisted)
        self._num_listed, self._max_share = num_listed, max_share

    def add(self, split: str, clip_id: str, label: str, signer: str, reason: str) -> None:
        """Leaves a clip out."""
        self.reasons[split][clip_id] = reason
        self.labels[split][clip_id], self.signers[split][clip_id] = label, signer

    def within_bound(self, split: str) -> bool:
        """Whether a split lacks no more than it may."""
        return self._count(split) <= self._max_share * self._total(split)

    def _count(self, split: str) -> int:
        return len(self.reasons[split]) + self.num_unlisted.get(split, 0)

    def _total(self, split: str) -> int:
        return self._num_listed[split] + self.num_unlisted.get(split, 0)

    def check(self) -> None:
        """Raises UnusableClipsError, which names every clip, if a split lacks too many."""
        if all(self.within_bound(split) for split in self.reasons):
            return
        counts = {split: self._count(split) for split in self.reasons if self._count(split)}
        advice = "Replace these files, or remove them (and their rows, if a CSV lists them)."
        if self._max_share:
            lacking = [f"{n:,} of {self._total(s):,} in {s}" for s, n in counts.items()]
            advice = (
                f"That is {', '.join(lacking)}; of each split {self._max_share:.3%} may be left "
                "out. Get these files (again), or give a higher --max_missing."
            )
        every = [f"{i}: {why}" for reasons in self.reasons.values() for i, why in reasons.items()]
        short = [f"{n:,} clips of {s} are on no list" for s, n in self.num_unlisted.items() if n]
        raise UnusableClipsError(
            self._folder, sum(counts.values()), [*short, *sorted(every)], advice
        )


@dataclasses.dataclass(frozen=True)
class Shard:
    """Clips of one split that become one file; small enough to be sent to other machines.

    Attributes:
      path: the file; `PATH.json` beside it, written last, tells that it is whole.
      clips: in the order in which they are stored.
      storage: `frames` or `original`.
    """

    path: Path
    clips: Sequence[Clip]
    storage: str

    def result(self, features: tfds.features.FeaturesDict) -> dict[str, Any] | None:
        """What `write_shard` told of this very shard; None if it isn't written.

        A dict of `num_clips`, which it holds, and of `left_out`: ids of the others, with reasons.
        """
        try:
            found = json.loads(self._result_path.read_text())
            same = self.path.exists() and found.pop("made_of") == self.made_of(features)
        except (OSError, ValueError, KeyError):
            return None
        return found if same else None

    def made_of(self, features: tfds.features.FeaturesDict) -> str:
        """A hash of all that decides what the shard holds; a changed file changes it."""
        clips = [(c.id, c.label, c.signer, c.segment, _stat(c.path)) for c in self.clips]
        how = self.storage, features["label"].names, SHORT_SIDE, JPEG_QUALITY
        return hashlib.sha256(repr((clips, how)).encode()).hexdigest()

    def finish(self, draft: Path, result: Mapping[str, Any]) -> None:
        """Makes a draft the shard and marks it as whole; `made_of` is among what is told of it."""
        with draft.open("rb") as file:
            os.fsync(file.fileno())  # the mark must not outlive the data in a power cut
        os.replace(draft, self.path)
        draft.write_text(json.dumps(result))
        os.replace(draft, self._result_path)

    @property
    def _result_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def write_shard(
    shard: Shard,
    features: tfds.features.FeaturesDict,
    *,
    num_threads: int = 1,
    on_clip: Callable[[int], Any] = lambda count: None,
) -> None:
    """Decodes the clips and writes them, and what became of them; nothing if all are written.

    Clips that were left out are tried again: what kept them from being read need not show in the
    file's size and time, which are all that tells whether a shard is still that of its clips.

    Not TFDS's own writers: the one for generators shuffles in 1 GB of memory and needs TensorFlow,
    the one for shards keeps a shard's examples until it is written, only to count them.

    Args:
      shard: which clips, and where to.
      features: the schema, label names included.
      num_threads: clips that are decoded at a time.
      on_clip: called as clips are done, with their number.

    Raises:
      OSError: the file can't be written; `errno` is one of FULL_DISK if that is why.
    """
    if (before := shard.result(features)) and not before["left_out"]:
        on_clip(len(shard.clips))
        return
    serializer = ExampleSerializer(features.get_serialized_info())

    def record(clip: Clip) -> bytes | video.ClipError:
        try:
            example = encode_clip(clip, shard.storage)
        except video.ClipError as error:
            return error
        # In one order of fields, so that the same clips always give the same bytes.
        proto = serializer.get_tf_example(features.encode_example(example))
        return proto.SerializeToString(deterministic=True)

    made_of = shard.made_of(features)  # before they are read: a file may still be being copied
    left_out = {}

    def records() -> Iterator[bytes]:
        made = map_in_threads(record, shard.clips, num_threads)
        for clip, result in zip(shard.clips, made, strict=True):
            on_clip(1)
            if isinstance(result, video.ClipError):
                left_out[clip.id] = result.reason
            else:
                yield result

    # Of its own: Beam may have two workers at one shard, and leaves some behind when it is killed.
    draft = shard.path.with_name(f"{shard.path.name}.{uuid.uuid4().hex}{DRAFT}")
    num_clips = _write_records(draft, records())
    result = {"num_clips": num_clips, "left_out": left_out, "made_of": made_of}
    shard.finish(draft, result)


def _write_records(path: Path, records: Iterable[bytes]) -> int:
    """Writes an ArrayRecord file and returns how many records it has."""
    count = 0
    try:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for count, record in enumerate(records, start=1):  # noqa: B007
            writer.write(record)
        writer.close()  # raises, too, what went wrong with earlier records
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        free = shutil.disk_usage(path.parent).free / 1e6
        failure = OSError(f"{path}: {reason}; {free:,.0f} MB are free there")
        # ArrayRecord tells in words alone what went wrong.
        failure.errno = next((n for n in FULL_DISK if os.strerror(n) in reason), None)
        raise failure from error
    return count


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], num_threads: int | None = None
) -> Iterator[_Result]:
    """`map` in threads, by default one a core; in order, a few items more than threads at most."""
    threads = num_threads or os.cpu_count() or 1
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
