"""The page on a run's results on a split."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.calibration import Calibration
from dstadapter_jax.evaluation.report import charts
from dstadapter_jax.evaluation.report.caveats import caveats
from dstadapter_jax.evaluation.report.evaluation import Evaluation
from dstadapter_jax.evaluation.report.intervals import (
    TITLES,
    about_intervals,
    card,
    interval_text,
    percent,
    scale,
)
from dstadapter_jax.evaluation.report.provenance import of_clips, of_run
from dstadapter_jax.evaluation.report.signs import all_signs, confused_signs
from dstadapter_jax.evaluation.signers import SignerAccuracy, signer_accuracies
from dstadapter_jax.html.markup import Node, cut_table, finding_list, page, section, table, tag


def render(evaluation: Evaluation) -> str:
    """Returns the page: HTML that needs no other file."""
    return page(
        f"{evaluation.summary['dataset']}, {evaluation.split}: results",
        _head(evaluation),
        _signers(evaluation),
        confused_signs(evaluation),
        all_signs(evaluation),
        _calibration(evaluation),
        of_clips(evaluation),
        of_run(evaluation),
        css=charts.CSS,
    )


def _head(evaluation: Evaluation) -> ET.Element:
    summary = evaluation.summary
    about = f"{evaluation.split} split · {summary['num_clips']:,} clips · views: {summary['views']}"
    about += f" · step {summary['step']:,}"
    cards = [_card(name, summary) for name in bootstrap.METRICS]
    found = caveats(evaluation)
    return tag(
        "header",
        tag("p", "Results", class_="soft"),
        tag("h1", summary["dataset"]),
        tag("p", about, class_="soft"),
        tag("div", *cards, class_="cards"),
        *([finding_list(found)] if found else []),
        about_intervals(len(set(evaluation.results.signers) - {""})),
    )


def _card(name: str, summary: Mapping[str, Any]) -> ET.Element:
    value, intervals = summary[name], summary["intervals"]
    ends = {"over clips": intervals["over_clips"][name]}
    if intervals["over_signers"]:
        ends["over signers"] = intervals["over_signers"][name]
    told = {over: interval_text(of) for over, of in ends.items()}
    return card(TITLES[name], percent(value), scale(value, *ends.values()), told)


def _signers(evaluation: Evaluation) -> ET.Element | None:
    every = signer_accuracies(evaluation.results)
    known = [name for name in every if name]
    if not known:
        return None
    (worst, of_worst), (best, of_best) = ((name, every[name]) for name in (known[0], known[-1]))
    text = f"The worst recognized is {worst}: {of_worst.num_right:,} of {of_worst.num_clips:,}"
    text += f" clips, {percent(of_worst.top1)}. The best is {best}: {percent(of_best.top1)}."
    shared = evaluation.summary["shared_signers"]
    return section(
        "signers",
        "Signers",
        *([tag("p", text)] if len(known) > 1 else []),
        *cut_table(
            ["signer", "0 to 100%", "top-1", "95% over clips", "clips"],
            [_signer_row(name, of, shared) for name, of in every.items()],
            "figures signers",
        ),
    )


def _signer_row(name: str, of: SignerAccuracy, shared: Mapping[str, list[str]]) -> list[Node]:
    also_in = [split for split, signers in shared.items() if name in signers]
    title: Node = name or tag("i", "unknown")
    if also_in:
        title = tag("span", name, tag("span", f" in {' and '.join(also_in)}, too", class_="soft"))
    interval = of.interval
    line = scale(of.top1, interval)
    return [title, line, percent(of.top1), interval_text(interval), f"{of.num_clips:,}"]


def _calibration(evaluation: Evaluation) -> ET.Element:
    scores = evaluation.results.scores
    found = Calibration.of(scores.probabilities, scores.labels)
    num_bins = len(found.counts)
    about = (
        f"Expected calibration error {percent(found.ece)}: so far off are the probabilities on"
        f" average, in {num_bins} bins of one width. A recognizer whose bars end on the dashed line"
        " is right as often as it is sure. Red: less often; green: more often. Bins of few clips"
        " tell little."
    )
    if evaluation.summary["num_missing"]:
        about += " Clips that were left out have no probabilities and are in no bin."
    rows = [
        [
            f"{place / num_bins:.0%} to {(place + 1) / num_bins:.0%}",
            *(percent(means[place]) for means in (found.confidence, found.accuracy)),
            f"{count:,}",
        ]
        for place, count in enumerate(found.counts.tolist())
        if count
    ]
    bins = table(["probability", "mean", "right", "clips"], rows, "figures")
    chart = tag("div", charts.reliability(found), bins, class_="chart")
    return section("calibration", "Calibration", tag("p", about, class_="soft"), chart)
