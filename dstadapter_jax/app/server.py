"""Serves the page: what it needs and nothing else of what Gradio offers, within bounds."""

import pathlib
import re

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dstadapter_jax.app.uploads import folder_size

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
# What Gradio's page asks for. Among the rest are its documentation, monitoring, a proxy, and
# handlers of other components.
ROUTES = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)/.*)?"
    r"|/gradio_api/(upload|upload_progress|queue/join|queue/data|heartbeat/\w+|reset|cancel"
    r"|startup-events|info|file=.*)"
)
DOCUMENTATION = ("docs_url", "redoc_url", "openapi_url")  # FastAPI's
MOST_MESSAGE = 100_000  # bytes of a request that is no upload
MULTIPART = 10_000  # bytes around an upload's file
MOST_UPLOADS = 20  # times the largest upload: what may lie in the temporary folder
SESSIONS = 32  # whose last clip's views are kept
# The browser itself sees to it that the page loads nothing from elsewhere. Gradio's scripts need
# the two that are called unsafe.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none';"
    " form-action 'none'; base-uri 'self'; object-src 'none'"
)


class Gate:
    """Lets through to Gradio what the page needs, if it isn't too much.

    Attributes:
        app: Gradio's.
        folder: Where uploads lie.
        most: Bytes of an upload.
    """

    def __init__(self, app: ASGIApp, folder: pathlib.Path, most: int):
        self.app, self.folder, self.most = app, folder, most
        self._coming = 0  # bytes of uploads under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal:
            return await refusal(scope, receive, send)

        async def with_policy(sent: Message) -> None:
            if sent["type"] == "http.response.start":
                headers = MutableHeaders(scope=sent)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(sent)

        coming = _length(scope)
        self._coming += coming
        try:
            await self.app(scope, receive, with_policy)
        finally:
            self._coming -= coming

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if not ROUTES.fullmatch(scope["path"]):
            return PlainTextResponse("Not found.", 404)
        if scope["method"] != "POST":
            return None
        length, upload = _length(scope), scope["path"].endswith("/upload")
        if length < 0:  # chunked: nobody knows how much there is to come
            return PlainTextResponse("The request must say its length.", 411)
        if length > (self.most + MULTIPART if upload else MOST_MESSAGE):
            return PlainTextResponse(f"Files may have {self.most:,} bytes.", 413)
        if upload and folder_size(self.folder) + self._coming + length > MOST_UPLOADS * self.most:
            return PlainTextResponse("Too many uploads are waiting; try again later.", 503)
        return None


def _length(scope: Scope) -> int:
    """Bytes of a request's body; -1 for one that must say so and doesn't."""
    length = Headers(scope=scope).get("content-length", "")
    if length.isdecimal():
        return int(length)
    return -1 if scope["method"] == "POST" else 0


def serve(page: gr.Blocks, folder: pathlib.Path, host: str, port: int, most: int) -> None:
    """Serves the page in threads of its own, until `page.close()`.

    Args:
        page: Of `build_page`.
        folder: Of `temporary_folder`.
        host: Address to listen on.
        port: 0 for any from 7860 that is free.
        most: Bytes of an upload.

    Raises:
        OSError: The port is taken, or the address isn't this machine's.
    """
    gate = [Middleware(Gate, folder=folder, most=most)]
    if host in LOOPBACK:
        # Other names for this address are those of other people's pages (DNS rebinding).
        gate.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK))
    try:
        page.launch(
            server_name=f"[{host.strip('[]')}]" if ":" in host else host,
            server_port=port or None,
            max_file_size=most,
            app_kwargs={"middleware": gate} | dict.fromkeys(DOCUMENTATION),
            theme=_theme(),
            css_paths=pathlib.Path(__file__).with_name("page.css"),
            state_session_capacity=SESSIONS,
            footer_links=[],
            show_error=False,  # what isn't meant for visitors goes to the log
            share=False,
            ssr_mode=False,
            run_history=False,
            mcp_server=False,
            enable_monitoring=False,
            pwa=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        where = f"{host}, port {port or '7860 to 7959'}"
        raise OSError(f"can't listen on {where}: taken, or not this machine's.") from error


def _theme() -> gr.themes.Base:
    theme = gr.themes.Base(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # names alone: Gradio would fetch web fonts
        font_mono=["ui-monospace", "monospace"],
    )
    colors = {
        "button_primary_background_fill": "*primary_700",  # white on it has a contrast of 6.7
        "button_primary_background_fill_hover": "*primary_800",
        "body_text_color_subdued": "*neutral_600",
        "body_text_color_subdued_dark": "*neutral_300",
    }
    dark = {
        "button_primary_background_fill_dark": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_600",
    }
    return theme.set(**colors, **dark)
