"""The store on a Qdrant server, opened, made and removed.

Imported only when an address is given: qdrant-client takes its time to load. Knows the server's engine. Must
not know the embedded store.
"""

from __future__ import annotations

from qdrant_client import QdrantClient

from store.base import Schema
from store.collection import Collection
from store.schema import check_schema
from store.server import ServerEngine, connect


def open_server(
    url: str, api_key: str | None, collection: str, schema: Schema | None, *, create: bool
) -> Collection:
    """Open a collection on the server, or make it if ``create`` and there is none."""
    client = connect(url, api_key)
    try:
        return open_client(client, collection, schema, create=create, address=url)
    except BaseException:
        client.close()
        raise


def open_client(
    client: QdrantClient,
    collection: str,
    schema: Schema | None,
    *,
    create: bool = False,
    address: str = ":memory:",
) -> Collection:
    """Open a collection through a client that is there already, such as ``QdrantClient(":memory:")``."""
    if create and schema is not None:
        engine = ServerEngine.create(client, collection, schema, address)
    else:
        engine = ServerEngine.load(client, collection, address)
    check_schema(engine.schema, schema)
    return Collection(engine)


def reset_server(url: str, api_key: str | None, collection: str, schema: Schema) -> Collection:
    """Remove the collection and make it anew, empty."""
    delete_server(url, api_key, collection)
    return open_server(url, api_key, collection, schema, create=True)


def delete_server(url: str, api_key: str | None, collection: str) -> None:
    """Remove the collection."""
    client = connect(url, api_key)
    try:
        ServerEngine.drop(client, collection, url)
    finally:
        client.close()
