"""The report of a check as a page."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.html.charts import Histogram, top_bars
from dstadapter_jax.html.page import render
from tfds_builders.check.findings import findings
from tfds_builders.check.report import Report
from tfds_builders.check.statistics import extremes, unusual_properties

TEMPLATE = Path(__file__).with_name("page.html")
MAX_REASONS = 5
MAX_COPIES = 20  # of one clip
MAX_NAMES = 5


def render_report(report: Report) -> str:
    """Renders the page as HTML that needs no other file."""
    unusable = list(_unusable(report))
    return render(
        TEMPLATE,
        report=report,
        split_names=SPLITS,
        findings=findings(report),
        unusable=unusable,
        common_reasons=Counter(row[-1] for row in unusable).most_common(MAX_REASONS),
        frames=_frames(report),
        bars={
            "Size, upright": top_bars(report.properties.sizes),
            "Codec": top_bars(report.properties.codecs),
            "Frames per second": top_bars(report.properties.fps),
            "Rotation, degrees": top_bars(report.properties.rotations),
        }
        | {one.title: top_bars(one.counts) for one in unusual_properties(report.properties)},
        single_frame=[
            (name, clip) for name, split in report.splits.items() for clip in split.one_frame
        ],
        balance={name: _balance(report, name) for name in report.splits},
        label_rows=[(i, label, counts) for i, (label, counts) in enumerate(report.labels.items())],
        copies={
            "In several splits": report.copies.across_splits,
            "Several times in one split": report.copies.within_split,
        },
        max_copies=MAX_COPIES,
        max_names=MAX_NAMES,
    )


def _unusable(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Split, clip, label and reason; damaged files first, since a user can look at them."""
    for kind in ("unreadable", "missing"):
        for name, split in report.splits.items():
            for clip in getattr(split, kind):
                yield name, clip.path or clip.id, clip.label, clip.reason
    for name, split in report.splits.items():
        for clip_id in split.unavailable:
            yield name, clip_id, "", "never published"


def _frames(report: Report) -> Histogram | None:
    counts = {int(frames): splits for frames, splits in report.properties.frames.items()}
    return Histogram.from_counts(counts) if counts else None


def _balance(report: Report, split: str) -> dict[str, Any]:
    """Counts of clips by label in a split: columns of a chart, extremes and their labels."""
    counts = {label: splits[split] for label, splits in report.labels.items() if splits[split]}
    counts = dict(sorted(counts.items(), key=lambda item: -item[1]))
    minimum, median, maximum = extremes(report.labels, split)
    return {
        "columns": {label: {split: count} for label, count in counts.items()},
        "minimum": minimum,
        "median": median,
        "maximum": maximum,
        "smallest": [label for label, count in counts.items() if count == minimum],
        "largest": [label for label, count in counts.items() if count == maximum],
        "absent": report.splits[split].absent_labels,
    }
