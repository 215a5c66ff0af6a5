"""The model of one run and what follows from it, each made only when the run turns out to need it.

A run over unchanged files loads no model.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Protocol

from indexer.manifest import Manifest
from indexer.text.chunk import CHUNKER_VERSION, Chunker
from lusifer.embedder import TextEmbedder
from store.lexical import ANALYSER_VERSION
from store.types import CollectionInfo, Schema, check_schema


class Model(Protocol):
    """A model that is not loaded yet; ``indexer.settings.ModelChoice`` is one."""

    @property
    def reference(self) -> str:
        """What to load it by; kept in the collection, for those who search it."""

    def load(self) -> TextEmbedder:
        """Load it."""

    def stamp(self) -> str:
        """Return a sign that changes when the model may have, without loading it."""


class Session:
    """The model of one run, its chunker, and the schema of the collections they make.

    Args:
        model: loaded when it is first needed.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @cached_property
    def embedder(self) -> TextEmbedder:
        """The loaded model."""
        return self.model.load()

    @cached_property
    def schema(self) -> Schema:
        """What collections of this model, chunker and analyser have in common."""
        embedder = self.embedder
        parts = (embedder.fingerprint, CHUNKER_VERSION, ANALYSER_VERSION, embedder.dimensions)
        digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
        return Schema(
            dimensions=embedder.dimensions,
            fingerprint=digest[:16],
            model=self.model.reference,
            model_fingerprint=embedder.fingerprint,
        )

    def made(self, collection: CollectionInfo, manifest: Manifest) -> bool:
        """Tell whether this model, chunker and analyser made a collection.

        The model is loaded only if something hints that one of them may have changed since the last run.
        """
        return manifest.facts().get("stamp") == self._stamp or collection.schema == self.schema

    def sign(self, collection: CollectionInfo, manifest: Manifest) -> None:
        """Write into a manifest what made its collection; doubt it if that is another collection than before.

        A collection that was made again, or restored from a copy, does not hold what the manifest says.
        """
        if manifest.facts().get("collection", collection.id) != collection.id:
            manifest.doubt()
        manifest.set_facts(collection=collection.id, stamp=self._stamp)

    def chunker_for(self, collection: CollectionInfo) -> Chunker:
        """Return the chunker for the model, which has to be the one that made the collection.

        Raises:
            FingerprintMismatch: it is not, though nothing hinted at that.
        """
        check_schema(collection.schema, self.schema)
        return Chunker.for_model(self.embedder.count_tokens, self.embedder.max_tokens)

    @cached_property
    def _stamp(self) -> str:
        return f"{CHUNKER_VERSION}\n{ANALYSER_VERSION}\n{self.model.stamp()}"
