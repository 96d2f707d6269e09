"""Pictures of a run for its workdir: training curves and confusion matrix."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from dstadapter_jax.training.workdir import read_metrics, write_whole

NAMED_CLASSES = 40  # more names than that can't be read along an axis


def draw_confusion(
    path: pathlib.Path, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> None:
    """Draws the share of each true class (row) that was taken for each class (column).

    Args:
        path: Of the PNG file.
        labels: `(clips,)` true ids.
        predictions: `(clips,)` predicted ids.
        names: By id.
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
    if classes <= NAMED_CLASSES:
        shown = names if _drawable("".join(names)) else [str(label) for label in range(classes)]
        # Without mathtext, to which a name with two dollar signs would be a formula.
        axes.set_xticks(range(classes), shown, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), shown, parse_math=False)
    figure.colorbar(picture, label="share of the true class", fraction=0.046)
    _save(figure, path)


def _drawable(text: str) -> bool:
    """Whether matplotlib's own font has these characters; it lacks those of Chinese, say."""
    glyphs = get_font(findfont("DejaVu Sans")).get_charmap()
    return all(ord(character) in glyphs for character in text)


def draw_curves(path: pathlib.Path, metrics: pathlib.Path) -> None:
    """Draws loss, learning rate and validation accuracy from a `metrics.jsonl` to a PNG file."""
    rows = read_metrics(metrics)
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    _curve(panels[0], rows, "loss", "training loss")
    _curve(panels[1], rows, "learning_rate", "learning rate")
    _curve(panels[2], rows, "val_top1", "validation top-1", marker="o", ylim=(0, 1.02))
    _save(figure, path)


def _save(figure: Figure, path: pathlib.Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    write_whole(path, picture.getvalue())


def _curve(
    axes: Axes,
    rows: list[dict],
    key: str,
    title: str,
    marker: str = "",
    ylim: tuple[float, float] | None = None,
) -> None:
    points = [(row["epoch"], row[key]) for row in rows if key in row]
    if points:
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=4)
    axes.set(xlabel="epoch", title=title, ylim=ylim)
    axes.grid(alpha=0.3)
