"""Export the recognizer as one StableHLO program with its weights, by `jax.export`.

    python -m dstadapter_jax.export stablehlo [--workdir DIR] -o signs.stablehlo [VIDEO …]

The program runs on CPUs, NVIDIA GPUs and TPUs, accepts any batch size and computes in float32. Its
manifest, FILE.json, describes the preprocessing and the labels. The file is read back and run on
the videos, by default on validation clips of the run's dataset; the export fails if the
probabilities differ from the model's. The last line on stdout is one JSON object with the largest
difference.
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from jax import export

from dstadapter_jax.export.program import ProgramFormat, Run, export_program
from dstadapter_jax.inference.recognizer import view_probabilities
from dstadapter_jax.models.dstadapter import DSTAdapter

PLATFORMS = ("cpu", "cuda", "tpu")


def build(model: DSTAdapter) -> tuple[bytearray, dict[str, Any]]:
    """Content of the file, and its fields of the manifest's `Program`."""
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
    """Load a file for the default device."""
    program = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda views: np.asarray(program(views))


def main(argv: list[str]) -> int:
    """Run the subcommand with these arguments and return its exit status."""
    program = ProgramFormat("stablehlo", build, load, packages=("jax", "jaxlib", "flax"))
    return export_program(program, str(__doc__), argv)
