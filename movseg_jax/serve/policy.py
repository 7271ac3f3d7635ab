"""Rules for the requests that `movseg serve` answers, and for what browsers load.

The page has no password, so what protects it is that browsers say which site a request
comes from: other sites can make a visitor's browser send requests to this machine.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from movseg_jax.serve.visits import Visits

# Browsers load nothing from elsewhere, whatever gradio's page asks for, such as FFmpeg
# to trim clips. Its templates are JavaScript that it evaluates.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
READING = ("GET", "HEAD", "OPTIONS")  # Methods that change nothing.
FORM = 2**16  # Bytes of an upload beside those of the file.


class Refusal(NamedTuple):
    """An answer to a request that is refused: the status of HTTP and a line of text."""

    status: int
    text: str


class Policy:
    """A layer around a web application that refuses what is not meant for the page.

    It also adds the security policy for browsers to every answer.
    """

    def __init__(self, app: Callable, visits: Visits, *, local: bool):
        """Takes the application.

        Args:
            app: The application.
            visits: The visits, whose limits uploads must keep to.
            local: Whether the server listens on this machine's own address only.
        """
        self._app, self._visits, self._local = app, visits, local

    async def __call__(self, scope, receive, send) -> None:
        """Answers a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_more(message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message["headers"], policy]
            await send(message)

        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_more)
            return
        kind = [(b"content-type", b"text/plain; charset=utf-8")]
        start = {"type": "http.response.start", "status": refusal.status}
        await send_more({**start, "headers": kind})
        await send_more({"type": "http.response.body", "body": refusal.text.encode()})

    def refusal(self, scope: Mapping[str, Any]) -> Refusal | None:
        """Returns why a request is refused; None if it is not."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        # Pages of others cannot pass for this one by a name of theirs.
        if self._local and not is_loopback(_name(headers.get("host", ""))):
            return Refusal(400, "This server is reached as localhost only.")
        if scope["method"] in READING:
            return None
        if _is_of_another_site(headers):
            return Refusal(403, "Requests of other sites are refused.")
        return self._too_large(scope["path"], headers)

    def _too_large(self, path: str, headers: Mapping[str, str]) -> Refusal | None:
        if "transfer-encoding" in headers:
            return Refusal(411, "The request does not say how long it is.")
        most = self._visits.limits.max_mb
        # The size of a single file is not enough: a request may hold many.
        if int(headers.get("content-length", 0)) > 2**20 * most + FORM:
            return Refusal(413, f"Files may have up to {most:g} MB.")
        if path.endswith("/upload") and not self._visits.has_room():
            return Refusal(507, "There is no room for further clips; try later.")
        return None


def is_loopback(host: str) -> bool:
    """Whether a name or address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name or address in the header "Host", without the port."""
    if host.startswith("["):  # An address of IPv6, which has colons itself.
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a page of another site made the browser send a request.

    Browsers send `Sec-Fetch-Site` to addresses that they take for safe, and `Origin` to
    all. Programs that are no browsers send neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
