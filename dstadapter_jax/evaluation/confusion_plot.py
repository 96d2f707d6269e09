"""Confusion matrices as PNG files."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dstadapter_jax.html.charts import MAX_NAMED_CLASSES
from dstadapter_jax.visualization.figures import save_figure
from dstadapter_jax.visualization.text import drawable, font_families, shorten

MAX_NAME = 32  # characters; longer names would leave no room for the matrix


def draw_confusion(
    path: pathlib.Path, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> None:
    """Draws the confusion matrix of `(clips,)` true and predicted ids; rows sum to 1."""
    classes = len(names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.5 + 0.28 * classes, 4, 12))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    accuracy = float((labels == predictions).mean())
    axes.set(
        xlabel="predicted", ylabel="true", title=f"top-1 {accuracy:.1%} of {len(labels)} clips"
    )
    if classes <= MAX_NAMED_CLASSES:
        shown = [shorten(drawable(name), MAX_NAME) for name in names]
        # Matplotlib would take a name with two dollar signs for a formula.
        families = font_families(shown)
        axes.set_xticks(range(classes), shown, rotation=90, parse_math=False, family=families)
        axes.set_yticks(range(classes), shown, parse_math=False, family=families)
    figure.colorbar(picture, label="share of the true class", fraction=0.046)
    save_figure(figure, path)
