"""The page over real HTTP: answers, messages, bounds, and nothing left behind."""

import contextlib
import importlib.util
import pathlib
import re
import signal
import time

import numpy as np
import pytest

from dstadapter_jax.app import __main__ as app
from dstadapter_jax.app.decoder import Decoder
from dstadapter_jax.app.uploads import check_upload, delete_upload, sweep
from dstadapter_jax.data.clips import Clip, ClipLimits, read_clip_file
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.recognizer import Recognizer
from tests.helpers.adapters import write_diverged
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
    from tests.helpers.app_server import serving, write_adapters

    folder = tmp_path_factory.mktemp("server")
    adapters = write_adapters(tmp_path_factory.mktemp("adapters"))
    with serving(folder, *adapters, "--max_megabytes=2") as server:
        yield server
    assert server.process.returncode == 0
    assert [path.name for path in folder.iterdir()] == ["log"]


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-app\.txt"):
        app.main(["--adapter", "signs.safetensors"])


def test_limits_are_checked_before_decoding(clip, tmp_path):
    read_clip_file(str(clip), CFG, limits=ClipLimits(12, 0.4))
    with pytest.raises(ClipError, match="has 12 frames, more than 11: cut it to one sign"):
        read_clip_file(str(clip), CFG, limits=ClipLimits(11))
    slow = tmp_path / "slow.mp4"
    write_clip(slow, barcoded_frames(2, 32, 48), pts=[0, 36_000 * 30])
    with pytest.raises(ClipError, match="seconds, more than 60"):
        read_clip_file(str(slow), CFG, limits=ClipLimits(seconds=60))


def test_the_decoding_process_reads_as_the_command_does_and_survives_its_end(clip, tmp_path):
    decoder = Decoder(ClipLimits(), seconds=30)
    try:
        expected = read_clip_file(str(clip), CFG)
        for _ in range(2):
            for found, wanted in zip(decoder.read(str(clip), CFG, "pyav"), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
            with pytest.raises(ClipError, match="No such file"):
                decoder.read(str(tmp_path / "none.mp4"), CFG, "pyav")
            decoder._process.kill()
            decoder._process.wait()
            with pytest.raises(ClipError, match="makes the video decoder fail"):
                decoder.read(str(clip), CFG, "pyav")
    finally:
        decoder.close()


def test_decoding_ends_at_its_time_limit(tmp_path):
    path = tmp_path / "long.mp4"
    frames = np.repeat(barcoded_frames(8, 240, 320), 100, axis=0)
    write_clip(path, frames, options={"preset": "ultrafast"})
    decoder = Decoder(ClipLimits(), seconds=0.05)
    try:
        start = time.perf_counter()
        with pytest.raises(ClipError, match=r"takes longer than 0\.05 seconds"):
            decoder.read(str(path), CFG, "pyav")
        assert time.perf_counter() - start < 60  # another process is started in its place
    finally:
        decoder.close()


def test_uploads_are_told_from_other_files_and_go(tmp_path):
    folder = tmp_path.resolve() / "folder"
    upload = folder / "hash" / "clip.mp4"
    upload.parent.mkdir(parents=True)
    upload.touch()
    other = tmp_path / "clip.mp4"
    other.touch()
    link = folder / "hash" / "link.mp4"
    link.symlink_to(other)
    assert check_upload(folder, str(upload))
    for path in (
        other,
        link,
        folder / "hash",
        folder / "none.mp4",
        "/etc/passwd",
        "http://a/b.mp4",
    ):
        assert not check_upload(folder, str(path))
        delete_upload(folder, str(path))
    assert other.exists()
    sweep(folder, 60)
    assert upload.exists()
    (folder / "broken off").touch()
    sweep(folder, 0)
    assert not list(folder.iterdir())


@with_gradio
def test_a_clip_is_answered_and_deleted(server, clip):
    answer = server.answer(clip.read_bytes())
    assert answer.count("<li><span") == 3
    assert answer.count("<img") == 2 * 4
    shares = [float(share) for share in re.findall(r'"share">([\d.]+)%', answer)]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == sorted(shares, reverse=True)
    assert not server.left()


@with_gradio
def test_labels_are_escaped(server, clip):
    answer = server.answer(clip.read_bytes(), language="two")
    assert "&lt;img src=x onerror=" in answer
    assert "<img src=x" not in answer


@with_gradio
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text", "is not a video"),
        (b"#EXTM3U\n/etc/passwd", "is not a video"),
    ],
)
def test_what_is_no_clip_is_answered_by_a_sentence(server, content, message):
    answer = server.answer(content)
    assert re.fullmatch(
        rf'<p class="message error" role="alert">This clip .*{message}.*\.</p>', answer
    )
    assert str(server.folder) not in answer
    assert not server.left()


@with_gradio
def test_without_a_clip(server):
    assert "Choose or record a clip first" in server.ask(None)["output"]["data"][0]


@with_gradio
def test_too_many_frames_and_bytes(server, tmp_path):
    path = tmp_path / "long.mp4"
    frames = np.zeros((3601, 16, 16, 3), np.uint8)
    write_clip(path, frames, fps=100, options={"preset": "ultrafast"})
    assert "has 3,601 frames, more than 3,600" in server.answer(path.read_bytes())
    refused = server.upload(bytes(2_200_000))
    assert refused.status_code == 413
    assert "2,097,152 bytes" in refused.text
    assert not server.left()


@with_gradio
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "http://127.0.0.1:9/clip.mp4", "FOLDER/../clip.mp4", "FOLDER", ""]
)
def test_only_uploads_are_read(server, path, clip):
    event = server.ask(path.replace("FOLDER", str(server.folder)))
    assert not event["success"]
    assert str(server.folder) not in str(event)
    assert "etc" not in str(event)


@with_gradio
def test_only_what_the_page_needs_is_served(server, clip):
    import httpx

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
def test_an_upload_is_never_shown_as_a_page(server, name):
    (path,) = server.upload(b"<svg xmlns='http://www.w3.org/2000/svg' onload='a'/>", name).json()
    answer = server.client.get(f"{server.url}gradio_api/file={path}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    server.ask(path)


@with_gradio
def test_a_model_that_has_diverged_is_refused_or_has_no_answer(tmp_path):
    from dstadapter_jax.app.page import Answering

    diverged = Recognizer.load_adapter(*write_diverged(tmp_path))
    views = np.zeros((1, CFG.num_frames, CFG.resolution, CFG.resolution, 3), np.uint8)
    with contextlib.closing(Decoder(ClipLimits(), seconds=30)) as decoder:
        answering = Answering({"one": diverged}, decoder, tmp_path)
        with pytest.raises(ValueError, match="the model's probabilities aren't finite"):
            answering.warm_up()
        answer = answering.answer_again(Clip(views, np.ones(1, np.int64), np.arange(4)), "one")
    assert 'role="alert"' in answer
    assert "The model has no answer to this clip." in answer


@with_gradio
def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path, clip):
    from tests.helpers.app_server import serving, write_adapters

    adapters = write_adapters(tmp_path)
    folder = tmp_path / "server"
    folder.mkdir()
    with serving(folder, *adapters) as server:
        server.upload(clip.read_bytes())  # and never asks
        assert server.left()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(120) == 130
    assert [path.name for path in folder.iterdir()] == ["log"]
    assert "Traceback" not in (folder / "log").read_text()
