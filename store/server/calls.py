"""Requests to a Qdrant server: tried again where that helps, refusals turned into our errors.

Errors name the address and the collection, never the key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import stamina
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from store.errors import StoreError, StoreMissing, StoreUnavailable

_T = TypeVar("_T")

_ATTEMPTS = 4
#: Statuses that pass: too many requests, bad gateway, unavailable, gateway timeout.
_TRANSIENT = frozenset((429, 502, 503, 504))


class AlreadyThere(StoreError):  # noqa: N818
    """There is a collection of this name."""


class ServerCalls:
    """Sends requests that concern one collection on one server.

    Args:
        collection: its name, for messages.
        address: the server's, for messages; shown without secrets.
    """

    def __init__(self, collection: str, address: str) -> None:
        self._collection = collection
        self._address = redact(address)

    def __call__(self, request: Callable[[], _T]) -> _T:
        """Send a request, again if it failed for a passing reason, and translate what remains.

        A request may be sent twice: when the answer to the first was lost, making a collection says that it
        is there already.
        """
        try:
            for attempt in stamina.retry_context(
                on=_passes, attempts=_ATTEMPTS, wait_initial=0.2, wait_max=5.0
            ):
                with attempt:
                    return request()
        except UnexpectedResponse as error:
            raise self._refused(error) from error
        except ResponseHandlingException as error:
            raise StoreUnavailable(
                f"The Qdrant server at {self._address} does not answer ({type(error.source).__name__})",
                hint="Start it, or correct its address.",
            ) from error
        except (ApiException, ValueError, KeyError) as error:
            if isinstance(error, ValueError) and "already exists" in str(error):  # the client's local mode
                raise AlreadyThere(f"There is a collection {self._collection!r} already") from error
            raise StoreError(
                f"The Qdrant server at {self._address} gave no usable answer ({type(error).__name__})",
                hint="Check that its version suits this client: 1.20 or a neighbour.",
            ) from error
        raise AssertionError("unreachable")

    def _refused(self, error: UnexpectedResponse) -> StoreError:
        status = error.status_code
        if status in (401, 403):
            return StoreUnavailable(
                f"The Qdrant server at {self._address} refuses the API key (HTTP {status})",
                hint="Correct the key, or give it the right to do this.",
            )
        if status == 404:
            return StoreMissing(
                f"The collection {self._collection!r} is gone from {self._address}",
                hint="Index the documents again.",
            )
        if status == 409:
            return AlreadyThere(f"There is a collection {self._collection!r} at {self._address} already")
        return StoreUnavailable(
            f"The Qdrant server at {self._address} failed with HTTP {status}", hint="Look into its log."
        )


def _passes(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _TRANSIENT
    return isinstance(error, ResponseHandlingException)


def redact(url: str) -> str:
    """Write an address without the user name, password and query that may stand in it."""
    parts = urlsplit(url)
    if not parts.hostname:
        return url if "@" not in url else "the address given"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
