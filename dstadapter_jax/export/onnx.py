"""Exports the recognizer as one ONNX model, its weights inside.

    python -m dstadapter_jax.export onnx --workdir DIR -o signs.onnx [VIDEO …]

It takes any batch and computes in float32. Beside it, as FILE.json, goes the contract: how a video
becomes the model's input, and the labels. ONNX Runtime then runs the file on the videos, or else on
validation clips of the run's dataset; if it gives other probabilities than the model in JAX, that
is an error. Stdout gets one JSON object with the largest difference.
"""

import importlib.util
import pathlib
from typing import Any

from dstadapter_jax.export.manifest import INPUT, OUTPUT
from dstadapter_jax.export.program import Format, Run, export_program
from dstadapter_jax.models.dstadapter import DSTAdapter

PACKAGES = ("onnx", "onnxruntime")


def build(model: DSTAdapter) -> tuple[bytes, dict[str, Any]]:
    """The file's content, and what to know of the format."""
    import onnx

    from dstadapter_jax.export.onnx_graph import onnx_model

    program = onnx_model(model)
    content = program.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    return content, {"opset": program.opset_import[0].version, "ir_version": program.ir_version}


def load(path: pathlib.Path) -> Run:
    """What the model in a file computes, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda views: session.run([OUTPUT], {INPUT: views})[0]


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"export onnx needs the package {package}: pip install -r requirements-onnx.txt"
            )
    program = Format("onnx", build, load, PACKAGES)
    return export_program(program, str(__doc__), argv)
