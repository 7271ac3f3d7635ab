"""Serves the page of `movseg serve`.

Nothing of the page comes from another server, nothing is sent to one, and all that
visitors bring and make lies in one folder, which is deleted when the server stops.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.charts import hex_colour
from movseg_jax.report.html import read_part
from movseg_jax.serve.policy import Policy, is_loopback
from movseg_jax.serve.visits import Limits, Visits
from movseg_jax.system.atomic import locked
from movseg_jax.video.labels import COLOURS

PREFIX = "movseg-serve-"  # Of the folder's name.
WAITING = 16  # The largest number of clips in the queue.
SWEEP = 20.0  # Seconds between two looks for what is to be deleted.


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
    host = host.strip("[]")  # As an address of IPv6 is written before a port.
    with _private_folder() as root:
        # Imported here, as gradio makes a folder when it is imported.
        from movseg_jax.serve.interface import Page

        visits = Visits(root, limits)
        page = Page(detector, visits, explain).build()
        try:
            _launch(page, visits, host, port)
            address = f"http://{_in_address(host)}:{port}"
            print(f"Open {address} in a browser; Control-C stops the page.", flush=True)
            while True:
                time.sleep(SWEEP)
                _sweep(visits)
        finally:
            visits.close()
            page.close(verbose=False)


def _sweep(visits: Visits) -> None:
    """Deletes old clips; an error is printed, and the next sweep tries again."""
    try:
        visits.close_old()
    except Exception:
        print("movseg: old clips cannot be deleted:", file=sys.stderr)
        traceback.print_exc()


def _in_address(host: str) -> str:
    """The host as it is written in an address of the web."""
    return f"[{host}]" if ":" in host else host


def _launch(page: Any, visits: Visits, host: str, port: int) -> None:
    """Starts to serve gradio's page in another thread."""
    import safehttpx  # pyright: ignore[reportMissingImports]
    from gradio.themes import Soft  # pyright: ignore[reportMissingImports]
    from starlette.middleware import (  # pyright: ignore[reportMissingImports]
        Middleware,
    )

    # A visitor could ask gradio to download an address, as it does for files that
    # pages link to. This function of its checks every address that it downloads.
    safehttpx.async_validate_url = _refuse
    policy = Middleware(Policy, visits=visits, local=is_loopback(host))
    page.queue(max_size=WAITING, default_concurrency_limit=1)
    try:
        page.launch(
            server_name=_in_address(host),
            server_port=port,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size=round(2**20 * visits.limits.max_mb),
            theme=Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=_style(),
            app_kwargs={"middleware": [policy]},
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


async def _refuse(host: str) -> str:
    raise ValueError(f"Nothing is downloaded, also not from {host}.")
