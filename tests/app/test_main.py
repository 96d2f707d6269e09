import importlib.util
import signal

import pytest

from dstadapter_jax.app import __main__ as app
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.errors import raises


def test_main_without_gradio_names_the_requirements(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with raises(where="gradio", advice="requirements-app.txt"):
        app.main(["--adapter", "signs.safetensors"])


@pytest.mark.skipif(
    not importlib.util.find_spec("gradio"), reason="needs pip install -r requirements-app.txt"
)
def test_ctrl_c_ends_the_server_and_leaves_no_files(tmp_path):
    from tests.helpers.app_server import serving, write_adapters

    adapters = write_adapters(tmp_path)
    clip = tmp_path / "clip.mp4"
    write_clip(clip, barcoded_frames(12, 48, 64))
    folder = tmp_path / "server"
    folder.mkdir()
    with serving(folder, *adapters) as server:
        server.upload(clip.read_bytes())  # which is never submitted
        assert server.left()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(120) == 130
    assert [path.name for path in folder.iterdir()] == ["log"]
    assert "Traceback" not in (folder / "log").read_text()
