"""The most important sentences of a report."""

from collections.abc import Iterator

from dstadapter_jax.html.formats import counted
from dstadapter_jax.html.page import ERROR, NOTE, WARNING, Finding, by_severity
from tfds_builders.check.report import Report
from tfds_builders.check.statistics import unusual_properties


def findings(report: Report) -> list[Finding]:
    """All findings, errors first."""
    found = [*_excluded(report), *_copies(report), *_labels(report), *_signers(report)]
    found += [
        Finding(NOTE, f"{counted(one.num_clips, 'clip')}: {one.note}", "clips")
        for one in unusual_properties(report.properties)
    ]
    return by_severity(found + [Finding(WARNING, text, "lists") for text in report.lists.warnings])


def _excluded(report: Report) -> Iterator[Finding]:
    for name, split in report.splits.items():
        kinds = {
            "missing": len(split.missing),
            "unreadable": len(split.unreadable),
            "not listed": split.num_unlisted,
        }
        parts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        text = f"{name}: {split.share_excluded:.2%} of the clips are unusable ({parts})"
        if not split.within_bound:
            limit, remedy = "none", "remove them, or pass --max_missing"
            if report.max_missing:
                limit, remedy = f"only {report.max_missing:.2%}", "raise --max_missing"
            advice = f"{limit} may be excluded. Get these files (again) or {remedy}."
            yield Finding(ERROR, f"{text}, but {advice}", "unusable")
        elif split.share_excluded:
            yield Finding(WARNING, f"{text}; a build excludes and lists them.", "unusable")
        if split.unavailable:
            text = f"{name}: {counted(len(split.unavailable), 'listed clip')} never published."
            yield Finding(NOTE, text, "unusable")
        if split.one_frame:
            text = f"{name}: {counted(len(split.one_frame), 'clip')} of a single frame."
            yield Finding(WARNING, text, "clips")


def _copies(report: Report) -> Iterator[Finding]:
    if groups := report.copies.across_splits:
        text = (
            f"{counted(len(groups), 'clip')} in several splits, as {sum(map(len, groups)):,} ids:"
        )
        yield Finding(WARNING, f"{text} test accuracies will be too high.", "copies")
    if groups := report.copies.within_split:
        text = f"{counted(len(groups), 'clip')} more than once in one split."
        yield Finding(WARNING, text, "copies")
    groups = report.copies.across_splits + report.copies.within_split
    if conflicting := sum(len({copy.label for copy in group}) > 1 for group in groups):
        yield Finding(WARNING, f"{counted(conflicting, 'clip')} with several labels.", "copies")


def _labels(report: Report) -> Iterator[Finding]:
    for name, split in report.splits.items():
        if absent := len(split.absent_labels):
            level = WARNING if name == "train" else NOTE
            text = f"{name}: {absent:,} of {counted(len(report.labels), 'label')} without a clip."
            yield Finding(level, text, "labels")


def _signers(report: Report) -> Iterator[Finding]:
    if shared := len(report.shared_signers):
        text = f"{counted(shared, 'signer')} in several splits: test accuracies will not hold for"
        yield Finding(NOTE, f"{text} new people.", "signers")
    elif not any(split.signers for split in report.splits.values()):
        text = "Signers are unknown: the same person may be in all splits."
        yield Finding(NOTE, text, "splits")
