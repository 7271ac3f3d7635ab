"""The shell of the package's HTML pages, and the pieces that pages are made of.

A page is one file that loads nothing: pictures are data URLs, and its security policy
allows only its own style and script, by their hashes.
"""

import base64
import hashlib
import html
import importlib.resources
import re
import string
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from movseg_jax import images


def page(body: str, *, title: str, style: str, script: str = "") -> str:
    """Puts a body into the shell.

    Args:
        body: HTML of the body.
        title: Title of the page.
        style: CSS that follows the shell's.
        script: JavaScript to run after the body, if there is any.
    """
    style = read_part("report", "shell.css") + style
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{_hash(style)}'"
    )
    if script:
        # A script may make addresses of what the page holds, such as a video.
        policy += f"; script-src 'sha256-{_hash(script)}'; media-src blob:"
    return string.Template(read_part("report", "shell.html")).substitute(
        policy=policy,
        title=escape(title),
        style=style,
        body=body,
        script=f"<script>{script}</script>\n" if script else "",
    )


def read_part(package: str, name: str) -> str:
    """Reads a file of HTML, CSS or JavaScript that lies in a package."""
    file = importlib.resources.files(f"movseg_jax.{package}") / name
    return file.read_text("utf-8")


def clean(text: str) -> str:
    """Replaces what HTML files cannot hold: surrogates and control characters.

    Names of files may contain them.
    """
    text = text.encode("utf-8", "replace").decode()
    return re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", text
    )


def escape(text: str) -> str:
    """Makes any text safe in HTML, also in attributes."""
    return html.escape(clean(text))


def row(title: str, cells: Iterable[str]) -> str:
    """A row of a table, from texts."""
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(title)}</th>{shown}</tr>'


def jpeg_text(picture: UInt8[np.ndarray, "h w 3"], quality: int) -> str:
    """A picture as JPEG in base64; `data:image/jpeg;base64,` before it makes a URL."""
    return base64.b64encode(images.encode_jpeg(picture, quality)).decode("ascii")


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "1 frame" or "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
