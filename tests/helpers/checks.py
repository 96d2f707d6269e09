"""Checks before a build: reports as JSON."""

import json
from pathlib import Path
from typing import Any

from tests.helpers.builds import build, run
from tfds_builders.excluded import UnusableClipsError

# Rows of a CSV for `dataset_trees.put_listed`.
ROWS = [
    *("a.mp4,hi,anna,train", "b.mp4,hi,anna,train", "c.mp4,bye,anna,train"),
    *("d.mp4,hi,ben,validation", "e.mp4,hi,cem,test", "f.mp4,bye,cem,test"),
]


def check(
    dataset: str, source: Path, out: Path, *options: str, **builder_options: Any
) -> tuple[int, dict[str, Any]]:
    """Check a dataset, and return the exit status and the report."""
    arguments = ["check", dataset, "--manual_dir", str(source), "--report", str(out)]
    status = run([*arguments, *options], **builder_options)
    (written,) = out.glob("*.json")
    return status, json.loads(written.read_text(encoding="utf-8"))


def builds(dataset: str, source: Path, out: Path, *options: str) -> bool:
    """Whether a build succeeds; too many unusable clips are the only other result."""
    try:
        return build(dataset, source, out, *options) == 0
    except UnusableClipsError:
        return False


def texts(report: dict[str, Any], level: str) -> list[str]:
    """Texts of a report's findings of a level."""
    return [finding["text"] for finding in report["findings"] if finding["level"] == level]
