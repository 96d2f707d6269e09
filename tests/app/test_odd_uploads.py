"""Five hundred malformed uploads: each gets an answer within limits of time and memory."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import time

import pytest

from dstadapter_jax.app.hardening.decoder import Decoder
from dstadapter_jax.data.clips import ClipLimits

ROOT = pathlib.Path(__file__).parents[2]
TIME_LIMIT = 5  # seconds
pytestmark = [
    pytest.mark.slow,
    pytest.mark.linux,  # /proc
    pytest.mark.skipif(
        not importlib.util.find_spec("gradio"), reason="needs pip install -r requirements-app.txt"
    ),
]


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> list[tuple[str, bytes]]:
    from tests.helpers.odd_uploads import odd_uploads

    return odd_uploads(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> list[str]:
    from tests.helpers.app_server import write_adapters

    return write_adapters(tmp_path_factory.mktemp("adapters"))


def memory(pid: int, field: str = "VmRSS") -> float:
    """Memory of a process and its descendants in MB."""
    path = pathlib.Path(f"/proc/{pid}")
    own = int(re.search(rf"{field}:\s+(\d+)", (path / "status").read_text())[1]) / 1000
    children = (path / f"task/{pid}/children").read_text().split()
    return own + sum(memory(int(child), field) for child in children)


def test_page_answers_malformed_uploads_within_time_and_memory(uploads, adapters, tmp_path):
    from tests.helpers.app_server import serving

    limits = ["--max_megabytes=3", f"--time_limit={TIME_LIMIT}"]
    kinds = {"refused": 0, "message": 0, "recognized": 0}
    longest, starting = 0.0, seconds_to_start_a_decoder()
    with serving(tmp_path, *adapters, *limits) as server:
        before = memory(server.process.pid)
        for name, content in uploads:
            start = time.perf_counter()
            kind = answer(server, name, content)
            kinds[kind] += 1
            longest = max(longest, time.perf_counter() - start)
        after, peak = (memory(server.process.pid, field) for field in ("VmRSS", "VmHWM"))
        assert not server.left()
        assert server.process.poll() is None
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log[-3000:]
    print(json.dumps({**kinds, "longest": longest, "mb": [before, after, peak]}))
    assert sum(kinds.values()) == 500
    assert kinds["message"] > 250
    # After a clip that exceeds the limit, a new decoding process starts.
    assert longest < 2 * TIME_LIMIT + 3 * starting
    assert after - before < 300


def seconds_to_start_a_decoder() -> float:
    start = time.perf_counter()
    Decoder(ClipLimits(), seconds=1).close()
    return time.perf_counter() - start


def answer(server, name: str, content: bytes) -> str:
    """Kind of answer that an upload gets."""
    uploaded = server.upload(content, name)
    if uploaded.status_code != 200:
        assert uploaded.status_code in (400, 413)
        assert uploaded.text
        return "refused"
    event = server.ask(*uploaded.json())
    assert event["success"], (name, event)
    html = event["output"]["data"][0]
    assert str(server.folder) not in html
    assert "etc/passwd" not in html
    if 'class="answer"' in html:
        return "recognized"
    assert re.fullmatch(r'<p class="message error" role="alert">[^<>]+</p>', html), html
    return "message"


def test_predict_prints_one_line_per_malformed_upload(uploads, adapters, tmp_path):
    for i, (_, content) in enumerate(uploads):
        (tmp_path / f"{i}.mp4").write_bytes(content)
    adapter = [argument for argument in adapters if "=two=" not in argument]
    files = [str(tmp_path / f"{i}.mp4") for i in range(len(uploads))]
    command = [sys.executable, "-m", "dstadapter_jax.predict", *adapter, *files]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=600, check=False
    )
    assert result.returncode == 1, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["video"] for line in lines] == files
    for line in lines:
        assert ("error" in line) != ("predictions" in line)
