"""Serves the page of `movseg serve`.

Nothing of the page comes from another server, nothing is sent to one, and all that
visitors bring and make lies in one folder, which is deleted when the server stops.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.charts import hex_colour
from movseg_jax.report.html import read_part
from movseg_jax.serve.visits import Limits, Visits
from movseg_jax.system.atomic import locked
from movseg_jax.video.labels import COLOURS

PREFIX = "movseg-serve-"  # Of the folder's name.
LOCAL = ("127.0.0.1", "localhost")
WAITING = 16  # The largest number of clips in the queue.
SWEEP = 20.0  # Seconds between two looks for what is to be deleted.
# Browsers load nothing from elsewhere, whatever gradio's page asks for, such as FFmpeg
# to trim clips. Its templates are JavaScript that it evaluates.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Gives a folder for all temporary files of this process, and deletes it."""
    before = tempfile.tempdir
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # A process that was killed has left it; nobody else can lock it.
        with contextlib.suppress(InputError), locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(
            prefix=PREFIX, ignore_cleanup_errors=True
        ) as folder,
        locked(Path(folder)),
    ):
        os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = os.path.realpath(folder)
        try:
            yield Path(tempfile.tempdir)
        finally:
            tempfile.tempdir = before


def serve(
    detector: TrainedDetector,
    limits: Limits,
    *,
    host: str,
    port: int,
    explain: Callable[[InputError], str] = str,
) -> None:
    """Serves the page until an exception comes, such as that of Control-C.

    Args:
        detector: The detector.
        limits: Limits of what the page accepts and keeps.
        host: The address to listen on.
        port: The port to listen on.
        explain: A function that words errors and hints for the visitor.

    Raises:
        InputError: The address or port cannot be used.
    """
    with _private_folder() as root:
        # Imported here, as gradio makes a folder when it is imported.
        from movseg_jax.serve.interface import Page

        visits = Visits(root, limits)
        page = Page(detector, visits, explain).build()
        try:
            _launch(page, limits, host, port)
            address = f"http://{host}:{port}"
            print(f"Open {address} in a browser; Control-C stops the page.", flush=True)
            while True:
                time.sleep(SWEEP)
                visits.close_old()
        finally:
            visits.close()
            page.close(verbose=False)


def _launch(page: Any, limits: Limits, host: str, port: int) -> None:
    """Starts to serve gradio's page in another thread."""
    import safehttpx  # pyright: ignore[reportMissingImports]
    from gradio.themes import Soft  # pyright: ignore[reportMissingImports]
    from starlette import middleware  # pyright: ignore[reportMissingImports]
    from starlette.middleware import (  # pyright: ignore[reportMissingImports]
        trustedhost,
    )

    # A visitor could ask gradio to download an address, as it does for files that
    # pages link to. This function of its checks every address that it downloads.
    safehttpx.async_validate_url = _refuse
    layers = [middleware.Middleware(_Policy)]
    if host in LOCAL:  # Pages of others cannot pass for this one by a name of theirs.
        trusted = trustedhost.TrustedHostMiddleware
        layers.append(middleware.Middleware(trusted, allowed_hosts=[*LOCAL]))
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size=round(2**20 * limits.max_mb),
            theme=Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=_style(),
            app_kwargs={"middleware": layers},
        )
    except OSError:
        raise InputError(
            f"`port` {port} of {host} cannot be used: it is taken, or the address is "
            "not one of this machine."
        ) from None


def _style() -> str:
    """The style of the page; the box of each track has the track's colour."""
    colours = (
        f"#tracks label:has(input[name='{id}']) {{ border-color: {hex_colour(id)} }}"
        for id in range(1, COLOURS + 1)
    )
    return "\n".join([read_part("serve", "style.css"), *colours])


class _Policy:
    """Adds the security policy to every answer of a web application."""

    def __init__(self, app: Callable):
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        async def send_more(message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message["headers"], policy]
            await send(message)

        await self._app(scope, receive, send_more if scope["type"] == "http" else send)


async def _refuse(host: str) -> str:
    raise ValueError(f"Nothing is downloaded, also not from {host}.")
