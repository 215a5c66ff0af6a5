"""The model and the store of one run, each opened only when the run turns out to need it.

A run over unchanged files loads no model; one that finds nothing to do in an empty index opens no store. Must
not know files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from indexer.chunk import CHUNKER_VERSION, Chunker
from indexer.embedding import Embedder
from indexer.manifest import Manifest
from indexer.schema import collection_schema
from store.base import Schema, Store
from store.errors import FingerprintMismatch, StoreError, StoreMissing


@dataclass(frozen=True, slots=True)
class Backends:
    """How a run gets its model and its store.

    Attributes:
        load_embedder: loads the model.
        open_store: opens the collection; makes it if a schema is given and there is none.
        drop_store: removes the collection with all it holds, if there is one.
        stamp_model: returns what changes when the model may have.
        model_name: as the user named it; empty for the shipped one.
    """

    load_embedder: Callable[[], Embedder]
    open_store: Callable[[Schema | None], Store]
    drop_store: Callable[[], None]
    stamp_model: Callable[[], str] = str
    model_name: str = ""


class Session:
    """Opens the model and the store of a run when they are first needed, and closes them."""

    def __init__(self, backends: Backends, manifest: Manifest) -> None:
        self._backends = backends
        self._manifest = manifest
        self._store: Store | None = None
        self._checked = False

    @cached_property
    def stamp(self) -> str:
        """What the collection is made with, as far as it can be known without the model."""
        return f"{CHUNKER_VERSION}\n{self._backends.stamp_model()}"

    @cached_property
    def embedder(self) -> Embedder:
        """The model."""
        return self._backends.load_embedder()

    @cached_property
    def chunker(self) -> Chunker:
        """The chunker for the model."""
        return Chunker.for_model(self.embedder.count_tokens, self.embedder.max_tokens)

    def find_store(self) -> Store | None:
        """Open the store if there is one, whatever made its vectors."""
        if self._store is None:
            with suppress(StoreMissing):
                self._store = self._backends.open_store(None)
        return self._store

    @property
    def store(self) -> Store:
        """The store, made by this run's model and chunker or made now.

        Raises:
            FingerprintMismatch: it holds vectors of another model, chunker or analyser.
        """
        if self._checked and self._store is not None:
            return self._store
        schema = collection_schema(self.embedder)
        if self._store is None:
            self._store = self._open(schema)
        elif self._store.schema != schema:
            raise _mismatch()
        self._checked = True
        self._manifest.set_facts(
            stamp=self.stamp, fingerprint=schema.fingerprint, model=self._backends.model_name
        )
        return self._store

    def _open(self, schema: Schema) -> Store:
        try:
            return self._backends.open_store(schema)
        except FingerprintMismatch as error:
            raise _mismatch() from error

    @property
    def is_same_model(self) -> bool:
        """Whether nothing hints that the model or the chunker changed since the last run."""
        return self._manifest.facts().get("stamp") == self.stamp

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            with suppress(StoreError):
                self._store.close()
            self._store = None


def _mismatch() -> FingerprintMismatch:
    return FingerprintMismatch(
        "the index was made by another model or another version of the chunker or analyser",
        hint="make it anew: lusifer index --rebuild; or name the model that made it: --model",
    )
