"""The build command in a process of its own, to be stopped or starved."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As users type it, with shards of two clips, each of which takes long enough to be interrupted.
COMMAND = """
import sys, time
from dstadapter_jax.cli.main import run_cli
from tests.helpers.builds import run
from tfds_builders import clip_builder, clip_shards
clip_builder.CLIPS_PER_SHARD = 2
encode_clip = clip_shards.encode_clip
def slowly(*clip):
    time.sleep(0.03)
    return encode_clip(*clip)
clip_shards.encode_clip = slowly
sys.exit(run_cli(lambda argv: run(argv)))
"""
_LIMIT = (
    "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
# For `start`: as full as a quota's disk, no file may have more than 100 KB.
SMALL_FILES = (sys.executable, "-c", _LIMIT)


def start(
    *given: str, prefix: Sequence[str] = (), stream: int = subprocess.PIPE
) -> subprocess.Popen:
    """Runs the command; `prefix` is what runs it, in a session of its own."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", COMMAND, *given],
        cwd=ROOT,
        stdout=stream,
        stderr=stream,
        text=True,
        start_new_session=True,
    )
