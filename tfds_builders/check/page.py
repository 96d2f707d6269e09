"""The report as a page for people."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dstadapter_jax.html.markup import (
    Node,
    cut_table,
    details,
    finding_list,
    page,
    section,
    table,
    tag,
)
from tfds_builders.check import charts
from tfds_builders.check.findings import findings
from tfds_builders.check.report import Copy, Report, SplitReport, extremes

CSS = Path(__file__).with_name("page.css")
MAX_REASONS = 5
MAX_COPIES = 20  # of one clip


def render(report: Report) -> str:
    """Returns the page: HTML that needs no other file."""
    parts = [
        _verdict(report),
        _splits(report),
        _unusable(report),
        _clips(report),
        _labels(report),
        _copies(report),
        _signers(report),
        _lists(report),
    ]
    title = f"{report.dataset}: check before build"
    return page(title, *parts, css=CSS)


def _verdict(report: Report) -> ET.Element:
    good = report.would_build
    found = findings(report)
    nothing = tag("p", "Nothing else to tell: every listed clip is there and decodes.")
    return tag(
        "header",
        tag("p", "Check before build", class_="soft"),
        tag("h1", report.dataset),
        tag("p", tag("code", report.folder), f" · {report.time}", class_="soft"),
        tag(
            "p",
            tag("strong", "Would build" if good else "Would not build"),
            f" · of each split {report.max_missing:.2%} may be left out"
            if report.max_missing
            else " · no clip may be left out",
            class_=f"verdict {'good' if good else 'bad'}",
        ),
        finding_list(found) if found else nothing,
    )


def _splits(report: Report) -> ET.Element:
    header = ["", "listed", "on no list", "never published", "found", "missing", "unreadable"]
    header += ["usable", "left out", "signers"]
    rows = [_split_row(name, split) for name, split in report.splits.items()]
    made = tag("p", f"How they are made: {report.split_method}.")
    return section("splits", "Splits", table(header, rows, "figures"), made)


def _split_row(name: str, split: SplitReport) -> list[Node]:
    counts = [split.listed, split.num_unlisted, len(split.unavailable), split.found]
    counts += [len(split.missing), len(split.unreadable), split.usable]
    verdict = "good" if split.within_bound else "bad"
    return [
        tag("span", tag("i", class_=f"swatch {name}"), name),
        *(f"{count:,}" for count in counts),
        tag("span", f"{split.share_left_out:.2%}", class_=f"mark {verdict}"),
        f"{split.signers:,}" if split.signers else "unknown",
    ]


def _unusable(report: Report) -> ET.Element | None:
    # What a user can look at comes first; of the missing there may be thousands.
    left_out = [(name, one) for name, split in report.splits.items() for one in split.unreadable]
    left_out += [(name, one) for name, split in report.splits.items() for one in split.missing]
    rows: list[Sequence[Node]] = [
        (name, tag("code", one.path or one.id), one.label, one.reason) for name, one in left_out
    ]
    rows += [
        (name, tag("code", clip), "", "never published")
        for name, split in report.splits.items()
        for clip in split.unavailable
    ]
    if not rows:
        return None
    reasons = Counter(str(row[-1]) for row in rows).most_common(MAX_REASONS)
    common = [tag("li", tag("b", f"{count:,}"), f" {reason}") for reason, count in reasons]
    return section(
        "unusable",
        "Clips that can't be used",
        tag("ul", *common, class_="facts"),
        *cut_table(["split", "clip", "label", "reason"], rows),
    )


def _clips(report: Report) -> ET.Element | None:
    if not report.frames:
        return None
    kinds = {
        "Size, upright": report.sizes,
        "Codec": report.codecs,
        "Frames per second": report.fps,
        "Rotation, degrees": report.rotations,
    }
    panels = [tag("div", tag("h3", name), charts.bars(counts)) for name, counts in kinds.items()]
    short = [
        (name, tag("code", clip))
        for name, split in report.splits.items()
        for clip in split.one_frame
    ]
    shown = (
        [tag("h3", "Clips of a single frame"), *cut_table(["split", "clip"], short)]
        if short
        else []
    )
    return section(
        "clips",
        "Clips",
        charts.legend(),
        tag("h3", "Frames that show the sign"),
        charts.histogram(report.frames),
        tag("div", *panels, class_="grid"),
        *shown,
    )


def _labels(report: Report) -> ET.Element:
    panels = [_balance(report, name, split) for name, split in report.splits.items()]
    rows = [
        (str(i), label, *(f"{count:,}" for count in of_split.values()))
        for i, (label, of_split) in enumerate(report.labels.items())
    ]
    every = table(["", "label", *report.splits], rows, "figures labels")
    title = f"Class balance: {len(rows):,} labels"
    return section("labels", title, *panels, details(f"All {len(rows):,} labels", every))


def _balance(report: Report, name: str, split: SplitReport) -> ET.Element:
    counted = sorted(
        ((of_split[name], label) for label, of_split in report.labels.items() if of_split[name]),
        key=lambda pair: -pair[0],
    )
    least, median, most = extremes(report.labels, name)
    columns = [(label, {name: count}) for count, label in counted]
    if least < most:
        smallest = [label for count, label in counted if count == least]
        largest = [label for count, label in counted if count == most]
        lines = [
            ("smallest", f"{least:,}", _names(smallest)),
            ("median", f"{median:,}", ""),
            ("largest", f"{most:,}", _names(largest)),
        ]
    else:
        lines = [("all", f"{most:,}", "")]
    if split.absent_labels:
        lines.append(("absent", f"{len(split.absent_labels):,}", _names(split.absent_labels)))
    facts = [tag("li", tag("b", f"{what} {count}"), f" {names}") for what, count, names in lines]
    return tag(
        "div",
        tag("h3", tag("i", class_=f"swatch {name}"), f"{name}: clips of each label"),
        tag("figure", charts.stacked(columns)),
        tag("ul", *facts, class_="facts"),
    )


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5:,} more" if len(labels) > 5 else "")


def _copies(report: Report) -> ET.Element | None:
    if not (report.same_across_splits or report.same_within_split):
        return None
    kinds = {
        "In several splits": report.same_across_splits,
        "Several times in one split": report.same_within_split,
    }
    parts: list[Node] = []
    for title, groups in kinds.items():
        if groups:
            rows = [[_copy_lines(group)] for group in groups]
            parts += [tag("h3", title), *cut_table(["each the same clip"], rows)]
    about = "Files that are the same, byte for byte (and segment for segment)."
    return section("copies", "The same clip more than once", tag("p", about), *parts)


def _copy_lines(group: Sequence[Copy]) -> ET.Element:
    lines = [
        tag(
            "li",
            tag("i", class_=f"swatch {copy.split}"),
            f"{copy.split} ",
            tag("code", copy.id),
            f" {copy.label}",
        )
        for copy in group[:MAX_COPIES]
    ]
    if len(group) > MAX_COPIES:
        lines.append(tag("li", f"… and {len(group) - MAX_COPIES:,} more"))
    return tag("ul", *lines, class_="copies")


def _signers(report: Report) -> ET.Element | None:
    shared = [(signer, ", ".join(splits)) for signer, splits in report.shared_signers.items()]
    if not shared:
        return None
    return section("signers", "Signers in several splits", *cut_table(["signer", "splits"], shared))


def _lists(report: Report) -> ET.Element | None:
    if not report.warnings:
        return None
    warnings = [tag("li", warning) for warning in report.warnings]
    names = [[tag("code", name)] for name in report.unlisted]
    unlisted = cut_table(["clips on no list"], names) if names else []
    return section("lists", "What the lists say", tag("ul", *warnings), *unlisted)
