"""Metrics and film strips of the demo's time-reversed sign pairs."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.records import example_views
from dstadapter_jax.demo.signs import REVERSED
from dstadapter_jax.evaluation.scores import Scores


def pair_metrics(scores: Scores, label_names: Sequence[str]) -> dict[str, Any]:
    """Metrics on the clips of the time-reversed signs.

    Returns:
        `pairs_top1`; `direction`, the share of clips whose sign has a higher score than its
        reverse, 0.5 by chance; and `pairs_num_clips`.
    """
    reverse, names = REVERSED | {b: a for a, b in REVERSED.items()}, list(label_names)
    rows = [row for row, label in enumerate(scores.labels) if names[label] in reverse]
    labels = scores.labels[rows]
    reversed_labels = [names.index(reverse[names[label]]) for label in labels]
    probabilities = scores.probabilities[rows]
    true, other = (probabilities[range(len(rows)), ids] for ids in (labels, reversed_labels))
    return {
        "pairs_top1": float((scores.predictions[rows] == labels).mean()),
        "direction": float((true > other).mean()),
        "pairs_num_clips": len(rows),
    }


def draw_pairs(
    path: pathlib.Path,
    dataset: ClipDataset,
    preprocess: PreprocessConfig,
    scores: dict[str, Scores],
) -> None:
    """Draw one test clip of each time-reversed sign: its frames and each network's prediction."""
    names = [name for pair in REVERSED.items() for name in pair]
    figure = Figure(figsize=(12.5, 1.16 * len(names)), layout="constrained")
    strips, bars = figure.subplots(len(names), 2, width_ratios=[8, 2]).T
    source = dataset.source("test")
    labels = next(iter(scores.values())).labels
    for strip, bar, name in zip(strips, bars, names, strict=True):
        row = int(np.flatnonzero(labels == dataset.label_names.index(name))[0])
        (view, *_), *_ = example_views(source[row], preprocess, "pyav", "test", None)
        strip.imshow(np.concatenate(view, axis=1))
        strip.set(xticks=[], yticks=[])
        strip.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        _draw_predictions(bar, dataset, row, scores)
    strips[0].set_title("the network's input frames, in order")
    bars[0].set_title("its prediction")
    figure.savefig(path, dpi=100)


def _draw_predictions(
    axes: Axes, dataset: ClipDataset, row: int, scores: dict[str, Scores]
) -> None:
    for position, (network, network_scores) in enumerate(scores.items()):
        probabilities = network_scores.probabilities[row]
        best = int(probabilities.argmax())
        color = "tab:green" if best == network_scores.labels[row] else "tab:red"
        axes.barh(position, probabilities[best], color=color, height=0.7)
        text = f" {network}: {dataset.label_names[best]} {probabilities[best]:.2f}"
        axes.text(0, position, text, va="center", fontsize=11)
    axes.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -0.5), xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
