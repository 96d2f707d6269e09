"""The page over HTTP: answers, messages, limits, and deletion of uploads."""

import contextlib
import importlib.util
import pathlib
import re

import httpx
import numpy as np
import pytest

from dstadapter_jax.app import __main__ as app
from dstadapter_jax.app.hardening.decoder import Decoder
from dstadapter_jax.data.clips import Clip, ClipLimits
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer
from tests.helpers.adapters import write_diverged
from tests.helpers.app_server import serving, write_adapters
from tests.helpers.clips import barcoded_frames, write_clip

with_gradio = pytest.mark.skipif(
    not importlib.util.find_spec("gradio"), reason="needs pip install -r requirements-app.txt"
)
CFG = PreprocessConfig(num_frames=4, resolution=32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, barcoded_frames(12, 48, 64))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    adapters = write_adapters(tmp_path_factory.mktemp("adapters"))
    with serving(folder, *adapters, "--max_megabytes=2") as server:
        yield server
    assert server.process.returncode == 0
    assert [path.name for path in folder.iterdir()] == ["log"]


@with_gradio
def test_answer_of_a_clip_ranks_labels_and_deletes_it(server, clip):
    answer = server.answer(clip.read_bytes())
    assert answer.count("<li><span") == 3
    assert answer.count("<img") == 2 * 4
    shares = [float(share) for share in re.findall(r'"share">([\d.]+)%', answer)]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == sorted(shares, reverse=True)
    assert not server.left()


@with_gradio
def test_answer_escapes_labels(server, clip):
    answer = server.answer(clip.read_bytes(), language="two")
    assert "&lt;img src=x onerror=" in answer
    assert "<img src=x" not in answer


@with_gradio
@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"#EXTM3U\n/etc/passwd"],
)
def test_answer_of_a_file_that_is_not_a_video_is_a_message(server, content):
    answer = server.answer(content)
    assert re.fullmatch(r'<p class="message error" role="alert">[^<>]+</p>', answer)
    assert str(server.folder) not in answer
    assert not server.left()


@with_gradio
def test_answer_without_a_clip_is_an_error_message(server):
    assert 'role="alert"' in server.ask(None)["output"]["data"][0]


@with_gradio
def test_clips_with_too_many_frames_or_bytes_are_refused(server, tmp_path):
    path = tmp_path / "long.mp4"
    frames = np.zeros((3601, 16, 16, 3), np.uint8)
    write_clip(path, frames, fps=100, options={"preset": "ultrafast"})
    answer = server.answer(path.read_bytes())
    assert "3,600" in answer
    assert "3,600" in answer
    refused = server.upload(bytes(2_200_000))
    assert refused.status_code == 413
    assert "2,097,152 bytes" in refused.text
    assert not server.left()


@with_gradio
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "http://127.0.0.1:9/clip.mp4", "FOLDER/../clip.mp4", "FOLDER", ""]
)
def test_answer_of_a_path_that_is_not_an_upload_is_refused(server, path, clip):
    event = server.ask(path.replace("FOLDER", str(server.folder)))
    assert not event["success"]
    assert str(server.folder) not in str(event)
    assert "etc" not in str(event)


@with_gradio
def test_page_with_proxies_in_the_environment_starts(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")  # httpx needs a package for it
    with serving(tmp_path, "--adapter=demo") as server:
        assert server.client.get(server.url).status_code == 200


@with_gradio
def test_gate_serves_only_what_the_page_needs(server, clip):
    def status(path: str, **options) -> int:
        return httpx.get(server.url + path, **options).status_code

    page = httpx.get(server.url)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in (
        "docs",
        "openapi.json",
        "gradio_api/openapi.json",
        "monitoring",
        "gradio_api/runs",
        "gradio_api/proxy=http://127.0.0.1/",
        "gradio_api/call/answer/x",
        "gradio_api/vibe-code/",
    ):
        assert status(path) == 404, path
    log, readme = server.folder.parent / "log", pathlib.Path(app.__file__).parents[2] / "README.md"
    for path in ("/etc/passwd", log, readme, "README.md", "http://127.0.0.1:9/"):
        assert status(f"gradio_api/file={path}", follow_redirects=False) in (403, 404), path
    assert status("", headers={"Host": "evil.example"}) == 400
    chunked = httpx.post(f"{server.url}gradio_api/upload", content=iter([b"x"]))
    assert chunked.status_code == 411


@with_gradio
@pytest.mark.parametrize("name", ["page.html", "picture.svg"])
def test_uploads_are_served_as_attachments(server, name):
    (path,) = server.upload(b"<svg xmlns='http://www.w3.org/2000/svg' onload='a'/>", name).json()
    answer = server.client.get(f"{server.url}gradio_api/file={path}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    server.ask(path)


@with_gradio
def test_answering_with_a_diverged_model_fails_at_warm_up_and_shows_an_error_later(tmp_path):
    from dstadapter_jax.app.page import Answering

    diverged = Recognizer.load_adapter(*write_diverged(tmp_path))
    views = np.zeros((1, CFG.num_frames, CFG.resolution, CFG.resolution, 3), np.uint8)
    with contextlib.closing(Decoder(ClipLimits(), seconds=30)) as decoder:
        answering = Answering({"one": diverged}, decoder, tmp_path)
        with pytest.raises(NonFiniteOutputError):
            answering.warm_up()
        answer = answering.answer_again(Clip(views, np.ones(1, np.int64), np.arange(4)), "one")
    assert 'role="alert"' in answer
