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

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.html import read_part
from movseg_jax.serve.visits import Limits, Visits
from movseg_jax.system.atomic import locked

PREFIX = "movseg-serve-"  # Of the folder's name.
LOCAL = ("127.0.0.1", "localhost")
WAITING = 16  # The largest number of clips in the queue.
SWEEP = 20.0  # Seconds between two looks for what is to be deleted.
# Browsers load nothing from elsewhere, whatever gradio's page asks for. Its templates
# are JavaScript that it evaluates.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Gives a folder for all temporary files of this process, and deletes it."""
    name, before = "GRADIO_TEMP_DIR", tempfile.tempdir
    asked = os.environ.get(name)
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
        os.environ[name] = tempfile.tempdir = os.path.realpath(folder)
        try:
            yield Path(tempfile.tempdir)
        finally:
            tempfile.tempdir = before
            os.environ.pop(name)
            if asked is not None:
                os.environ[name] = asked


@contextlib.contextmanager
def served(
    detector: TrainedDetector,
    limits: Limits,
    *,
    host: str,
    port: int,
    explain: Callable[[InputError], str] = str,
) -> Iterator[Visits]:
    """Serves the page until the block ends; gives the visits.

    Args:
        detector: The detector.
        limits: What the page accepts and keeps.
        host: The address to listen on.
        port: The port to listen on.
        explain: A function that words errors and hints for the visitor.

    Raises:
        InputError: The address or port cannot be used.
    """
    middleware = [Middleware(_Policy)]
    if host in LOCAL:  # Pages of others cannot pass for this one by a name of theirs.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL]))
    with _private_folder() as root:
        # Imported here, as gradio makes a folder when it is imported.
        import gradio as gr
        import safehttpx

        from movseg_jax.serve.page import Page

        # A visitor could ask gradio to download an address, as it does for files that
        # pages link to. This function of its checks every address that it downloads.
        safehttpx.async_validate_url = _refuse
        visits = Visits(root, limits)
        page = Page(detector, visits, explain).build()
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
                max_file_size=round(2**20 * limits.megabytes),
                theme=gr.themes.Soft(
                    font=["system-ui", "sans-serif"], font_mono=["monospace"]
                ),
                css=read_part("serve", "page.css"),
                app_kwargs={"middleware": middleware},
            )
            yield visits
        except OSError as error:
            raise InputError(
                f"`port`: {host}:{port} cannot be used: {error}."
            ) from None
        finally:
            visits.close()
            page.close(verbose=False)


def serve(detector: TrainedDetector, limits: Limits, **options: Any) -> None:
    """Serves the page until an exception comes, such as that of Control-C.

    Args:
        detector: The detector.
        limits: What the page accepts and keeps.
        options: The other arguments of `served`.

    Raises:
        InputError: The address or port cannot be used.
    """
    with served(detector, limits, **options) as visits:
        host, port = options["host"], options["port"]
        print(
            f"Open http://{host}:{port} in a browser; Control-C stops the page.",
            flush=True,
        )
        while True:
            time.sleep(SWEEP)
            visits.close_old()


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
