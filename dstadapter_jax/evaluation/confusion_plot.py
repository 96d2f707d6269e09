"""Confusion matrices as PNG files."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from dstadapter_jax.html.charts import MAX_NAMED_CLASSES
from dstadapter_jax.visualization.figures import save_figure


def draw_confusion(
    path: pathlib.Path, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> None:
    """Draws a confusion matrix with rows that sum to 1.

    Args:
        path: The PNG file.
        labels: `(clips,)` true ids.
        predictions: `(clips,)` predicted ids.
        names: Class names by id.
    """
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
        shown = names if _drawable("".join(names)) else [str(label) for label in range(classes)]
        # Matplotlib would take a name with two dollar signs for a formula.
        axes.set_xticks(range(classes), shown, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), shown, parse_math=False)
    figure.colorbar(picture, label="share of the true class", fraction=0.046)
    save_figure(figure, path)


def _drawable(text: str) -> bool:
    """Whether Matplotlib's own font has these characters; it lacks Chinese, for example."""
    glyphs = get_font(findfont("DejaVu Sans")).get_charmap()
    return all(ord(character) in glyphs for character in text)
