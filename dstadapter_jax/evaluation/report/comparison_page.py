"""The page on two runs, compared on the same clips."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.bootstrap import Interval
from dstadapter_jax.evaluation.comparison import Comparison
from dstadapter_jax.evaluation.report.charts import CSS
from dstadapter_jax.evaluation.report.intervals import (
    TITLES,
    about_intervals,
    card,
    percent,
    points,
    scale,
)
from dstadapter_jax.evaluation.scores import TOP1
from dstadapter_jax.html.markup import (
    WARNING,
    Finding,
    Node,
    cut_table,
    details,
    fact_table,
    finding_list,
    page,
    section,
    table,
    tag,
)

SCORES = "scores_SPLIT.npz of the runs"


def render(comparison: Comparison, summary: Mapping[str, Any]) -> str:
    """Returns the page: HTML that needs no other file.

    Args:
        comparison: Of two runs.
        summary: Its own.
    """
    return page(
        f"Comparison on {comparison.split}",
        _head(comparison, summary),
        _signs(summary),
        _signers(comparison),
        _clips(comparison),
        _runs(comparison),
        css=CSS,
    )


def _head(comparison: Comparison, summary: Mapping[str, Any]) -> ET.Element:
    dataset = comparison.summaries[1]["dataset"]
    about = f"{dataset}, {comparison.split} split · {summary['num_clips']:,} clips"
    found = list(_caveats(comparison))
    reach = max(abs(end) for ends in _all_ends(summary) for end in ends)
    cards = [_card(name, summary, max(1.15 * reach, 0.01)) for name in bootstrap.METRICS]
    names = [tag("span", tag("b", name), f" {run}") for name, run in _names(comparison)]
    return tag(
        "header",
        tag("p", "Comparison", class_="soft"),
        tag("h1", "B against A"),
        tag("p", names[0], tag("br"), names[1]),
        tag("p", about, class_="soft"),
        _verdict(summary),
        tag("div", *cards, class_="cards"),
        *([finding_list(found)] if found else []),
        about_intervals(len(set(comparison.signers) - {""}), paired=True),
    )


def _names(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield from zip("AB", map(str, comparison.workdirs), strict=True)


def _all_ends(summary: Mapping[str, Any]) -> Iterator[Interval]:
    for over in ("over_clips", "over_signers"):
        yield from (ends for ends in (summary["intervals"][over] or {}).values() if ends)


def _verdict(summary: Mapping[str, Any]) -> ET.Element:
    over_clips, over_signers = (
        (summary["intervals"][over] or {}).get("top1") for over in ("over_clips", "over_signers")
    )
    sides = {_side(*ends) for ends in (over_clips, over_signers) if ends}
    if len(sides) == 1 and 0 not in sides:
        better = sides == {1}
        text = f"B recognizes {'more' if better else 'less'} than A: 0 is in no interval of top-1."
        mark = "good" if better else "bad"
    else:
        text, mark = "No clear difference: 0 is in an interval of top-1.", "open"
    return tag("p", tag("strong", text), class_=f"verdict {mark}")


def _side(low: float, high: float) -> int:
    """On which side of 0 an interval lies; 0 if it holds it."""
    return int(low > 0) - int(high < 0)


def _card(name: str, summary: Mapping[str, Any], reach: float) -> ET.Element:
    value, intervals = summary["difference"][name], summary["intervals"]
    ends = {"over clips": intervals["over_clips"][name]}
    if intervals["over_signers"]:
        ends["over signers"] = intervals["over_signers"][name]
    line = scale(value, *ends.values(), ends=(-reach, reach))
    told = {run.upper(): percent(summary[run][name]) for run in ("a", "b")}
    told |= {over: _points_text(of) for over, of in ends.items()}
    return card(TITLES[name], f"{points(value)} points", line, told)


def _points_text(interval: Interval | None) -> str:
    return f"{points(interval[0])} to {points(interval[1])}" if interval else "none"


def _caveats(comparison: Comparison) -> Iterator[Finding]:
    for name in ("views", "dataset"):
        a, b = (summary[name] for summary in comparison.summaries)
        if a != b:
            yield Finding(WARNING, f"The {name} differ: {a} of A, {b} of B.", "runs")


def _signs(summary: Mapping[str, Any]) -> ET.Element:
    parts: list[Node] = []
    for title, key in (("B recognizes more", "better"), ("B recognizes fewer", "worse")):
        rows = [_sign(name, of) for name, of in summary[key].items()]
        signs = f"{len(rows):,} sign{'s' * (len(rows) > 1)}" if rows else "none"
        parts.append(tag("h3", f"{title} clips of: {signs}"))
        header = ["sign", "right: A", "right: B", "clips", "change"]
        parts += cut_table(header, rows, "figures") if rows else []
    return section("signs", "Signs", *parts)


def _sign(name: str, of: Mapping[str, int]) -> list[Node]:
    gain = of["right_b"] - of["right_a"]
    change = tag("span", f"{gain:+,}", class_="better" if gain > 0 else "worse")
    return [name, *(f"{of[what]:,}" for what in ("right_a", "right_b", "num_clips")), change]


def _signers(comparison: Comparison) -> ET.Element | None:
    names = sorted(set(comparison.signers) - {""})
    if not names:
        return None
    header = ["signer", "top-1: A", "top-1: B", "change, points", "clips"]
    rows = sorted((_signer(comparison, name) for name in names), key=lambda row: row[0])
    return section("signers", "Signers", *cut_table(header, [r for _, r in rows], "figures"))


def _signer(comparison: Comparison, name: str) -> tuple[float, list[Node]]:
    """How much more of a signer B recognizes, and the table's row."""
    own = comparison.outcomes[:, comparison.signers == name] == TOP1
    a, b = own.mean(axis=1)
    change = tag("span", points(b - a), class_="better" if b > a else "worse" if b < a else "")
    return b - a, [name, percent(a), percent(b), change, f"{own.shape[1]:,}"]


def _clips(comparison: Comparison) -> ET.Element:
    a, b = comparison.outcomes == TOP1
    counts = [[a & b, a & ~b], [~a & b, ~a & ~b]]
    rows: list[list[Node]] = [
        [title, *(f"{chosen.sum():,}" for chosen in of_a)]
        for title, of_a in zip(("A right", "A wrong"), counts, strict=True)
    ]
    lists = [
        _clip_list(comparison, f"Right of {name} alone", chosen)
        for name, chosen in (("B", b & ~a), ("A", a & ~b))
        if chosen.any()
    ]
    return section("clips", "Clips", table(["", "B right", "B wrong"], rows, "figures"), *lists)


def _clip_list(comparison: Comparison, title: str, chosen: np.ndarray) -> ET.Element:
    clips = [
        [comparison.label_names[label], tag("code", str(clip))]
        for label, clip in zip(comparison.labels[chosen], comparison.ids[chosen], strict=True)
    ]
    return details(f"{title}: {len(clips):,}", *cut_table(["sign", "clip"], clips, whole=SCORES))


def _runs(comparison: Comparison) -> ET.Element:
    facts: list[tuple[str, Node]] = [
        (name, f"{run}: step {summary['step']:,}, {summary['views']}")
        for (name, run), summary in zip(_names(comparison), comparison.summaries, strict=True)
    ]
    return section("runs", "Runs", fact_table(facts))
