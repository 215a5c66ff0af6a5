"""Read documents back from the store: lists, whole texts, what is indexed. No file is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass

from search.errors import NotFoundError
from store.types import Chunk, Filter, Store

_ID = re.compile(r"[0-9a-f]{32}")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A part of a document: some of its chunks in a row, at least one.

    Attributes:
        chunks: the passages, in order; joined they are the text.
        total: how many passages the whole document has.
    """

    chunks: tuple[Chunk, ...]
    total: int

    @property
    def first(self) -> Chunk:
        return self.chunks[0]

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class DocumentList:
    """A page of the documents in the index, each shown by its first chunk."""

    total: int
    documents: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is indexed.

    Attributes:
        documents: how many documents.
        chunks: how many passages.
        languages: documents by language, the most frequent first.
        fingerprint: what made the vectors.
    """

    documents: int
    chunks: int
    languages: dict[str, int]
    fingerprint: str


def list_documents(store: Store, filter: Filter, *, limit: int, offset: int) -> DocumentList:
    """List documents by path; ``filter`` looks at the first passage of each."""
    return DocumentList(store.count(filter), tuple(store.scroll(filter, limit=limit, offset=offset)))


def read_document(store: Store, document_id: str, *, first: int = 0, most: int | None = None) -> DocumentText:
    """Read a document, or ``most`` of its passages from number ``first`` on.

    Raises:
        NotFoundError: the index holds no such document.
    """
    if not _ID.fullmatch(document_id):
        raise _unknown()
    filter = Filter(document_ids=(document_id,))
    total = store.count(filter)
    wanted = total if most is None else min(total, first + most)
    chunks: list[Chunk] = []
    while (done := first + len(chunks)) < wanted:
        batch = store.scroll(filter, limit=min(_PAGE, wanted - done), offset=done)
        if not batch:
            break
        chunks += batch
    if not chunks:
        raise _unknown()
    return DocumentText(tuple(chunks), total)


def take_inventory(store: Store) -> Inventory:
    """Count what is indexed. Exact."""
    documents = Filter(first_chunks=True)
    return Inventory(
        documents=store.count(documents),
        chunks=store.count(),
        languages=store.facet("document_language", documents),
        fingerprint=store.schema.fingerprint,
    )


def _unknown() -> NotFoundError:
    return NotFoundError(
        "There is no such document in the index", hint="It may have been changed or removed; search again."
    )
