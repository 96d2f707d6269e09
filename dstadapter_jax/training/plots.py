"""Training curves as a PNG file."""

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dstadapter_jax.training.logging import read_metrics
from dstadapter_jax.visualization.figures import save_figure


def draw_curves(path: pathlib.Path, metrics: pathlib.Path) -> None:
    """Draw loss, learning rate and validation accuracy of a `metrics.jsonl` as a PNG file."""
    rows = read_metrics(metrics)
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    _curve(panels[0], rows, "loss", "training loss")
    _curve(panels[1], rows, "learning_rate", "learning rate")
    _curve(panels[2], rows, "val_top1", "validation top-1", marker="o", ylim=(0, 1.02))
    save_figure(figure, path)


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
