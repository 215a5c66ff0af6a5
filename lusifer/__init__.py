"""Multilingual text embeddings with the LUSIFER architecture: text in, unit vectors out.

Importing this package is cheap: the embedder is imported when it is first asked for, torch only by models
that need it. Knows nothing of files to index, search engines or HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import CheckpointError, ConfigError, DataError, LusiferError, TrainingError

if TYPE_CHECKING:
    from lusifer.embedder import Embedder
    from lusifer.tokens import TruncationWarning

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Embedder",
    "LusiferError",
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
