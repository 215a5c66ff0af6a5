"""Multilingual text embeddings with the LUSIFER architecture: text in, unit vectors out.

Importing this package is cheap: torch, transformers and an HTTP client are imported by the models that need
them, when they are loaded.
"""

from __future__ import annotations

from lusifer.embedder import Embedder
from lusifer.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    LusiferError,
    ServiceError,
    TrainingError,
    TruncationWarning,
)
from lusifer.service import ServiceOptions

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
