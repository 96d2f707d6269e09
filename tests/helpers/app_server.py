"""The page's server in a process, and an HTTP client that visits it."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

from dstadapter_jax.adapters.file import write_adapter
from tests.helpers.adapters import SIZES, draw_adapter, write_tower

ROOT = pathlib.Path(__file__).parents[2]
HOSTILE = ('<img src=x onerror="document.title=1">', "{{value}}${document.title=1}", "手語")


@dataclasses.dataclass
class AppServer:
    """A running server.

    Attributes:
        url: URL of the page, ending with a slash.
        process: Server process.
        folder: Temporary folder of the server.
        client: HTTP client.
    """

    url: str
    process: subprocess.Popen
    folder: pathlib.Path
    client: httpx.Client

    def left(self) -> list[pathlib.Path]:
        """Files in the temporary folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def upload(self, content: bytes, name: str = "clip.mp4") -> httpx.Response:
        """Upload a file under this name."""
        return self.client.post(f"{self.url}gradio_api/upload", files={"files": (name, content)})

    def ask(self, path: str | None, language: str = "one") -> dict[str, Any]:
        """Submit an upload and return the server's final event."""
        file = path and {"path": path, "meta": {"_type": "gradio.FileData"}}
        session = uuid.uuid4().hex
        request = {"data": [file, language], "fn_index": 0, "session_hash": session}
        self.client.post(f"{self.url}gradio_api/queue/join", json=request).raise_for_status()
        address = f"{self.url}gradio_api/queue/data?session_hash={session}"
        with self.client.stream("GET", address) as events:
            for line in events.iter_lines():
                event = json.loads(line.removeprefix("data: ") or "{}")
                if event.get("msg") == "process_completed":
                    return event
        raise AssertionError("no answer")

    def answer(self, content: bytes, name: str = "clip.mp4", language: str = "one") -> str:
        """Upload a file, submit it, and return the HTML of the answer."""
        (path,) = self.upload(content, name).raise_for_status().json()
        return self.ask(path, language)["output"]["data"][0]


def write_adapters(folder: pathlib.Path) -> list[str]:
    """Write adapter files of two languages, one with hostile labels; return the arguments."""
    tower = write_tower(folder / "tower.safetensors", SIZES)
    for seed, name in enumerate(("one", "two")):
        adapter, weights = draw_adapter(tower, 3, seed)
        if name == "two":
            adapter = dataclasses.replace(adapter, label_names=HOSTILE)
        write_adapter(folder / f"{name}.safetensors", adapter, weights)
    named = [f"--adapter={name}={folder / name}.safetensors" for name in ("one", "two")]
    return [*named, f"--backbone={tower}"]


@contextlib.contextmanager
def serving(folder: pathlib.Path, *arguments: str) -> Iterator[AppServer]:
    """Run a server with its temporary files in a folder."""
    command = [sys.executable, "-m", "dstadapter_jax.app", "--port=0", *arguments]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(folder)},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            (temporary,) = folder.glob("dstadapter_jax_app_*")
            with httpx.Client(timeout=120, trust_env=False) as client:
                yield AppServer(json.loads(line)["url"], process, temporary, client)
        finally:
            process.terminate()
            process.wait(120)
