"""Chunks and their vectors, kept and searched: embedded in a data folder, or on a Qdrant server.

``open_location`` is the way in; what it opens is a ``Store`` whichever engine answers. Importing this package
loads no engine.
"""

from store.errors import (
    DiskFull,
    FingerprintMismatch,
    InvalidRequest,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreOutdated,
    StoreShared,
    StoreUnavailable,
)
from store.lexical.analyser import ANALYSER_VERSION
from store.location import DEFAULT_COLLECTION, CollectionInfo, IndexLocation, open_location, owner_id
from store.types import (
    HEADING_SEPARATOR,
    Answer,
    Chunk,
    DocumentHits,
    FacetField,
    Filter,
    Query,
    Schema,
    ScoredChunk,
    Store,
    Vector,
    check_schema,
)

__all__ = [
    "ANALYSER_VERSION",
    "DEFAULT_COLLECTION",
    "HEADING_SEPARATOR",
    "Answer",
    "Chunk",
    "CollectionInfo",
    "DiskFull",
    "DocumentHits",
    "FacetField",
    "Filter",
    "FingerprintMismatch",
    "IndexLocation",
    "InvalidRequest",
    "Query",
    "Schema",
    "ScoredChunk",
    "Store",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreMissing",
    "StoreOutdated",
    "StoreShared",
    "StoreUnavailable",
    "Vector",
    "check_schema",
    "open_location",
    "owner_id",
]
