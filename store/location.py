"""Where collections are kept, all that callers need: in a data folder, or on a Qdrant server.

A collection is a folder or a Qdrant collection with a name made of its fingerprint; one *current* (a symbolic
link, or an alias) names the one that is searched, and is renamed at once. A change of model builds another
collection beside the current one and then switches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from store.types import Schema, Store


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection is, readable without opening it.

    Attributes:
        name: of the folder or of the Qdrant collection.
        id: made at random with the collection; a manifest that speaks of another id is not believed.
        schema: what its vectors were made with.
    """

    name: str
    id: str
    schema: Schema


class IndexLocation(Protocol):
    """Where the collections of one index are. Methods raise ``StoreError``, nothing of an engine's."""

    def current(self) -> CollectionInfo | None:
        """Say what is searched now; None if nothing is indexed. Cheap: asked with every search."""

    def open(self, info: CollectionInfo | None = None) -> Store:
        """Open a collection, the current one by default.

        Raises:
            StoreMissing: there is none.
        """

    def build(self, schema: Schema, *, fresh: bool = False) -> CollectionInfo:
        """Find or make the collection of a schema that is to be filled; it is not searched before ``switch``.

        Args:
            schema: what its vectors are made with.
            fresh: make an empty one beside the current one even if that has this schema (a rebuild). What an
                interrupted rebuild left is gone on with.
        """

    def switch(self, info: CollectionInfo) -> None:
        """Search this collection from now on, at once or not at all; harmless when repeated.

        The former one is kept, for whoever still reads it and for a rollback, until ``sweep``.
        """

    def sweep(self) -> None:
        """Remove collections that are neither current, nor being built, nor another owner's."""

    def delete(self) -> None:
        """Remove the index with all its collections; harmless if there is none."""

    def manifest_folder(self, info: CollectionInfo) -> Path:
        """Return the local folder that holds the manifest of a collection; it goes when that goes."""
