"""Explanations as pictures: relevance over the frames, contributions of frames, gates."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from dstadapter_jax.data.clips import Clip
from dstadapter_jax.inference.attribution import Attribution, explain
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.visualization.contact_sheet import (
    GAP,
    GRAY,
    INK,
    MIN_TILE,
    ROW_GAP,
    blank,
    captions,
    layout,
    line,
    save_sheet,
    strip,
)
from dstadapter_jax.visualization.heatmap import blend, overlay_heatmap

# Okabe and Ito's blue and vermilion, which color-blind people can distinguish.
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
DPI = 100


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A clip and the attribution of its predicted label.

    Attributes:
        label: Heading, with the predicted label.
        details: Second line, in small letters.
        frame_captions: `T` captions below the frames.
        view: `(T, R, R, 3)` uint8, the explained view.
        attribution: Attribution of this view.
        baseline: What the label's logit is compared with.
    """

    label: str
    details: str
    frame_captions: Sequence[str]
    view: np.ndarray
    attribution: Attribution
    baseline: str = "the mean of all labels"


def draw_explanations(path: pathlib.Path, explanations: Sequence[Explanation]) -> None:
    """Draws a PNG file of one or more clips with equal numbers and sizes of frames."""
    blocks = []
    for explanation in explanations:
        parts = explanation_blocks(explanation)
        blocks += [*parts, blank(ROW_GAP, parts[0].shape[1])]
    save_sheet(path, blocks[:-1])


def explanation_blocks(explanation: Explanation) -> list[np.ndarray]:
    """The parts of one clip's picture, `(h, width, 3)` uint8, from top to bottom."""
    view, attribution = explanation.view, explanation.attribution
    scale, step, width = layout(*view.shape[:2])
    (contributions,), (patches,) = attribution.frame_contributions, attribution.patches
    # Enlarged before coloring, so that the heat map is smooth.
    large = view.repeat(scale, axis=1).repeat(scale, axis=2)
    title = "Contribution of each frame to this label's logit over"
    title += f" {explanation.baseline}: {contributions.sum():+.2f} in total"
    return [
        line(explanation.label, 19, width, bold=True),
        line(explanation.details, 13, width, GRAY),
        blank(GAP, width),
        strip(view, scale, width),
        strip(overlay_heatmap(large, patches), 1, width),
        captions(explanation.frame_captions, step, width),
        blank(GAP, width),
        line(title, 12, width),
        _draw_contributions(contributions, step, width),
        blank(2 * GAP, width),
        _draw_panels(attribution, width),
    ]


def _draw_contributions(contributions: np.ndarray, step: int, width: int) -> np.ndarray:
    """Draws a bar below the middle of each frame."""
    figure = _figure(width, 80)
    axes = figure.add_axes((0, 0.02, 1, 0.96))
    middles = np.arange(len(contributions)) * step + (step - GAP) / 2
    colors = np.where(contributions < 0, NEGATIVE, POSITIVE)
    bars = axes.bar(middles, contributions, MIN_TILE / 2, color=colors)
    axes.bar_label(bars, fmt="{:+.2f}", padding=2, fontsize=8, color=INK)
    axes.axhline(0, color=GRAY, linewidth=0.8)
    axes.set_xlim(0, width)
    axes.margins(y=0.3)
    axes.axis("off")
    return _pixels(figure)


def _draw_panels(attribution: Attribution, width: int) -> np.ndarray:
    """Draws the color scale, the gates and the temporal mixing side by side."""
    figure = _figure(width, 150)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0, h_pad=0, wspace=0.1))
    scale, gates, temporal_mixing = figure.subplots(1, 3, width_ratios=(1, 2, 2))
    _draw_scale(scale, attribution)
    _draw_gates(gates, attribution)
    layers = np.arange(1, attribution.temporal_mixing.shape[1] + 1)
    temporal_mixing.bar(layers, 100 * attribution.temporal_mixing[0], 0.5, color=POSITIVE)
    _label(temporal_mixing, "Share from the previous and next frame, %", "layer")
    return _pixels(figure)


def _draw_scale(axes: Axes, attribution: Attribution) -> None:
    ramp = np.linspace(0, 1, 256)[None]
    extent = (0, float(attribution.patches.max()) * attribution.patches.size, 0, 1)
    axes.imshow(blend(np.full_like(ramp, 128), ramp), extent=extent, aspect="auto")
    _label(axes, "Relevance of a patch", "times the average patch's")
    axes.set(yticks=(), box_aspect=0.12, anchor="NW")


def _draw_gates(axes: Axes, attribution: Attribution) -> None:
    """Draws minimum, quartiles and maximum of each layer's gates."""
    for name, (gates,), color, offset in (
        ("temporal", attribution.temporal_gates, POSITIVE, -0.18),
        ("spatial", attribution.spatial_gates, NEGATIVE, 0.18),
    ):
        axes.boxplot(
            list(gates),
            positions=np.arange(1, len(gates) + 1) + offset,
            widths=0.28,
            whis=(0, 100),
            manage_ticks=False,
            patch_artist=True,
            label=name,
            boxprops={"facecolor": color, "edgecolor": color},
            medianprops={"color": INK},
            whiskerprops={"color": color},
            capprops={"color": color},
        )
    _label(axes, "Gates of the adapters", "layer")
    axes.set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.02, 0.96))


def _label(axes: Axes, title: str, xlabel: str) -> None:
    axes.set_title(title, fontsize=9, loc="left", color=INK)
    axes.set_xlabel(xlabel, fontsize=8, color=GRAY)
    axes.tick_params(labelsize=8, colors=GRAY, length=0)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[:].set_visible(False)


def _figure(width: int, height: int) -> Figure:
    """A figure of a size in pixels; half a pixel more, since Matplotlib rounds down."""
    return Figure(figsize=((width + 0.5) / DPI, (height + 0.5) / DPI), dpi=DPI)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def explain_best(
    recognizer: Recognizer, name: str, clip: Clip, predictions: list[dict[str, Any]]
) -> Explanation:
    """Explains the best label of a clip on its center crop."""
    best, *others = predictions
    view = clip.views[-1]
    next_best = [f"{other['label']} {other['probability']:.1%}" for other in others[:2]]
    details = [name, "next: " + ", ".join(next_best)] if others else [name]
    if len(clip.views) > 1:
        details.append(f"shown: the middle one of {clip.counts.sum()} crops")
    return Explanation(
        label=f"{best['label']}  {best['probability']:.1%}",
        details="  ·  ".join(details),
        frame_captions=[f"frame {index}" for index in clip.indices],
        view=view,
        attribution=explain(recognizer.model, view[np.newaxis], [best["id"]]),
    )
