"""Chunks and their vectors, kept and searched: embedded in a data folder, or on a Qdrant server.

``open_location`` is the way in; what it opens is a ``Store`` whichever engine answers. Importing this package
loads no engine.
"""

from __future__ import annotations

from pathlib import Path

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
from store.lexical import ANALYSER_VERSION
from store.location import IndexLocation, owner_id
from store.types import (
    HEADING_SEPARATOR,
    Answer,
    Chunk,
    CollectionInfo,
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

DEFAULT_COLLECTION = "documents"


def open_location(
    data: Path, *, url: str | None = None, api_key: str | None = None, collection: str = DEFAULT_COLLECTION
) -> IndexLocation:
    """Return where an index is; nothing is opened, made or asked yet.

    Args:
        data: the data folder: of the embedded store, or of what is kept locally about one on a server.
        url: address of a Qdrant server; None for the embedded store.
        api_key: the server's key.
        collection: name of the collection on the server.

    Raises:
        InvalidRequest: the address is not one, or the collection's name.
    """
    if url is None:
        from store.daemon.client import LocalIndex

        return LocalIndex(data)
    from store.server.index import ServerIndex, connect

    return ServerIndex(connect(url, api_key), collection, data, address=url)
