"""Requests to an embedding service: pooled connections, retries with jitter, errors that name the remedy.

Every request may be sent twice without harm. No text and no key is ever logged.
"""

from __future__ import annotations

import logging
import random
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import stamina

from lusifer.errors import ServiceError
from lusifer.service import ServiceOptions, normalise_url

_logger = logging.getLogger(__name__)

#: Statuses that pass: too many requests, server error, bad gateway, unavailable, gateway timeout.
_TRANSIENT = frozenset((429, 500, 502, 503, 504))
_CONNECT_SECONDS = 5.0
_GET_SECONDS = 10.0
#: A service that asks for a longer pause is asked again after this, in seconds.
_LONGEST_PAUSE = 60.0
_CONNECTIONS = 8


class ServiceClient:
    """An embedding service. Safe for threads.

    Args:
        url: its address; ``/v1`` at the end is accepted and left out.
        options: key and patience.

    Raises:
        ConfigError: the address is not one.
    """

    def __init__(self, url: str, options: ServiceOptions) -> None:
        self.url = normalise_url(url)
        self._patience = options.patience
        headers = {"User-Agent": "lusifer-search"}
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key}"
            host = httpx.URL(self.url).host
            if self.url.startswith("http:") and host not in ("localhost", "127.0.0.1", "::1"):
                _logger.warning("the API key travels unencrypted to %s", self.url)
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(options.timeout, connect=min(_CONNECT_SECONDS, options.timeout)),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        )

    def get(self, path: str) -> httpx.Response:
        """Fetch something.

        Raises:
            ServiceError: the service is away, refuses, or has no such thing.
        """
        # Answers to these take no time, so a service that is away is reported soon.
        return self._send(self._http.build_request("GET", path), min(self._patience, _GET_SECONDS))

    def post(self, path: str, body: bytes) -> httpx.Response:
        """Send a JSON body; raises as ``get`` does."""
        headers = {"Content-Type": "application/json"}
        return self._send(
            self._http.build_request("POST", path, content=body, headers=headers), self._patience
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _send(self, request: httpx.Request, patience: float) -> httpx.Response:
        try:
            for attempt in stamina.retry_context(
                on=_pause, attempts=None, timeout=patience, wait_initial=0.2, wait_max=10.0
            ):
                with attempt:
                    return self._http.send(request).raise_for_status()
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from error
        except httpx.TransportError as error:
            raise ServiceError(
                f"the embedding service at {self.url} does not answer ({type(error).__name__})",
                hint="start it, or correct its address",
            ) from error
        except httpx.HTTPError as error:
            raise self.nonsense(type(error).__name__) from error
        raise AssertionError("unreachable")

    def nonsense(self, what: str) -> ServiceError:
        """Make the error for an answer that is not what an embedding service gives."""
        return ServiceError(
            f"what answers at {self.url} is not an embedding service of this program: {what}",
            hint="correct the address, and run the same version on both sides",
        )

    def _refused(self, response: httpx.Response) -> ServiceError:
        status, problem = response.status_code, _problem(response)
        if status in (401, 403):
            return ServiceError(
                f"the embedding service at {self.url} refuses the API key (HTTP {status})",
                hint="correct the API key of the embedding service",
            )
        detail = str(problem.get("detail", ""))
        if not detail:
            if status in _TRANSIENT:
                return ServiceError(
                    f"the embedding service at {self.url} fails with HTTP {status}", hint="look into its log"
                )
            return self.nonsense(f"HTTP {status}")
        hint = str(problem.get("hint", "")) or "look into its log"
        return ServiceError(f"the embedding service at {self.url} refuses: {detail}", hint=hint)


def _pause(error: Exception) -> bool | float:
    """Say whether to try again, and after how many seconds if the service asked for a pause."""
    if isinstance(error, httpx.TransportError):
        # A wrong scheme or certificate does not pass.
        return not isinstance(error, httpx.UnsupportedProtocol) and "CERTIFICATE" not in str(error).upper()
    if not isinstance(error, httpx.HTTPStatusError) or error.response.status_code not in _TRANSIENT:
        return False
    seconds = retry_after(error.response.headers.get("retry-after", ""))
    if seconds is None:
        return True
    # Spread out, or all clients would come back at once.
    return min(seconds, _LONGEST_PAUSE) * random.uniform(1.0, 1.25)


def retry_after(value: str) -> float | None:
    """Read a Retry-After header, a number of seconds or a date; None if it is neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
