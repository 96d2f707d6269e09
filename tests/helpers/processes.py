"""Commands in processes of their own."""

import pathlib
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[2]


def run_python(*arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """Run Python in the repository's root and capture its output; `prefix` is a wrapper command."""
    return subprocess.run(
        [*prefix, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )


def launch(*arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """Run `launch.py` and capture its output."""
    return run_python("launch.py", *arguments, prefix=prefix)
