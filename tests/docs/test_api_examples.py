"""The examples of docs/api.md."""

import textwrap

from tests.helpers.processes import ROOT

PAGE = ROOT / "docs/api.md"


def run_example(start: str, end: str) -> dict:
    """Run the page's text from `start` to before `end` and return the names it defines."""
    text = PAGE.read_text()
    example = textwrap.dedent(text[text.index(start) : text.index(end)])
    names: dict = {}
    exec(compile(example, str(PAGE), "exec"), names)
    return names


def test_first_example_recognizes_the_demos_clip(monkeypatch):
    monkeypatch.chdir(ROOT)
    predictions = run_example("    from dstadapter_jax.inference.ranking", "`predict` returns")[
        "predictions"
    ]
    assert len(predictions) == 5
    assert predictions[0]["label"] == "raise"


def test_model_example_runs_as_written(capsys):
    names = run_example("    import numpy as np", "`load_weights(model, source)`")
    assert names["logits"].shape == (1, 5)
    assert "tensors loaded" in capsys.readouterr().out
