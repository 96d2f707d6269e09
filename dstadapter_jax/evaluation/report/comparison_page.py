"""The page that compares two runs on the same clips."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.comparison import Comparison
from dstadapter_jax.evaluation.report.intervals import TITLES, explain_intervals, metric_intervals
from dstadapter_jax.evaluation.scores import TOP1
from dstadapter_jax.html.formats import Interval
from dstadapter_jax.html.page import WARNING, Finding, render

TEMPLATE = Path(__file__).with_name("comparison.html")


def render_comparison(comparison: Comparison, summary: Mapping[str, Any]) -> str:
    """Renders the page of a comparison and its summary as HTML that needs no other file."""
    intervals = {name: metric_intervals(summary, name) for name in bootstrap.METRICS}
    ends = [abs(end) for of in intervals.values() for pair in of.values() if pair for end in pair]
    return render(
        TEMPLATE,
        comparison=comparison,
        summary=summary,
        dataset=comparison.summaries[1]["dataset"],
        metrics={TITLES[name]: (name, intervals[name]) for name in bootstrap.METRICS},
        reach=max(1.15 * max(ends), 0.01),  # of the axis, on both sides of 0
        verdict=_verdict(intervals["top1"].values()),
        findings=list(_caveats(comparison)),
        interval_text=explain_intervals(len(set(comparison.signers) - {""}), paired=True),
        signers=_signer_rows(comparison),
        **_clip_tables(comparison),
    )


def _verdict(intervals: Iterable[Interval | None]) -> str:
    """`B` or `A` if all intervals agree on the better run, else ''."""
    better = {"B" if low > 0 else "A" if high < 0 else "" for low, high in filter(None, intervals)}
    return better.pop() if len(better) == 1 else ""


def _caveats(comparison: Comparison) -> Iterator[Finding]:
    for name, verb in (("views", "differ"), ("dataset", "differs")):
        a, b = (summary[name] for summary in comparison.summaries)
        if a != b:
            yield Finding(WARNING, f"The {name} {verb}: {a} for A, {b} for B.", "runs")


def _signer_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Top-1 accuracy of both runs by signer, sorted by B minus A."""
    rows = []
    for name in sorted(set(comparison.signers) - {""}):
        correct = comparison.outcomes[:, comparison.signers == name] == TOP1
        a, b = correct.mean(axis=1).tolist()
        rows.append({"name": name, "a": a, "b": b, "num_clips": correct.shape[1]})
    return sorted(rows, key=lambda row: row["b"] - row["a"])


def _clip_tables(comparison: Comparison) -> dict[str, Any]:
    a, b = comparison.outcomes == TOP1

    def clips(chosen: np.ndarray) -> list[tuple[str, str]]:
        labels, ids = comparison.labels[chosen], comparison.ids[chosen]
        return [(comparison.label_names[i], str(clip)) for i, clip in zip(labels, ids, strict=True)]

    return {
        "agreement": {
            "A correct": (int((a & b).sum()), int((a & ~b).sum())),
            "A wrong": (int((~a & b).sum()), int((~a & ~b).sum())),
        },
        "only_correct": {"B": clips(b & ~a), "A": clips(a & ~b)},
    }
