"""The API key and the browser session that stands for it.

A browser that has shown the key once gets a cookie that proves so until it ends, without holding the key.
Keys are compared in constant time, and neither logged nor repeated.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from app.problems import RefusedError

COOKIE = "lusifer_session"
_PURPOSE = b"lusifer-search session v1:"


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
