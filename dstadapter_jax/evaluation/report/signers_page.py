"""The page on leave-one-signer-out cross-validation."""

import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.report.intervals import FEW_SIGNERS, TITLES
from dstadapter_jax.html.formats import counted, percent
from dstadapter_jax.html.page import NOTE, WARNING, Finding, by_severity, render

TEMPLATE = Path(__file__).with_name("signers.html")


def render_signers(result: Mapping[str, Any], folders: Mapping[str, str]) -> str:
    """Renders the page as HTML that needs no other file.

    Args:
        result: Contents of `leave_one_signer_out.json`.
        folders: Signer to the folder of the run that left the signer out, relative to the page.
    """
    signers = dict(sorted(result["signers"].items(), key=lambda item: item[1]["top1"]))
    intervals = result["intervals"]["over_signers"]
    return render(
        TEMPLATE,
        result=result,
        any_signer=next(iter(signers.values())),
        num_clips=sum(signer["num_clips"] for signer in signers.values()),
        metrics={
            TITLES[name]: (
                result["mean"][name],
                intervals[name],
                [signer[name] for signer in signers.values()],
            )
            for name in bootstrap.METRICS
        },
        findings=by_severity(_findings(result)),
        method=bootstrap.METHOD,
        few_signers=len(signers) < FEW_SIGNERS,
        signers=signers,
        reports={
            name: f"{urllib.parse.quote(folder)}/report_test.html"
            for name, folder in folders.items()
        },
    )


def _findings(result: Mapping[str, Any]) -> Iterator[Finding]:
    done = result["signers"]
    if left := len(result["all_signers"]) - len(done):
        text = f"{counted(left, 'signer')} not evaluated yet: run the same command to continue."
        yield Finding(WARNING, text, "signers")
    worst = result["worst_signer"]
    yield Finding(NOTE, f"Lowest top-1: {worst}, {percent(done[worst]['top1'])}.", "signers")
    if missing := sum(signer["num_missing"] for signer in done.values()):
        text = f"{counted(missing, 'clip')} missing or damaged, counted as wrong."
        yield Finding(WARNING, text, "signers")
