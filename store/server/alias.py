"""The collections that follow each other under one name on a Qdrant server.

The name that users choose is an alias; the collections behind it are numbered (``documents--1``). One that is
being made has the alias ``documents--next``, and a switch changes both aliases in one request, which the
server does at once or not at all. Knows names. Must not know points.
"""

from __future__ import annotations

import re
import time

from qdrant_client import QdrantClient, models

from store.errors import InvalidRequest, StoreDamaged, StoreError, StoreMissing
from store.server.calls import ServerCalls, redact
from store.server.engine import ServerEngine
from store.types import Schema

#: How long another program that makes the same collection may take to give it its name, in seconds.
_NAMING_SECONDS = 10.0
_PAUSE = 0.1


class Succession:
    """What stands behind one name on a server.

    Args:
        client: the server.
        name: what users call the collection.
        address: for messages.
    """

    def __init__(self, client: QdrantClient, name: str, address: str) -> None:
        self._client = client
        self._name = name
        self._next = f"{name}--next"
        self._address = address
        self._call = ServerCalls(name, address)

    def current(self) -> ServerEngine:
        """Open the collection that is searched.

        Raises:
            StoreMissing: there is none.
            StoreDamaged: something else has its name.
        """
        collection = self._current()
        if collection is None:
            raise StoreMissing(
                f"Nothing is indexed: {redact(self._address)} has no collection {self._name!r}",
                hint="Run `lusifer index PATH` first.",
            )
        return self._load(collection)

    def create(self, schema: Schema) -> ServerEngine:
        """Make the first collection, or open it if another program was quicker."""
        if self._current() is not None:
            return self.current()
        try:
            collection = self._make(schema)
        except StoreError:
            return self._wait_for_other()
        self._alias(models.CreateAlias(collection_name=collection, alias_name=self._name))
        return self._load(collection)

    def staged(self) -> ServerEngine | None:
        """Open the collection that is being made, if there is one."""
        collection = self._aliases().get(self._next)
        return None if collection is None else self._load(collection)

    def stage(self, schema: Schema) -> ServerEngine:
        """Open the collection that is to follow, or make it; one with another schema is removed.

        Raises:
            StoreMissing: there is nothing to follow.
            InvalidRequest: the current collection has this schema.
        """
        if self.current().schema == schema:
            raise InvalidRequest("The collection has this schema already", hint="Open it.")
        staged = self.staged()
        if staged is not None and staged.schema == schema:
            return staged
        collection = self._make(schema)
        former = self._aliases().get(self._next)
        # The alias moves first: what it leaves is nobody's, and removed now or by the next sweep.
        self._alias(models.CreateAlias(collection_name=collection, alias_name=self._next))
        if former is not None:
            self._drop(former)
        return self._load(collection)

    def switch(self, schema: Schema) -> None:
        """Give the name to the collection that was made; harmless when it was done already.

        Raises:
            StoreMissing: no collection with this schema is being made.
        """
        staged, current = self.staged(), self._current()
        if current is not None and self._load(current).schema == schema:
            return
        if staged is None or staged.schema != schema:
            raise StoreMissing("No collection of this model is being made", hint="Run `lusifer index` again.")
        if current == self._name:
            # Made before names were aliases. A name cannot be both, so this once it is free for a moment.
            self._drop(current)
        self._alias(
            models.CreateAlias(collection_name=staged.collection, alias_name=self._name),
            models.DeleteAlias(alias_name=self._next),
        )

    def sweep(self) -> None:
        """Remove the collections that were followed by others."""
        named = set(self._aliases().values())
        for collection in self._numbered():
            if collection not in named and self._is_ours(collection):
                self._drop(collection)

    def delete(self) -> None:
        """Remove all collections of this name, whatever they are."""
        aliases = self._aliases()
        named = (aliases.get(self._next), self._current())
        found = {collection for collection in named if collection is not None}
        for collection in sorted(found.union(filter(self._is_ours, self._numbered()))):
            self._drop(collection)

    def _current(self) -> str | None:
        collection = self._aliases().get(self._name)
        if collection is None and self._call(lambda: self._client.collection_exists(self._name)):
            return self._name
        return collection

    def _aliases(self) -> dict[str, str]:
        found = self._call(self._client.get_aliases).aliases
        return {one.alias_name: one.collection_name for one in found}

    def _numbered(self) -> list[str]:
        found = self._call(self._client.get_collections).collections
        return [one.name for one in found if re.fullmatch(re.escape(self._name) + r"--\d+", one.name)]

    def _make(self, schema: Schema) -> str:
        numbers = [int(name.rpartition("--")[2]) for name in self._numbered()]
        collection = f"{self._name}--{max(numbers, default=0) + 1}"
        ServerEngine.create(self._client, collection, schema, self._address)
        return collection

    def _load(self, collection: str) -> ServerEngine:
        return ServerEngine.load(self._client, collection, self._address)

    def _is_ours(self, collection: str) -> bool:
        try:
            self._load(collection)
        except (StoreDamaged, StoreMissing):
            return False
        return True

    def _drop(self, collection: str) -> None:
        self._call(lambda: self._client.delete_collection(collection))

    def _alias(self, *changes: models.CreateAlias | models.DeleteAlias) -> None:
        operations: list[models.CreateAliasOperation | models.DeleteAliasOperation] = [
            models.CreateAliasOperation(create_alias=change)
            if isinstance(change, models.CreateAlias)
            else models.DeleteAliasOperation(delete_alias=change)
            for change in changes
        ]
        self._call(lambda: self._client.update_collection_aliases(change_aliases_operations=operations))

    def _wait_for_other(self) -> ServerEngine:
        """Open the collection that another program is making at the same time."""
        deadline = time.monotonic() + _NAMING_SECONDS
        while self._current() is None and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return self.current()
