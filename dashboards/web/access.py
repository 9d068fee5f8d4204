"""Who may read, and what a browser may do with an answer: one ASGI layer around every route.

- Only GET and HEAD: there is nothing to change here.
- A ``Host`` header that is none of ours is refused, so that no foreign name that points at this machine (DNS rebinding) gets an answer.
- Where a token is set, a request needs it: as ``?token=`` once, which sets a cookie and takes the token out of the address, then as that
  cookie. Both are compared in constant time.
- Every answer forbids scripts and styles that are not our own files, framing, sniffing and referrers.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "rewardsweep"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Access:
    """The rules.

    Attributes:
        token: what a reader must know; ``None`` on loopback, where nobody else listens.
        hosts: names under which this server is called; empty takes any, for a server that is meant to be reached.
    """

    token: str | None = field(default=None, repr=False)
    hosts: Sequence[str] = LOOPBACK

    @property
    def proof(self) -> str:
        """What the cookie holds: it does not give the token away."""
        return hashlib.sha256(f"rewardsweep dashboard\n{self.token}".encode()).hexdigest()

    def knows_token(self, given: str) -> bool:
        """Whether it is the token, in a time that says nothing about it."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def knows_proof(self, given: str) -> bool:
        """The same for the cookie."""
        return hmac.compare_digest(given.encode(), self.proof.encode())


class Guard:
    """Applies the rules to every request."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(scope)
        await (refused or self._app)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("this server is read-only\n", 405, {"Allow": "GET, HEAD"})
        if self._access.hosts and _name(headers.get("host", "")) not in self._access.hosts:
            return PlainTextResponse("no server of this name here\n", 421)
        if self._access.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if given is not None:
            return self._signed_in(scope, query) if self._access.knows_token(given) else _unknown()
        return None if self._access.knows_proof(_cookie(headers)) else _unknown()

    def _signed_in(self, scope: Scope, query: Sequence[tuple[str, str]]) -> Response:
        """Set the cookie and go on to the same page without the token in its address."""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # one slash at the front: `//host` would be another server's address
        path = "/" + str(scope["raw_path"].decode("latin-1")).partition("?")[0].lstrip("/\\")
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(
            COOKIE, self._access.proof, max_age=30 * 86400, httponly=True, samesite="lax", secure=scope["scheme"] == "https"
        )
        return response


def _unknown() -> Response:
    return PlainTextResponse("this dashboard needs its token: open the link that `sweep ui` printed\n", 401)


def _name(host: str) -> str:
    """``Host`` without the port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""
