"""Chunks and their vectors, kept and searched: embedded in a data folder, or on a Qdrant server.

``open_store`` is the door; what comes out is a ``Store`` whichever engine answers. Importing this package
loads no engine. Knows nothing of models, files that are indexed, or HTTP.
"""

from __future__ import annotations

from pathlib import Path

from store.daemon.client import RemoteStore
from store.edge.current import leftovers, read_pointer
from store.edge.integrity import peek_schema
from store.errors import (
    DiskFull,
    FingerprintMismatch,
    InvalidRequest,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreUnavailable,
)
from store.lexical.analyser import ANALYSER_VERSION
from store.types import (
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
    "Answer",
    "Chunk",
    "DiskFull",
    "DocumentHits",
    "FacetField",
    "Filter",
    "FingerprintMismatch",
    "InvalidRequest",
    "Query",
    "Schema",
    "ScoredChunk",
    "Store",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreMissing",
    "StoreUnavailable",
    "Vector",
    "copy_store",
    "current_schema",
    "delete_store",
    "open_store",
    "reset_store",
    "stage_store",
    "sweep_store",
    "switch_store",
]

DEFAULT_COLLECTION = "documents"


def open_store(
    data: Path,
    schema: Schema | None,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
    create: bool = False,
) -> Store:
    """Open the store of a data folder, or a collection on a server.

    Args:
        data: the data folder of the embedded store; not used with ``url``.
        schema: what the collection must be; None takes it as it is.
        url: address of a Qdrant server; None for the embedded store.
        api_key: the server's key.
        collection: name of the collection on the server.
        create: make the store, with ``schema``, if there is none.

    Raises:
        StoreMissing: nothing is indexed yet, and ``create`` is not set.
        FingerprintMismatch: the collection was made by another model, chunker or analyser.
        StoreDamaged, StoreUnavailable, DiskFull: as their names say; each has a hint.
    """
    if create and schema is None:
        raise InvalidRequest("A store cannot be made without a schema", hint="Give one, or do not create.")
    if url is not None:
        from store.server.remote import open_server

        return open_server(url, api_key, collection, schema, create=create)
    data = _resolve(data, create=create)
    return RemoteStore.open(data, schema, create=create)


def reset_store(
    data: Path,
    schema: Schema,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
    keep_damaged: bool = True,
) -> Store:
    """Begin anew with an empty store, whatever state the old one is in.

    A damaged embedded store is moved aside to ``<data>/store.damaged-<time>`` unless ``keep_damaged`` is off;
    a sound one is deleted. Other arguments as for ``open_store``.
    """
    if url is not None:
        from store.server.remote import reset_server

        return reset_server(url, api_key, collection, schema)
    return RemoteStore.reset(_resolve(data, create=True), schema, keep_damaged=keep_damaged)


def delete_store(
    data: Path,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
) -> None:
    """Remove a store and all it holds; harmless if there is none. A damaged one is deleted like any other."""
    if url is not None:
        from store.server.remote import delete_server

        delete_server(url, api_key, collection)
    elif any(data.glob("store*")):
        RemoteStore.delete(data.resolve(), keep_damaged=False)


def current_schema(
    data: Path,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
) -> Schema | None:
    """Read what made the store that is searched now, without opening it; None if there is none.

    Raises:
        StoreDamaged, StoreUnavailable: it cannot be read.
    """
    if url is not None:
        from store.server.remote import server_schema

        return server_schema(url, api_key, collection)
    data = data.expanduser()
    return peek_schema(data / read_pointer(data).current)


def stage_store(
    data: Path,
    schema: Schema,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
) -> Store:
    """Open the store that is to follow the present one, or make it: first step of a change of model.

    The present store is searched and written as before. One that was staged with another schema is removed.
    Arguments as for ``open_store``.

    Raises:
        StoreMissing: there is nothing to follow.
        InvalidRequest: the present store has this schema.
    """
    if url is not None:
        from store.server.remote import stage_server

        return stage_server(url, api_key, collection, schema)
    return RemoteStore.stage(_resolve(data, create=False), schema)


def switch_store(
    data: Path,
    schema: Schema,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
) -> None:
    """Put the staged store with this schema in the place of the present one, at once or not at all.

    The former one is retired: whoever has it open can go on until ``sweep_store``. Harmless when repeated.

    Raises:
        StoreMissing: no store with this schema is staged.
    """
    if url is not None:
        from store.server.remote import succession

        with succession(url, api_key, collection) as found:
            found.switch(schema)
    else:
        RemoteStore.switch(_resolve(data, create=False), schema)


def sweep_store(
    data: Path,
    *,
    url: str | None = None,
    api_key: str | None = None,
    collection: str = DEFAULT_COLLECTION,
) -> None:
    """Remove retired stores: last step of a change of model. Harmless if there are none."""
    if url is not None:
        from store.server.remote import succession

        with succession(url, api_key, collection) as found:
            found.sweep()
        return
    pointer = read_pointer(data)
    # No owner process is started for nothing.
    if pointer.retired or leftovers(data, pointer):
        RemoteStore.sweep(data.resolve())


def copy_store(source: Store, target: Store, *, batch: int = 1000) -> int:
    """Copy every chunk from one store into another, of whatever kinds they are; return how many.

    Raises:
        FingerprintMismatch: the schemas differ.
    """
    check_schema(target.schema, source.schema)
    copied = 0
    for chunks, vectors in source.export(batch=batch):
        target.upsert(chunks, vectors)
        copied += len(chunks)
    target.flush()
    return copied


def _resolve(data: Path, *, create: bool) -> Path:
    """Check the data folder before an owner process is started for it."""
    data = data.expanduser().resolve()
    if create:
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreUnavailable(
                f"The data folder {data} cannot be made ({error.strerror})",
                hint="Choose another with --data.",
            ) from error
    elif not (data / read_pointer(data).current).exists():
        raise StoreMissing(f"Nothing is indexed at {data}", hint="Run `lusifer index PATH` first.")
    return data
