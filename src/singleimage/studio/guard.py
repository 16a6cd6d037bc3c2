"""Who may ask the studio: its own page, on this machine or of one who has the token."""

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing from anywhere else."""


@dataclass(frozen=True)
class Guard:
    """Lets in who comes from this very page.

    A page of another site can make a browser send requests here, and can even take our address for
    its name (DNS rebinding); so Host and Origin must be ours. Where there is a token any name will
    do: a browser keeps it for the name it came in with.
    """

    app: ASGIApp
    hosts: frozenset[str] | None
    """Names under which the server is reached, with its port, as browsers send them; None: any,
    with a token."""
    token: str | None
    """What else a client must know; None: it is on this machine."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = {
                    "content-security-policy": POLICY,
                    "x-content-type-options": "nosniff",
                    "referrer-policy": "no-referrer",
                    "cross-origin-resource-policy": "same-origin",
                    "cross-origin-opener-policy": "same-origin",
                }
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    extra["cache-control"] = "no-cache"  # the page may be of a new version
                message["headers"] += [(k.encode(), v.encode()) for k, v in extra.items()]
            await send(message)

        await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self.hosts is not None and host not in self.hosts:
            return PlainTextResponse("unknown host", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("requests come from the studio's own page", 403)
        if scope["method"] not in ("GET", "HEAD") and headers.get("x-studio") != "1":
            return PlainTextResponse("requests come from the studio's own page", 403)
        if self.token is None:
            return None
        request = Request(scope)
        given = request.query_params.get("token") or request.cookies.get(cookie_of(headers), "")
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return PlainTextResponse("open the address that the studio printed, with its token", 401)


def cookie_of(headers: Headers) -> str:
    """The name of the cookie with the token, given `headers`: a browser has one for all ports."""
    port = re.search(r":(\d+)$", headers.get("host", ""))
    return f"studio-{port[1] if port else 80}"


def new_token() -> str:
    """What a client on another machine must know."""
    return secrets.token_urlsafe(24)
