"""The example of docs/api.md that needs no files."""

import pathlib
import textwrap

PAGE = pathlib.Path(__file__).parents[2] / "docs/api.md"


def test_model_example_runs_as_written(capsys):
    text = PAGE.read_text()
    start = text.index("    import numpy as np")
    example = textwrap.dedent(text[start : text.index("`load_weights(model, source)`")])
    names: dict = {}
    exec(compile(example, str(PAGE), "exec"), names)
    assert names["logits"].shape == (1, 5)
    assert "tensors loaded" in capsys.readouterr().out
