"""Exports the recognizer as one StableHLO program, its weights inside, by `jax.export`.

    python -m dstadapter_jax.export stablehlo --workdir DIR -o signs.stablehlo [VIDEO …]

It runs on CPUs, NVIDIA GPUs and TPUs, for any batch, in float32. Beside it, as FILE.json, goes the
contract: how a video becomes the program's input, and the labels. The file is read back and run on
the videos, or else on validation clips of the run's dataset; if it gives other probabilities than
the model, that is an error. Stdout gets one JSON object with the largest difference.
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from jax import export

from dstadapter_jax.export.program import Format, Run, export_program
from dstadapter_jax.inference.recognizer import view_probabilities
from dstadapter_jax.models.dstadapter import DSTAdapter

PLATFORMS = ("cpu", "cuda", "tpu")


def build(model: DSTAdapter) -> tuple[bytearray, dict[str, Any]]:
    """The file's content, and what to know of the format."""
    side = model.cfg.input_resolution
    shape = export.symbolic_shape(f"batch, {model.cfg.num_frames}, {side}, {side}, 3")
    program = export.export(
        jax.jit(functools.partial(view_probabilities, model)), platforms=PLATFORMS
    )(jax.ShapeDtypeStruct(shape, np.uint8))
    return program.serialize(), {
        "platforms": program.platforms,
        "calling_convention_version": program.calling_convention_version,
    }


def load(path: pathlib.Path) -> Run:
    """What the program in a file computes."""
    program = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda views: np.asarray(program(views))


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    program = Format("stablehlo", build, load, packages=("jax", "jaxlib", "flax"))
    return export_program(program, str(__doc__), argv)
