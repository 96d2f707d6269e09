"""Matplotlib figures as PNG files."""

import io
import pathlib

from matplotlib.figure import Figure

from dstadapter_jax.files.atomic import atomic_write


def save_figure(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG file, atomically."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    atomic_write(path, picture.getvalue())
