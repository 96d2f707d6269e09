"""Contact sheets: clips as rows of frames with captions, with unchanged pixels."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from dstadapter_jax.visualization.text import render_line

MARGIN, GAP, ROW_GAP = 28, 4, 26  # around the sheet, between frames, between clips; pixels
MIN_TILE, MIN_WIDTH = 112, 880  # smaller frames are enlarged by a whole number
WHITE, INK, GRAY = 255, "#1a1a1a", "#6b6b6b"


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """A clip on the sheet.

    Attributes:
        label: Heading.
        details: Second line, in small letters.
        frame_captions: `T` captions below the frames.
        views: `(V, T, R, R, 3)` uint8; each view is a strip of frames.
    """

    label: str
    details: str
    frame_captions: Sequence[str]
    views: np.ndarray


def draw_sheet(path: pathlib.Path, title: str, subtitle: str, rows: Sequence[SheetRow]) -> None:
    """Draws a PNG file of clips with equal numbers and sizes of frames, and creates its folder.

    Small frames are enlarged by a whole number. The middle of a text that is too long is omitted.
    """
    num_frames, side = rows[0].views.shape[1:3]
    scale, step, width = layout(num_frames, side)
    blocks = [line(title, 19, width, bold=True), line(subtitle, 13, width, GRAY)]
    for row in rows:
        blocks += [blank(ROW_GAP, width), line(row.label, 17, width, bold=True)]
        blocks += [line(row.details, 13, width, GRAY), blank(GAP, width)]
        blocks += [strip(view, scale, width) for view in row.views]
        blocks.append(captions(row.frame_captions, step, width))
    save_sheet(path, blocks)


def layout(num_frames: int, side: int) -> tuple[int, int, int]:
    """Scale of frames of a side, distance between their left edges, and width of the sheet."""
    scale = max(1, math.ceil(MIN_TILE / side))
    step = side * scale + GAP
    return scale, step, max(MIN_WIDTH, num_frames * step - GAP)


def save_sheet(path: pathlib.Path, blocks: Sequence[np.ndarray]) -> None:
    """Writes blocks `(h, width, 3)` uint8 to a PNG file, from top to bottom within margins."""
    margins = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    sheet = np.pad(np.concatenate(blocks), margins, constant_values=WHITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, format="PNG")


def blank(height: int, width: int) -> np.ndarray:
    """An empty block."""
    return np.full((height, width, 3), WHITE, np.uint8)


def strip(view: np.ndarray, scale: int, width: int) -> np.ndarray:
    """A block with frames `(T, R, R, 3)` side by side and a gap below them."""
    side = view.shape[1] * scale
    block = blank(side + GAP, width)
    for place, frame in enumerate(view):
        left = place * (side + GAP)
        block[:side, left : left + side] = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    return block


def line(text: str, size: int, width: int, color: str = INK, *, bold: bool = False) -> np.ndarray:
    """A block with a line of text, shortened to fit."""
    block = blank(round(1.6 * size), width)
    # Placed by its baseline, so that an accent does not move the text.
    _write(block, text, size, color, baseline=round(1.15 * size), bold=bold)
    return block


def captions(texts: Sequence[str], step: int, width: int) -> np.ndarray:
    """A block with a caption below the middle of each frame."""
    block = blank(16, width)
    for place, text in enumerate(texts):
        column = block[:, place * step : (place + 1) * step - GAP]
        _write(column, text, 11, GRAY, baseline=12, centered=True)
    return block


def _write(
    block: np.ndarray,
    text: str,
    size: int,
    color: str,
    *,
    baseline: int,
    bold: bool = False,
    centered: bool = False,
) -> None:
    """Write a line of text into a block; parts above or below it are cut off."""
    coverage, ascent = render_line(text, size, block.shape[1], bold=bold)
    coverage = coverage[max(ascent - baseline, 0) :]
    top = max(baseline - ascent, 0)
    left = (block.shape[1] - coverage.shape[1]) // 2 if centered else 0
    target = block[top : top + len(coverage), left : left + coverage.shape[1]]
    ink = coverage[: len(target), :, np.newaxis] / 255
    target[:] = np.rint(target * (1 - ink) + 255 * np.array(to_rgb(color)) * ink)
