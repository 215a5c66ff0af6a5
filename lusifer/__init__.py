"""Multilingual text embeddings with the LUSIFER architecture: text in, unit vectors out.

Importing this package is cheap: the embedder is imported when it is first asked for, torch only by models
that need it, an HTTP client only by models that run elsewhere. Knows nothing of files to index or search
engines, and of HTTP only how to ask an embedding service (``lusifer.service``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import CheckpointError, ConfigError, DataError, LusiferError, ServiceError, TrainingError

if TYPE_CHECKING:
    from lusifer.embedder import Embedder
    from lusifer.service.options import ServiceOptions
    from lusifer.tokenization import TruncationWarning

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
        from lusifer.tokenization import TruncationWarning

        return TruncationWarning
    if name == "ServiceOptions":
        from lusifer.service.options import ServiceOptions

        return ServiceOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
