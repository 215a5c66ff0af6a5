"""The model and the store of one run, each opened only when the run turns out to need it.

A run over unchanged files loads no model; one that finds nothing to do in an empty index opens no store. Must
not know files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from indexer.manifest import Manifest
from indexer.text.chunk import CHUNKER_VERSION, Chunker
from store.errors import StoreError, StoreMissing
from store.types import Schema, Store, Vector, check_schema

# What the indexer needs of a model.


class Embedder(Protocol):
    """Passages in, unit vectors out."""

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    @property
    def fingerprint(self) -> str:
        """What makes the vectors."""

    @property
    def max_tokens(self) -> int:
        """Longest text the model sees, in its tokens."""

    def embed_documents(self, texts: list[str]) -> Vector:
        """Embed passages: float32, shape (len(texts), dimensions), unit rows."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Count each text's tokens, special ones left out."""


# What a collection is made with: the one place that puts its fingerprint together.


class Fingerprinted(Protocol):
    """What a model has to say about its vectors."""

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    @property
    def fingerprint(self) -> str:
        """What makes the vectors."""


def collection_schema(embedder: Fingerprinted) -> Schema:
    """Return the schema of collections of this model's vectors, with this chunker and analyser."""
    from store.lexical.analyser import ANALYSER_VERSION

    parts = (embedder.fingerprint, CHUNKER_VERSION, ANALYSER_VERSION, embedder.dimensions)
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return Schema(dimensions=embedder.dimensions, fingerprint=digest[:16])


@dataclass(frozen=True, slots=True)
class Backends:
    """How a run gets its model and its store.

    Attributes:
        load_embedder: loads the model.
        open_store: opens the collection; makes it if a schema is given and there is none.
        drop_store: removes the collection with all it holds, if there is one, and one that is to follow it.
        stage_store: opens the collection that is to follow, or makes it.
        switch_store: puts the one that was staged with a schema in the place of the present one.
        sweep_store: removes collections that were followed by others.
        stamp_model: returns what changes when the model may have.
        model_name: what to load it by; empty for the shipped one.
        grace: seconds that a former collection stays for servers that still search it.
    """

    load_embedder: Callable[[], Embedder]
    open_store: Callable[[Schema | None], Store]
    drop_store: Callable[[], None]
    stage_store: Callable[[Schema], Store]
    switch_store: Callable[[Schema], None]
    sweep_store: Callable[[], None]
    stamp_model: Callable[[], str] = str
    model_name: str = ""
    grace: float = 0.0


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

    @cached_property
    def schema(self) -> Schema:
        """What collections of this model and chunker have in common."""
        return replace(collection_schema(self.embedder), model=self._backends.model_name)

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
        schema = self.schema
        if self._store is None:
            self._store = self._backends.open_store(schema)
        else:
            check_schema(self._store.schema, schema)
        self._checked = True
        self._manifest.set_facts(
            stamp=self.stamp, fingerprint=schema.fingerprint, model=self._backends.model_name
        )
        return self._store

    @property
    def is_same_model(self) -> bool:
        """Whether nothing hints that the model or the chunker changed since the last run."""
        facts, store = self._manifest.facts(), self.find_store()
        is_known = store is None or facts.get("fingerprint") == store.schema.fingerprint
        return is_known and facts.get("stamp") == self.stamp

    @property
    def is_other_model(self) -> bool:
        """Whether the store there is was made by another model or version of the chunker or analyser."""
        store = self.find_store()
        return store is not None and not self.is_same_model and store.schema != self.schema

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            with suppress(StoreError):
                self._store.close()
            self._store = None
