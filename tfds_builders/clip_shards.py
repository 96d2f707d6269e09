"""Shards of a dataset: ArrayRecord files of encoded clips, each written atomically."""

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
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from dstadapter_jax.data.video import reader as video
from tfds_builders.clip_examples import JPEG_QUALITY, SHORT_SIDE, Clip, encode_clip

TEMPORARY = ".tmp"  # suffix of files that are being written
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Clips of one split that are written to one file; small enough to send to other machines.

    Attributes:
        path: The file. `PATH.json` beside it, written last, marks it as complete.
        clips: The clips in stored order.
        storage: `frames` or `original`.
    """

    path: Path
    clips: Sequence[Clip]
    storage: str

    def result(self, features: tfds.features.FeaturesDict) -> dict[str, Any] | None:
        """The result of `write_shard`; None if this shard is not written from these inputs.

        Returns:
            A dict of `num_clips`, the number of stored clips, and `excluded`, the ids of the others
            with reasons.
        """
        try:
            found = json.loads(self._result_path.read_text())
            fingerprint = found.pop("inputs_fingerprint")
            same = self.path.exists() and fingerprint == self.inputs_fingerprint(features)
        except (OSError, ValueError, KeyError):
            return None
        return found if same else None

    def inputs_fingerprint(self, features: tfds.features.FeaturesDict) -> str:
        """A hash of all that the shard depends on: clips, their files' size and time, encoding."""
        clips = [
            (c.id, c.label, c.signer, c.segment, c.seconds, _stats(c.path)) for c in self.clips
        ]
        encoding = self.storage, features["label"].names, SHORT_SIDE, JPEG_QUALITY
        return hashlib.sha256(repr((clips, encoding)).encode()).hexdigest()

    def finish(self, temporary: Path, result: Mapping[str, Any]) -> None:
        """Move a temporary file to the shard's path and mark the shard as complete.

        Args:
            temporary: The written file.
            result: As `result` returns it, and `inputs_fingerprint`.
        """
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the mark must not outlive the data in a power cut
        os.replace(temporary, self.path)
        temporary.write_text(json.dumps(result))
        os.replace(temporary, self._result_path)

    @property
    def _result_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def _stats(path: Path) -> list[tuple[int, int]]:
    """Size and time of a file, or of all files of a folder of pictures; empty if it is missing."""
    try:
        stats = [file.stat() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    except OSError:
        return []
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]


def write_shard(
    shard: Shard,
    features: tfds.features.FeaturesDict,
    *,
    num_threads: int = 1,
    on_clip: Callable[[int], Any] = lambda count: None,
) -> None:
    """Decode and write the clips of a shard, unless it is complete and excludes no clip.

    Excluded clips are tried again, since the cause may have gone without a change of the file's
    size and time, such as missing permissions.

    TFDS's own writers are not used: the one for generators shuffles in 1 GB of memory and needs
    TensorFlow, the one for shards keeps all examples of a shard in memory to count them.

    Args:
        shard: Clips and path.
        features: The schema with label names.
        num_threads: Number of clips that are decoded at a time.
        on_clip: Called with the number of clips that have been processed since the last call.

    Raises:
        OSError: The file can't be written; `errno` is one of FULL_DISK if the disk is full.
    """
    if (before := shard.result(features)) and not before["excluded"]:
        on_clip(len(shard.clips))
        return
    serializer = ExampleSerializer(features.get_serialized_info())

    def record(clip: Clip) -> bytes | video.ClipError:
        try:
            example = encode_clip(clip, shard.storage)
        except video.ClipError as error:
            return error
        # Deterministic order of fields: the same clips give the same bytes.
        proto = serializer.get_tf_example(features.encode_example(example))
        return proto.SerializeToString(deterministic=True)

    fingerprint = shard.inputs_fingerprint(features)  # first: a file may still be being copied
    excluded = {}

    def records() -> Iterator[bytes]:
        encoded = map_in_threads(record, shard.clips, num_threads)
        for clip, result in zip(shard.clips, encoded, strict=True):
            on_clip(1)
            if isinstance(result, video.ClipError):
                excluded[clip.id] = result.reason
            else:
                yield result

    # A unique name, since two of Beam's workers may write the same shard.
    temporary = shard.path.with_name(f"{shard.path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    num_clips = _write_records(temporary, records())
    result = {"num_clips": num_clips, "excluded": excluded, "inputs_fingerprint": fingerprint}
    shard.finish(temporary, result)


def _write_records(path: Path, records: Iterable[bytes]) -> int:
    """Write an ArrayRecord file and return its number of records."""
    count = 0
    try:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for count, record in enumerate(records, start=1):  # noqa: B007
            writer.write(record)
        writer.close()  # also raises errors of earlier writes
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        free = shutil.disk_usage(path.parent).free / 1e6
        failure = OSError(f"{path}: {reason}; {free:,.0f} MB are free there")
        # ArrayRecord reports the cause as text only.
        failure.errno = next((n for n in FULL_DISK if os.strerror(n) in reason), None)
        raise failure from error
    return count


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], num_threads: int | None = None
) -> Iterator[_Result]:
    """Yield `function(item)` in the order of the items, computed in threads.

    Args:
        function: Called in threads.
        items: Read at most `num_threads + 2` items ahead.
        num_threads: By default the number of cores.
    """
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
        wait = False  # a long clip may take minutes to decode
        raise
    finally:
        pool.shutdown(wait, cancel_futures=True)
