"""What a store of chunks is: the values that go in and come out, and the one interface over all engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from store.errors import FingerprintMismatch
from store.fusion import FusionParameters

Vector: TypeAlias = NDArray[np.float32]

#: Cosines of an answer's ``nearest``.
NEAREST = 50
#: Stands between the headings in a chunk's ``heading``.
HEADING_SEPARATOR = " › "

FacetField: TypeAlias = Literal["language", "document_language", "folder"]


@dataclass(frozen=True, slots=True)
class Schema:
    """What every chunk of a collection has in common.

    Attributes:
        dimensions: length of the dense vectors.
        fingerprint: what made the vectors (model, prompts, chunker, dimensions); never mixed in a collection.
        model: how whoever made the collection named its model; kept for others, not compared.
        model_fingerprint: what the model says of its vectors; kept for others, not compared.
    """

    dimensions: int
    fingerprint: str
    model: str = field(default="", compare=False)
    model_fingerprint: str = field(default="", compare=False)


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


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document, as stored.

    The chunks of a document tile its text: joined in order of ``position`` their ``text`` is the document.

    Attributes:
        id: a UUID, the same whenever the same passage of the same version of the document is indexed.
        document_id: 32 hexadecimal digits.
        version: hash of the document's content; chunks of an older version are replaced as a whole.
        position: number of the chunk in its document, from 0.
        start: offset of ``text`` in the document's text, in characters.
        end: offset of the character after ``text``.
        text: the passage, whitespace at its ends included.
        heading: the headings above the passage, joined by ``HEADING_SEPARATOR``; empty if there are none.
        language: ISO 639-1 code of the passage.
        path: the document's path, absolute, with ``/`` as separator.
        folder: the path of the folder the document lies in.
        title: the document's title.
        document_language: ISO 639-1 code of the document as a whole.
        modified: when the document was changed last, in seconds since the epoch.
    """

    id: str
    document_id: str
    version: str
    position: int
    start: int
    end: int
    text: str
    heading: str
    language: str
    path: str
    folder: str
    title: str
    document_language: str
    modified: float


class OneOf(NamedTuple):
    """A field has one of some values."""

    field: str
    values: tuple[str, ...] | tuple[int, ...]


class Below(NamedTuple):
    """A path is, or lies below, another: ``/a/b`` matches ``/a/b`` and all below it, not ``/a/bc``."""

    field: str
    path: str

    @property
    def itself(self) -> str:
        """The one path that matches exactly."""
        return self.path.rstrip("/") or "/"

    @property
    def prefix(self) -> str:
        """What all others begin with."""
        return self.path.rstrip("/") + "/"


class Between(NamedTuple):
    """A field is a number between two, inclusive; None for no bound."""

    field: str
    least: float | None
    greatest: float | None


#: What engines can tell of a point: all that a filter is made of.
Term: TypeAlias = OneOf | Below | Between


@dataclass(frozen=True, slots=True)
class Filter:
    """Which chunks may be found: all given conditions hold; within one, any value does.

    Attributes:
        languages: languages of the passage.
        path_prefix: a folder or file; ``/a/b`` matches ``/a/b`` and all below it, not ``/a/bc``.
        document_ids: only these documents.
        modified_from: earliest time of change, inclusive, in seconds since the epoch.
        modified_to: latest time of change, inclusive.
        first_chunks: only the chunks at position 0, one for each document.
        owner: only what was indexed from the data folder with this id; empty or None for all.
    """

    languages: tuple[str, ...] = ()
    path_prefix: str | None = None
    document_ids: tuple[str, ...] = ()
    modified_from: float | None = None
    modified_to: float | None = None
    first_chunks: bool = False
    owner: str | None = None

    def terms(self) -> list[Term]:
        """Say the filter in terms that engines know: the only place that names the fields of a filter."""
        given = (
            OneOf("language", self.languages),
            OneOf("document_id", self.document_ids),
            OneOf("owner", (self.owner,) if self.owner else ()),
            OneOf("position", (0,) if self.first_chunks else ()),
        )
        terms: list[Term] = [term for term in given if term.values]
        if self.path_prefix is not None:
            terms.append(Below("path", self.path_prefix))
        if self.modified_from is not None or self.modified_to is not None:
            terms.append(Between("modified", self.modified_from, self.modified_to))
        return terms


@dataclass(frozen=True, slots=True)
class Query:
    """One hybrid question to the store.

    Attributes:
        vector: unit vector of the question, shape (dimensions,).
        text: the question's words, for the lexical half; empty for dense search alone.
        filter: what may be found.
        documents: how many documents are wanted.
        offset: how many documents to leave out first.
        chunks_per_document: how many chunks of each document are wanted.
        candidates: how many chunks each half contributes before fusion.
        language: ISO 639-1 code of the question, if that is to matter to the fusion; empty if not.
        fusion: how dense and lexical evidence become one score; None for the store's own way.
    """

    vector: Vector
    text: str
    filter: Filter = Filter()
    documents: int = 10
    offset: int = 0
    chunks_per_document: int = 3
    candidates: int = 200
    language: str = ""
    fusion: FusionParameters | None = None


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A chunk found.

    Attributes:
        chunk: the passage.
        score: fused score, higher is better; comparable within one answer only.
        similarity: cosine of the question's and the passage's vectors, -1 to 1.
        lexical: lexical (BM25-weighted) score, 0 where no word is shared.
        coverage: share of the question that this score is worth, 0 to 1.
    """

    chunk: Chunk
    score: float
    similarity: float
    lexical: float
    coverage: float


@dataclass(frozen=True, slots=True)
class DocumentHits:
    """A document found: its best chunks, best first. Its score is that of the best one."""

    document_id: str
    chunks: tuple[ScoredChunk, ...]

    @property
    def score(self) -> float:
        return self.chunks[0].score


@dataclass(frozen=True, slots=True)
class Answer:
    """The documents found, best first.

    Attributes:
        documents: this page of them.
        total: how many documents are among the candidates in all, pages before and after included.
        languages: number of found documents by the language of their best chunk, over all pages.
        folders: number of found documents by ``folder``, over all pages.
        nearest: cosines of the chunks nearest to the question, found by vector alone, the highest first; at
            most ``NEAREST`` of them. They say how near anything comes to this question.
    """

    documents: tuple[DocumentHits, ...]
    total: int
    languages: dict[str, int]
    folders: dict[str, int]
    nearest: tuple[float, ...] = ()


class Store(Protocol):
    """A collection of chunks. All methods raise ``store.errors.StoreError``, nothing of the engine's."""

    @property
    def info(self) -> CollectionInfo:
        """What the collection is: its name, id and schema."""

    @property
    def schema(self) -> Schema:
        """What the collection's chunks have in common; that of ``info``."""

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        """Add or replace chunks by id; ``vectors`` has shape (len(chunks), dimensions), unit rows."""

    def delete_document(self, document_id: str, *, except_version: str | None = None) -> None:
        """Remove a document's chunks, or only those of versions other than the one given."""

    def search(self, query: Query) -> Answer:
        """Answer a question: dense and lexical candidates, fused, grouped by document."""

    def facet(self, field: FacetField, filter: Filter = Filter()) -> dict[str, int]:
        """Count chunks by a field's value, the most frequent first. Exact."""

    def count(self, filter: Filter = Filter()) -> int:
        """Count chunks. Exact."""

    def scroll(self, filter: Filter = Filter(), *, limit: int = 1000, offset: int = 0) -> list[Chunk]:
        """List chunks in the order (path, position), ``limit`` of them after the first ``offset``."""

    def versions(self, filter: Filter = Filter()) -> dict[tuple[str, str], int]:
        """Count chunks by (document_id, version): what the store holds, in one pass over it."""

    def export(self, *, batch: int = 1000) -> Iterator[tuple[list[Chunk], Vector]]:
        """Yield every chunk with its vector, batch by batch: what ``upsert`` of another store takes."""

    def flush(self) -> None:
        """Make everything acknowledged so far durable."""

    def close(self) -> None:
        """Let go of the store; nothing acknowledged is lost."""


def check_schema(found: Schema, wanted: Schema | None) -> None:
    """Refuse to mix vectors of different makes.

    Raises:
        FingerprintMismatch: the schemas differ. ``None`` accepts any.
    """
    if wanted is None or wanted == found:
        return
    raise FingerprintMismatch(
        f"The index was made with {found.fingerprint} ({found.dimensions} dimensions), "
        f"not with {wanted.fingerprint} ({wanted.dimensions} dimensions)",
        hint="Use the model it was made with, or index the documents again with this one.",
    )
