"""The stores on a Qdrant server, opened, made, switched and removed.

Imported only when an address is given: qdrant-client takes its time to load. Knows the server's engine. Must
not know the embedded store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qdrant_client import QdrantClient

from store.collection import Collection
from store.errors import StoreMissing
from store.server.alias import Succession
from store.server.engine import connect
from store.types import Schema, check_schema


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
    succession = Succession(client, collection, address)
    engine = succession.create(schema) if create and schema is not None else succession.current()
    check_schema(engine.schema, schema)
    return Collection(engine)


def stage_server(url: str, api_key: str | None, collection: str, schema: Schema) -> Collection:
    """Open the collection that is to follow the current one, or make it."""
    client = connect(url, api_key)
    try:
        return Collection(Succession(client, collection, url).stage(schema))
    except BaseException:
        client.close()
        raise


def server_schema(url: str, api_key: str | None, collection: str) -> Schema | None:
    """Read what the current collection's chunks have in common; None if there is none."""
    with succession(url, api_key, collection) as found:
        try:
            return found.current().schema
        except StoreMissing:
            return None


@contextmanager
def succession(url: str, api_key: str | None, collection: str) -> Iterator[Succession]:
    """Connect to what stands behind a name on a server."""
    client = connect(url, api_key)
    try:
        yield Succession(client, collection, url)
    finally:
        client.close()


def reset_server(url: str, api_key: str | None, collection: str, schema: Schema) -> Collection:
    """Remove the collection and make it anew, empty."""
    delete_server(url, api_key, collection)
    return open_server(url, api_key, collection, schema, create=True)


def delete_server(url: str, api_key: str | None, collection: str) -> None:
    """Remove the collection, and one that is being made to follow it."""
    with succession(url, api_key, collection) as found:
        found.delete()
