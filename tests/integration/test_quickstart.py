"""The notebook `docs/quickstart.ipynb`, executed on the CPU."""

import importlib.util
import os
import pathlib
import sys

import pytest

from dstadapter_jax.demo.signs import render_vocabulary

NOTEBOOK = pathlib.Path(__file__).parents[2] / "docs/quickstart.ipynb"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not importlib.util.find_spec("nbclient"), reason="needs pip install -r requirements-dev.txt"
    ),
]


def test_quickstart_notebook_runs_from_recognition_to_export(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")  # as users compile
    demo = pathlib.Path(os.environ.get("DEMO_WORKDIR", tmp_path / "demo")).absolute()
    recordings, run = tmp_path / "recordings", tmp_path / "run"
    render_vocabulary(recordings, takes=1)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (parameters,) = (cell for cell in codes if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = "\n".join(
        [
            f"WORKDIR, RECORDINGS, RUN = {str(demo)!r}, {str(recordings)!r}, {str(run)!r}",
            "CONFIG, FLAGS = 'configs/demo.py', '--config.num_epochs=1'",
        ]
    )
    for cell in codes:
        if cell.source.startswith("!"):
            cell.source += "\nassert _exit_code == 0, _exit_code"
    kernel = {"kernel_name": "python3", "resources": {"metadata": {"path": str(NOTEBOOK.parent)}}}
    # The kernel of this very environment, whatever kernels are registered on the machine.
    monkeypatch.setenv(
        "PATH", f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    NotebookClient(notebook, timeout=900, **kernel).execute()

    texts = ["".join(o.get("text", "") for o in cell.outputs) for cell in codes]
    (recognized,) = (
        t for cell, t in zip(codes, texts, strict=True) if "--adapter demo" in cell.source
    )
    assert '"predictions": [{"label": "raise"' in recognized
    pictures = [o for cell in codes for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2
    assert (run / "signs.safetensors").exists()
