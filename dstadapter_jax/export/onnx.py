"""Export the recognizer as one ONNX model with its weights.

    python -m dstadapter_jax.export onnx [--workdir DIR] -o signs.onnx [VIDEO …]

The model accepts any batch size and computes in float32. Its manifest, FILE.json, describes the
preprocessing and the labels. ONNX Runtime runs the file on the videos, by default on validation
clips of the run's dataset; the export fails if the probabilities differ from those of the model in
JAX. The last line on stdout is one JSON object with the largest difference.
"""

import importlib.util
import pathlib
from typing import Any

from dstadapter_jax.errors import UserError
from dstadapter_jax.export.manifest import INPUT, OUTPUT
from dstadapter_jax.export.program import ProgramFormat, Run, export_program
from dstadapter_jax.models.dstadapter import DSTAdapter

PACKAGES = ("onnx", "onnxruntime")


def build(model: DSTAdapter) -> tuple[bytes, dict[str, Any]]:
    """Content of the file, and its fields of the manifest's `Program`."""
    import onnx

    from dstadapter_jax.export.onnx_graph import onnx_model

    program = onnx_model(model)
    content = program.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    return content, {"opset": program.opset_import[0].version, "ir_version": program.ir_version}


def load(path: pathlib.Path) -> Run:
    """Load a file into ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda views: session.run([OUTPUT], {INPUT: views})[0]


def main(argv: list[str]) -> int:
    """Run the subcommand with these arguments and return its exit status."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                "export onnx",
                problem=f"the package {package} is not installed",
                advice="Install it: pip install -r requirements-onnx.txt",
            )
    program = ProgramFormat("onnx", build, load, PACKAGES)
    return export_program(program, str(__doc__), argv)
