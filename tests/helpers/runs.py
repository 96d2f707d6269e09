"""What tests read from the workdir of a run, and its config as a file."""

import json
import pathlib
import struct

from ml_collections import ConfigDict
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.models.partition import partition
from dstadapter_jax.pretrained.initialization import build_model

TIMES = ("time", "clips_per_second", "data_seconds", "compute_seconds", "save_seconds")
MEASURED = (*TIMES, "host_gb", "device_gb", "device_hours")


def write_config_file(config: ConfigDict, folder: pathlib.Path) -> str:
    """Write a config as the Python file that `--config` expects; returns its path."""
    path = folder / "tiny.py"
    path.write_text(
        "from ml_collections import ConfigDict\n\n"
        f"def get_config():\n    return ConfigDict({config.to_dict()!r}).lock()\n"
    )
    return str(path)


def metric_rows(workdir: pathlib.Path) -> list[dict]:
    """Rows of `metrics.jsonl` without measured times and memory."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def trainable_weights(workdir: pathlib.Path, config: ConfigDict, step: int) -> dict:
    """Trainable weights of a checkpoint."""
    model, _ = build_model(config)
    _, target, _ = partition(model, config.tune)
    with Checkpointer(workdir, read_only=True) as checkpoints:
        return checkpoints.restore_trainable(step, target)


def read_events(folder: pathlib.Path) -> list[Event]:
    """Events of a TensorBoard folder that TensorBoard shows, in their order.

    Checks the checksums of the TFRecord format. Like TensorBoard it ends a file at an incomplete
    record, and drops events that a later START event of the same or an earlier step replaces.
    """
    events: list[Event] = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while len(content) > 16:
            (length,) = struct.unpack("<Q", content[:8])
            data = content[12 : 12 + length]
            if len(content) < 16 + length:
                break
            sums = content[8:12] + content[12 + length : 16 + length]
            assert struct.unpack("<II", sums) == (masked_crc32c(content[:8]), masked_crc32c(data))
            event = Event.FromString(data)
            if event.session_log.status == SessionLog.START:
                events = [earlier for earlier in events if earlier.step < event.step]
            events.append(event)
            content = content[16 + length :]
    return events


def tensorboard_scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, as TensorBoard shows them."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
