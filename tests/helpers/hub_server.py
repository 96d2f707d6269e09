"""Test server with the HTTP endpoints of the Hugging Face Hub for uploads and downloads.

Committed files are kept in memory. Large files are uploaded by Git LFS, not by the hub's newer
protocol, Xet.
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_tests"


class Hub(ThreadingHTTPServer):
    """Server of one repository, OWNER/REPO."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.created: list[dict] = []
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.files: dict[str, bytes] = {}  # committed files by path


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: object, status: int = 200) -> None:
        self._answer(json.dumps(content).encode(), status, Content_Type="application/json")

    def do_POST(self) -> None:
        body, hub = self._body(), self.server
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            self._json({"url": f"{hub.address}/OWNER/REPO", "id": "OWNER/REPO"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/models/OWNER/REPO/preupload/main":
            self._json({"files": [self._mode(file) for file in json.loads(body)["files"]]})
        elif self.path == "/OWNER/REPO.git/info/lfs/objects/batch":
            self._json(
                {
                    "transfer": "basic",
                    "objects": list(map(self._upload, json.loads(body)["objects"])),
                }
            )
        elif self.path == "/api/models/OWNER/REPO/commit/main":
            for line in body.splitlines():
                self._commit(**json.loads(line))
            self._json(
                {"commitUrl": f"{hub.address}/OWNER/REPO/commit/{COMMIT}", "commitOid": COMMIT}
            )
        else:
            self._json({"error": f"unknown endpoint: {self.path}"}, 404)

    def _mode(self, file: dict) -> dict:
        mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _upload(self, item: dict) -> dict:
        return item | {"actions": {"upload": {"href": f"{self.server.address}/lfs/{item['oid']}"}}}

    def _commit(self, key: str, value: dict) -> None:
        if key == "file":
            self.server.files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            self.server.files[value["path"]] = self.server.large[value["oid"]]

    def do_PUT(self) -> None:
        content, oid = self._body(), self.path.removeprefix("/lfs/")
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self._answer(b"")

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.removeprefix("/OWNER/REPO/resolve/main/"))
        if content is None:
            self._answer(b"", 404, X_Error_Code="EntryNotFound")
        else:
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._answer(content, ETag=etag, X_Repo_Commit=COMMIT)

    do_HEAD = do_GET
