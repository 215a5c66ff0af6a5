"""Who may ask, from where: API key, Host, Origin, body size, and the headers that bind a browser.

A browser that has shown the key once gets a cookie that proves so until it ends, without holding the key.
Keys are compared in constant time, and neither logged nor repeated. ``Guard`` is ASGI middleware, so that
nothing is answered before it has passed.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import REFUSALS, RefusedError, describe, respond, wants_page
from app.settings import Settings
from common.settings import SettingsError

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: Where many texts are sent at a time.
_EMBEDDINGS_PATH = "/v1/embeddings"
#: Tag of routes that need no key.
PUBLIC = "public"
COOKIE = "lusifer_session"
_PURPOSE = b"lusifer-search session v1:"


def check_binding(settings: Settings) -> None:
    """Refuse to be reachable from other machines without a key.

    Raises:
        SettingsError: the address is not a loopback one and no key is set.
    """
    if settings.api_key is None and not is_loopback(settings.host):
        raise SettingsError(
            f"Will not listen on {settings.host} without an API key: anyone who reaches it could read "
            "what is indexed",
            hint="Set LUSIFER_API_KEY to a long random value, or leave --host at 127.0.0.1.",
        )


def public_paths(routers: Iterable[APIRouter]) -> frozenset[str]:
    """Return the addresses of the routes that are tagged as public."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return frozenset(route.path for route in routes if PUBLIC in route.tags)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Access:
    """Decides who may ask.

    Args:
        key: the key to show; None lets everyone in.
        session_seconds: how long a browser session lasts.
    """

    def __init__(self, key: SecretStr | None, session_seconds: int) -> None:
        self._key = None if key is None else key.get_secret_value().encode()
        self.session_seconds = session_seconds

    @property
    def required(self) -> bool:
        """Whether a key has to be shown."""
        return self._key is not None

    def check(self, headers: Headers) -> None:
        """Let a request pass.

        Raises:
            RefusedError: a key is needed and neither it nor a session is shown.
        """
        if self._key is None:
            return
        shown = _shown_key(headers)
        if shown is not None and self.is_key(shown):
            return
        if shown is None and self._is_session(_shown_session(headers)):
            return
        what = "The API key is not the right one" if shown is not None else "This needs the API key"
        raise RefusedError(
            "access-denied",
            what,
            hint="Send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
            headers={"WWW-Authenticate": 'Bearer realm="lusifer-search"'},
        )

    def is_key(self, shown: str) -> bool:
        """Compare with the key, in a time that does not depend on how much of it is right."""
        return self._key is not None and hmac.compare_digest(_digest(shown.encode()), _digest(self._key))

    def new_session(self) -> str:
        """A cookie value that is accepted until the session ends."""
        ends = str(int(time.time()) + self.session_seconds)
        return f"{ends}.{self._sign(ends)}"

    def _is_session(self, cookie: str | None) -> bool:
        ends, _, signature = (cookie or "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(ends).encode()):
            return False
        return int(ends) > time.time()

    def _sign(self, ends: str) -> str:
        return hmac.new(self._key or b"", _PURPOSE + ends.encode(), hashlib.sha256).hexdigest()


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def _shown_key(headers: Headers) -> str | None:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return headers.get("x-api-key")


def _shown_session(headers: Headers) -> str | None:
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


class BrowserHeaders:
    """ASGI middleware: puts the headers that bind a browser on every answer, refusals and failures too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                _protect(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await self._app(scope, receive, send_protected)


class Guard:
    """ASGI middleware: lets pass what may be asked.

    Args:
        app: what is behind it.
        settings: names and limits.
        access: who may ask.
        public: addresses that need no key.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, access: Access, public: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in (*settings.allowed_hosts, settings.host))
        self._any_address = not is_loopback(settings.host)
        self._access = access
        self._settings = settings
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            await self._app(scope, _limited(receive, self._max_body(scope)), send)
        except RefusedError as error:
            request = Request(scope)
            to_login = error.code == "access-denied" and wants_page(request)
            response = _to_login(request) if to_login else respond(request, describe(error))
            await response(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        _check_origin(headers)
        length = headers.get("content-length", "0")
        limit = self._max_body(scope)
        if not length.isdecimal() or int(length) > limit:
            raise _too_large(limit)
        path: str = scope["path"]
        if path not in self._public and not path.startswith("/static/"):
            self._access.check(headers)

    def _max_body(self, scope: Scope) -> int:
        if scope["path"] == _EMBEDDINGS_PATH:
            return self._settings.embeddings_max_body_bytes
        return self._settings.max_body_bytes

    def _check_host(self, headers: Headers) -> None:
        """Stop DNS rebinding: a name that someone else points at this machine is not answered.

        An address in place of a name cannot be rebound, so it is accepted where others may connect at all.
        """
        given = headers.getlist("host")
        host = _host_name(given[0]) if len(given) == 1 else None
        if not host:
            raise RefusedError(
                "host-malformed",
                "The Host header is missing or is no host name",
                hint="Send the server's name.",
            )
        if is_loopback(host) or host in self._names or (self._any_address and _address(host) is not None):
            return
        raise RefusedError(
            "host-refused",
            "This server does not answer to the name in the Host header",
            hint='Name it in LUSIFER_ALLOWED_HOSTS, for example ["search.example.org"].',
        )


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return (parts.hostname or "").rstrip(".") or None


def _check_origin(headers: Headers) -> None:
    """Refuse what a page of another site makes a browser send; following a link from there is fine.

    Raises:
        RefusedError: the Origin header is not this server's, or the browser says so.
    """
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise RefusedError(
            "origin-refused", "The request comes from a page of another site", hint="Send it from this one."
        )
    crosses = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    if crosses and headers.get("sec-fetch-mode") != "navigate":
        raise RefusedError(
            "origin-refused",
            "The request was embedded in a page of another site",
            hint="Follow a link instead.",
        )


def _to_login(request: Request) -> RedirectResponse:
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?{urlencode({'next': wanted})}", status_code=303)


def _protect(headers: MutableHeaders, path: str) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith("/static/"):
        headers.setdefault("Cache-Control", "no-store")


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        "body-too-large",
        f"The request body is above the limit of {limit} bytes",
        hint="Send a shorter one.",
    )


def _limited(receive: Receive, limit: int) -> Receive:
    """Count the body as it arrives: a sender may give no length, or a wrong one."""
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            # As an HTTPException, because FastAPI answers 400 to any other exception while it reads a body.
            error = _too_large(limit)
            raise HTTPException(REFUSALS[error.code], str(error))
        return message

    return receive_limited
