"""ASGI middleware that admits only the requests that the page needs, within size limits."""

import pathlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dstadapter_jax.app.hardening.uploads import folder_size

# Requests of Gradio's page. Gradio also serves documentation, monitoring, a proxy, and handlers of
# other components.
ROUTES = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)/.*)?"
    r"|/gradio_api/(upload|upload_progress|queue/join|queue/data|heartbeat/\w+|reset|cancel"
    r"|startup-events|info|file=.*)"
)
MAX_REQUEST_BYTES = 100_000  # for requests other than uploads
MULTIPART_BYTES = 10_000  # overhead of an upload's multipart encoding
MAX_STORED_UPLOADS = 20  # total size of stored uploads, in multiples of the largest upload
# Makes the browser load nothing from other hosts. Gradio's scripts need both `unsafe-` sources.
CONTENT_SECURITY_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none';"
    " form-action 'none'; base-uri 'self'; object-src 'none'"
)


class Gate:
    """Middleware in front of Gradio.

    Attributes:
        app: Gradio's ASGI application.
        folder: Folder of the uploads.
        max_bytes: Maximum size of an upload.
    """

    def __init__(self, app: ASGIApp, folder: pathlib.Path, max_bytes: int):
        self.app, self.folder, self.max_bytes = app, folder, max_bytes
        self._incoming_bytes = 0  # of requests in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request as ASGI defines it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal:
            return await refusal(scope, receive, send)

        async def with_policy(sent: Message) -> None:
            if sent["type"] == "http.response.start":
                headers = MutableHeaders(scope=sent)
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(sent)

        length = _content_length(scope)
        self._incoming_bytes += length
        try:
            await self.app(scope, receive, with_policy)
        finally:
            self._incoming_bytes -= length

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if not ROUTES.fullmatch(scope["path"]):
            return PlainTextResponse("Not found.", 404)
        if scope["method"] != "POST":
            return None
        length, upload = _content_length(scope), scope["path"].endswith("/upload")
        if length < 0:  # chunked, of unknown size
            return PlainTextResponse("Content-Length required.", 411)
        if length > (self.max_bytes + MULTIPART_BYTES if upload else MAX_REQUEST_BYTES):
            return PlainTextResponse(f"Files may have at most {self.max_bytes:,} bytes.", 413)
        if upload and length > self._free_bytes():
            return PlainTextResponse("Too many uploads are waiting; try again later.", 503)
        return None

    def _free_bytes(self) -> int:
        used = folder_size(self.folder) + self._incoming_bytes
        return MAX_STORED_UPLOADS * self.max_bytes - used


def _content_length(scope: Scope) -> int:
    """Bytes of a request's body; -1 for a POST without Content-Length."""
    length = Headers(scope=scope).get("content-length", "")
    if length.isdecimal():
        return int(length)
    return -1 if scope["method"] == "POST" else 0
