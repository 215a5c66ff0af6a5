"""Models that run elsewhere: how to reach an embedding service, whose vectors come through ``Embedder``.

This file is cheap to import; ``client`` speaks HTTP, ``backend`` makes a model of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lusifer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How to use an embedding service.

    Attributes:
        api_key: the service's key.
        timeout: seconds that one request may take, waiting in the service's queue included.
        patience: seconds to go on trying while the service is busy or away.
        expected: name or fingerprint of the model it has to serve; None takes the one it serves.
        cache: folder for the service's tokenizer; None for the platform's cache folder.
    """

    api_key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    patience: float = 120.0
    expected: str | None = None
    cache: Path | None = None


def normalise_url(url: str) -> str:
    """Return a service's address without ``/v1`` or a slash at its end.

    Raises:
        ConfigError: it is no HTTP address, or holds what does not belong into one.
    """
    try:
        parts = urlsplit(url.strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        is_address = False
    if not is_address:
        raise ConfigError("the address of the embedding service is not one", hint="give http://HOST:PORT")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"the address of the embedding service at {parts.hostname} holds more than scheme, host and path",
            hint="give an API key as a setting of its own, not in the address",
        )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"
