"""The page's HTTP server: Gradio with everything disabled that the page does not need."""

import pathlib

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dstadapter_jax.app.hardening.gate import Gate
from dstadapter_jax.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
DOCUMENTATION = ("docs_url", "redoc_url", "openapi_url")  # options of FastAPI
MAX_SESSIONS = 32  # sessions whose last clip is kept for another language


def serve(page: gr.Blocks, folder: pathlib.Path, host: str, port: int, max_bytes: int) -> None:
    """Serve the page in background threads until `page.close()`.

    Args:
        page: Result of `build_page`.
        folder: Folder of the uploads, from `temporary_folder`.
        host: Address to listen on.
        port: Port to listen on; 0 for the first free one from 7860.
        max_bytes: Maximum size of an upload.

    Raises:
        UserError: The port is in use, or the address is not an address of this machine.
    """
    gate = [Middleware(Gate, folder=folder, max_bytes=max_bytes)]
    if host in LOOPBACK:
        # Other host names of this address come from foreign pages (DNS rebinding).
        gate.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK))
    try:
        page.launch(
            server_name=f"[{host.strip('[]')}]" if ":" in host else host,
            server_port=port or None,
            max_file_size=max_bytes,
            app_kwargs={"middleware": gate} | dict.fromkeys(DOCUMENTATION),
            theme=_theme(),
            css_paths=pathlib.Path(__file__).with_name("page.css"),
            state_session_capacity=MAX_SESSIONS,
            footer_links=[],
            show_error=False,  # details go to the log, not to visitors
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
        raise UserError(
            "--host, --port",
            expected="an address of this machine and a port that is not in use",
            found=f"{host}, {port or '7860 to 7959'}",
        ) from error


def _theme() -> gr.themes.Base:
    theme = gr.themes.Base(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],  # installed fonts: Gradio would fetch web fonts
        font_mono=["ui-monospace", "monospace"],
    )
    colors = {
        "button_primary_background_fill": "*primary_700",  # contrast of 6.7 with white
        "button_primary_background_fill_hover": "*primary_800",
        "body_text_color_subdued": "*neutral_600",
        "body_text_color_subdued_dark": "*neutral_300",
    }
    dark = {
        "button_primary_background_fill_dark": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_600",
    }
    return theme.set(**colors, **dark)
