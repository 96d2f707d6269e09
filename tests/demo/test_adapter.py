import json
import pathlib

from dstadapter_jax import demo, predict
from dstadapter_jax.adapters.file import read_adapter
from dstadapter_jax.demo.signs import SIGNS

CLIP = pathlib.Path(demo.__file__).with_name("raise.mp4")


def test_shipped_adapter_knows_the_demos_signs_and_has_spotting_settings():
    adapter, weights = read_adapter("demo")
    assert adapter.label_names == tuple(sorted(SIGNS))
    assert adapter.metrics["test"]["top1"] > 0.9
    assert adapter.spotting is not None
    assert weights.keys() == adapter.shapes.keys()


def test_predict_with_the_shipped_adapter_recognizes_the_shipped_clip(capsys):
    assert predict.main(["--adapter", "demo", str(CLIP)]) == 0
    (best, *_) = json.loads(capsys.readouterr().out)["predictions"]
    assert best["label"] == "raise"
    assert best["probability"] > 0.5
