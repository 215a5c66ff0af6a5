"""Bring documents into the store in batches, in an order that survives any interruption.

For each batch: pending in the manifest, new chunks into the store, old ones out of it, flush, then indexed in
the manifest. Must not know files or formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from indexer.chunk import embedding_text
from indexer.manifest import Manifest, Record
from indexer.reader import Document
from indexer.session import Session
from store.base import Chunk

#: Chunks embedded and sent to the store in one call.
EMBED_BATCH = 256
#: Chunks after which a batch of documents is made durable; an interruption costs at most that much work.
COMMIT_CHUNKS = 1024
#: Documents without chunks, whose entries are written together.
_COMMIT_RECORDS = 256


class Writer:
    """Collects documents and writes them batch by batch.

    Args:
        session: gives the model and the store when they are needed.
        manifest: where the outcome is written down.
        stored: called with the number of chunks after each call of the store.
    """

    def __init__(self, session: Session, manifest: Manifest, stored: Callable[[int], None]) -> None:
        self._session = session
        self._manifest = manifest
        self._stored = stored
        self._documents: list[tuple[Document, Record]] = []
        self._replaced: set[str] = set()
        self._waiting = 0
        self._removed: list[Record] = []
        self._settled: list[Record] = []

    def put(self, document: Document, record: Record, previous: Record | None) -> None:
        """Store a document in place of all its earlier versions.

        Args:
            document: with its chunks.
            record: the manifest's entry once it is stored.
            previous: the manifest's entry so far.
        """
        self._documents.append((document, record))
        if previous is not None:
            self._replaced.add(document.id)
        self._waiting += len(document.chunks)
        if self._waiting >= COMMIT_CHUNKS:
            self.commit()

    def settle(self, record: Record, previous: Record | None) -> None:
        """Write down a file that has no chunks, or whose chunks are in the store already."""
        if record.state != "indexed" and previous is not None and _may_have_chunks(previous):
            self._removed.append(record)
        else:
            self._settled.append(record)
        if len(self._settled) + len(self._removed) >= _COMMIT_RECORDS:
            self.commit()

    def commit(self) -> None:
        """Make everything put so far durable."""
        removed, self._removed = self._removed, []
        documents, self._documents, self._waiting = self._documents, [], 0
        settled, self._settled = self._settled, []
        if removed or documents:
            self._write(removed, documents)
        self._replaced.clear()
        self._manifest.save([*settled, *removed, *(record for _, record in documents)])

    def forget(self, records: list[Record]) -> None:
        """Remove documents from the store, then from the manifest."""
        chunked = [record for record in records if _may_have_chunks(record)]
        store = self._session.find_store() if chunked else None
        if store is not None:
            self._manifest.save([replace(record, state="pending") for record in chunked])
            for record in chunked:
                store.delete_document(record.id)
            store.flush()
        self._manifest.forget(record.id for record in records)

    def _write(self, removed: list[Record], documents: list[tuple[Document, Record]]) -> None:
        doubtful = [*removed, *(record for _, record in documents)]
        self._manifest.save([replace(record, state="pending", chunks=0) for record in doubtful])
        store = self._session.store if documents else self._session.find_store()
        if store is None:
            return
        for batch in _batches([chunk for document, _ in documents for chunk in document.chunks]):
            texts = [embedding_text(chunk.title, chunk.heading, chunk.text) for chunk in batch]
            store.upsert(batch, self._session.embedder.embed_documents(texts))
            self._stored(len(batch))
        for document, _ in documents:
            if document.id in self._replaced:
                store.delete_document(document.id, except_version=document.version)
        for record in removed:
            store.delete_document(record.id)
        store.flush()


def _batches(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    for start in range(0, len(chunks), EMBED_BATCH):
        yield chunks[start : start + EMBED_BATCH]


def make_record(document: Document, checked_ns: int) -> Record:
    """Return the manifest's entry of a stored document."""
    return Record(
        id=document.id,
        path=document.candidate.name,
        size=document.candidate.size,
        mtime_ns=document.candidate.mtime_ns,
        checked_ns=checked_ns,
        version=document.version,
        state="indexed",
        language=document.language.code,
        confidence=document.language.confidence,
        title=document.title,
        chunks=len(document.chunks),
        indexed_at=time.time(),
    )


def _may_have_chunks(record: Record) -> bool:
    return record.state in ("indexed", "pending")
