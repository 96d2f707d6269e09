"""Draws what the demo's two networks make of signs and their reverses, as film strips."""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.loader import example_views
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.demo.signs import REVERSED
from dstadapter_jax.evaluation.scores import Scores


def draw_pairs(
    path: pathlib.Path,
    dataset: ClipDataset,
    preprocess: PreprocessConfig,
    scores: dict[str, Scores],
) -> None:
    """Draws a test clip of each time-reversed sign: its eight frames, and each network's scores.

    Args:
        path: Of the PNG file.
        dataset: The demo's.
        preprocess: That of the runs.
        scores: Of the test split, by the name of the network.
    """
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
        _draw_scores(bar, dataset, row, scores)
    strips[0].set_title("the frames that the network sees, in order")
    bars[0].set_title("what it takes them for")
    figure.savefig(path, dpi=100)


def _draw_scores(axes: Axes, dataset: ClipDataset, row: int, scores: dict[str, Scores]) -> None:
    for place, (network, of_network) in enumerate(scores.items()):
        probabilities = of_network.probabilities[row]
        true = of_network.labels[row]
        best = int(probabilities.argmax())
        color = "tab:green" if best == true else "tab:red"
        axes.barh(place, probabilities[best], color=color, height=0.7)
        text = f" {network}: {dataset.label_names[best]} {probabilities[best]:.2f}"
        axes.text(0, place, text, va="center", fontsize=11)
    axes.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -0.5), xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
