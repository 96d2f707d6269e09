"""The few sentences that matter most of a report."""

from collections.abc import Iterator

from dstadapter_jax.html.markup import ERROR, LEVELS, NOTE, WARNING, Finding
from tfds_builders.check.report import Report


def findings(report: Report) -> list[Finding]:
    """All findings, the gravest first."""
    found = [*_left_out(report), *_copies(report), *_labels(report), *_signers(report)]
    found += [Finding(WARNING, text, "lists") for text in report.warnings]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _left_out(report: Report) -> Iterator[Finding]:
    for name, split in report.splits.items():
        parts = {
            "missing": len(split.missing),
            "unreadable": len(split.unreadable),
            "unlisted": split.num_unlisted,
        }
        what = " and ".join(f"{count:,} {kind}" for kind, count in parts.items() if count)
        what = f"{name}: {what} clip(s), {split.share_left_out:.2%} of the split"
        if not split.within_bound:
            bound, remedy = "none", "remove them"
            if report.max_missing:
                bound, remedy = f"{report.max_missing:.2%}", "give a higher --max_missing"
            advice = f"{bound} may be left out. Get these files (again) or {remedy}."
            yield Finding(ERROR, f"{what}; {advice}", "unusable")
        elif split.share_left_out:
            yield Finding(WARNING, f"{what}: a build leaves them out and names them.", "unusable")
        if split.unavailable:
            text = f"{name}: {len(split.unavailable):,} listed but never published."
            yield Finding(NOTE, text, "unusable")
        if split.one_frame:
            text = f"{name}: {len(split.one_frame):,} clip(s) of a single frame."
            yield Finding(WARNING, text, "clips")


def _copies(report: Report) -> Iterator[Finding]:
    if groups := report.same_across_splits:
        clips = sum(map(len, groups))
        text = (
            f"{len(groups):,} clip(s) are in several splits, as {clips:,} ids: a test on what was"
        )
        yield Finding(WARNING, f"{text} trained on says too much.", "copies")
    if groups := report.same_within_split:
        text = f"{len(groups):,} clip(s) are several times in one split."
        yield Finding(WARNING, text, "copies")
    both = report.same_across_splits + report.same_within_split
    if unlike := sum(len({copy.label for copy in group}) > 1 for group in both):
        yield Finding(WARNING, f"{unlike:,} clip(s) have several labels.", "copies")


def _labels(report: Report) -> Iterator[Finding]:
    for name, split in report.splits.items():
        if absent := len(split.absent_labels):
            level = WARNING if name == "train" else NOTE
            text = f"{name}: no clip of {absent:,} of the {len(report.labels):,} labels."
            yield Finding(level, text, "labels")


def _signers(report: Report) -> Iterator[Finding]:
    if shared := len(report.shared_signers):
        text = f"{shared:,} signer(s) are in several splits: tests don't tell how well new people"
        yield Finding(NOTE, f"{text} are read.", "signers")
    elif not any(split.signers for split in report.splits.values()):
        yield Finding(NOTE, "Signers are unknown: the same person may be in all splits.", "splits")
