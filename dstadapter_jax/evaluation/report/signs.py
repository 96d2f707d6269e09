"""What a page tells of signs: those that are confused most, and all of them."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np

from dstadapter_jax.evaluation.confusions import (
    ConfusedPair,
    confused_pairs,
    confusion_counts,
    typical_clip,
)
from dstadapter_jax.evaluation.report import charts
from dstadapter_jax.evaluation.report.evaluation import Evaluation
from dstadapter_jax.evaluation.report.intervals import percent
from dstadapter_jax.html.markup import Node, details, section, table, tag
from dstadapter_jax.inference.attribution import explain
from dstadapter_jax.visualization.film_strips import Strip, frames_text, strip_figure
from dstadapter_jax.visualization.heatmap import overlay_heatmap

MOST_PAIRS = 6


def confused_signs(evaluation: Evaluation) -> ET.Element:
    """The pairs that are most often taken for one another, with the frames of clips."""
    pairs = confused_pairs(confusion_counts(evaluation.results.scores), MOST_PAIRS)
    about = (
        "The pairs with the most clips taken for the other sign, a clip of each, and the frames of"
        " it that the network saw. Below them: what in these spoke for the sign it was taken for,"
        " and against the other one."
        if pairs
        else "No clip was taken for another sign."
    )
    shown = [_pair(evaluation, pair) for pair in pairs]
    return section("confused", "Most confused signs", tag("p", about, class_="soft"), *shown)


def _pair(evaluation: Evaluation, pair: ConfusedPair) -> ET.Element:
    (a, b), (there, back) = pair.labels, pair.counts
    first, second = (evaluation.results.label_names[label] for label in pair.labels)
    told = f"{_clips(there)} of {first} taken for {second}, {_clips(back)} of {second} for {first}."
    strips = _clip(evaluation, a, b), _clip(evaluation, b, a)
    return tag("div", tag("h3", f"{first} and {second}"), tag("p", told), *strips, class_="pair")


def _clips(count: int) -> str:
    return f"{count:,} clip{'s' * (count > 1)}" if count else "none"


def _clip(evaluation: Evaluation, label: int, taken_for: int) -> ET.Element:
    scores, names = evaluation.results.scores, evaluation.results.label_names
    place = typical_clip(scores, label, taken_for)
    if place is None:
        return tag("p", f"There is no clip of {names[label]} here.", class_="soft")
    strip = Strip.of(
        evaluation.dataset.source(evaluation.split)[place],
        evaluation.recognizer.preprocess,
        evaluation.recognizer.config["data"]["decoder"],
        evaluation.views,
    )
    best = int(scores.predictions[place])
    other = taken_for if best == label else label
    model = evaluation.recognizer.model
    patches = explain(model, strip.frames[np.newaxis], [best], [other]).patches[0]
    verdict = "recognized" if best == label else f"taken for {names[best]}"
    about = [f"probability {percent(scores.probabilities[place, best])}"]
    about += [f"signer {scores.signers[place]}"] * bool(scores.signers[place])
    about += [frames_text(strip.indices)]
    return strip_figure(
        strip,
        overlay_heatmap(strip.frames, np.asarray(patches)),
        f"a clip of {names[label]}",
        tag("b", names[label]),
        f" {verdict} · {' · '.join(about)} · ",
        tag("code", str(scores.ids[place])),
    )


def all_signs(evaluation: Evaluation) -> ET.Element:
    """The confusion matrix, and what is recognized of each sign."""
    counts = confusion_counts(evaluation.results.scores)
    names = evaluation.results.label_names
    about = "Blue: recognized. Red: taken for another sign. The darker, the larger the share of the"
    about += " sign's clips."
    rows = list(_rows(names, counts, evaluation.results.labels))
    header = ["sign", "top-1", "right", "clips", "most often taken for"]
    return section(
        "signs",
        "All signs",
        tag("p", about, class_="soft"),
        tag("div", charts.confusion(counts, names), class_="scroll"),
        details(f"Figures of all {len(rows):,} signs", table(header, rows, "figures signs")),
    )


def _rows(names: tuple[str, ...], counts: np.ndarray, labels: np.ndarray) -> Iterator[list[Node]]:
    totals = np.bincount(labels, minlength=len(names))  # those left out included
    for label, name in enumerate(names):
        right, total = int(counts[label, label]), int(totals[label])
        others = np.where(np.arange(len(names)) == label, 0, counts[label])
        most = int(others.argmax())
        taken_for = f"{names[most]} ({others[most]:,})" if others[most] else ""
        yield [
            name,
            percent(right / total) if total else "no clip",
            *(f"{right:,}", f"{total:,}", taken_for),
        ]
