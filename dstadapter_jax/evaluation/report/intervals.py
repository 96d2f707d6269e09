"""Intervals of metrics for a page, and their explanation."""

from collections.abc import Mapping
from typing import Any

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.html.formats import Interval

TITLES = dict(zip(bootstrap.METRICS, ("Top-1", "Top-5", "Mean class accuracy"), strict=True))
FEW_SIGNERS = 10  # intervals over fewer are known to be too narrow


def metric_intervals(summary: Mapping[str, Any], metric: str) -> dict[str, Interval | None]:
    """The intervals of a metric in a JSON summary by what is resampled, such as `over clips`."""
    intervals = summary["intervals"]
    found = {"over clips": intervals["over_clips"][metric]}
    if intervals["over_signers"]:
        found["over signers"] = intervals["over_signers"][metric]
    return found


def explain_intervals(num_signers: int, *, paired: bool = False) -> str:
    """Explains the intervals of a page; `paired` ones are of differences between two runs."""
    method = f"paired {bootstrap.METHOD}" if paired else bootstrap.CLIPS_METHOD
    text = (
        f"95% intervals. Over clips (band): {method}. They describe other clips of the same people;"
        " clips of one signer are not independent, so for new people this interval is too narrow."
    )
    if num_signers < bootstrap.MIN_SIGNERS:
        text += (
            f" Over signers: none, since {num_signers or 'no'} signers are known and at least"
            f" {bootstrap.MIN_SIGNERS} are needed."
        )
    else:
        text += (
            f" Over signers (frame): {bootstrap.METHOD}, each signer drawn with all clips. They"
            f" describe {num_signers} other people."
        )
        if num_signers < FEW_SIGNERS:
            text += " With so few signers this is rough: rely on the wider of the two."
    if paired:
        text += " Neither interval covers training with another seed."
    return text
