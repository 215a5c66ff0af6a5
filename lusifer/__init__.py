"""Multilingual text embeddings with the LUSIFER architecture: text in, unit vectors out.

Importing this package is cheap: the embedder is imported when it is first asked for, torch only by models
that need it, an HTTP client only by models that run elsewhere. Knows nothing of files to index or search
engines, and of HTTP only how to ask an embedding service (``lusifer.remote``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import CheckpointError, ConfigError, DataError, LusiferError, ServiceError, TrainingError

if TYPE_CHECKING:
    from lusifer.embedder import Embedder
    from lusifer.remote.options import ServiceOptions
    from lusifer.tokens import TruncationWarning

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Embedder",
    "LusiferError",
    "ServiceError",
    "ServiceOptions",
    "TrainingError",
    "TruncationWarning",
]


def __getattr__(name: str) -> Any:
    if name == "Embedder":
        from lusifer.embedder import Embedder

        return Embedder
    if name == "TruncationWarning":
        from lusifer.tokens import TruncationWarning

        return TruncationWarning
    if name == "ServiceOptions":
        from lusifer.remote.options import ServiceOptions

        return ServiceOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
