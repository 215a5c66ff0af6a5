"""Bring documents into the store in batches, in an order that survives any interruption.

For each batch: pending in the manifest, new chunks into the store, old ones out of it, flush, then indexed in
the manifest. One batch is written while the next is read. Must not know files or formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from indexer.manifest import Manifest, Record
from indexer.reader import Document
from indexer.session import Session
from indexer.text.chunk import embedding_text
from store.types import Chunk

#: Chunks embedded and sent to the store in one call.
EMBED_BATCH = 256
#: Chunks after which a batch of documents is made durable; an interruption costs at most two batches.
COMMIT_CHUNKS = 1024
#: Documents without chunks, whose entries are written together.
_COMMIT_RECORDS = 256


@dataclass(slots=True)
class _Batch:
    """What is made durable together.

    Attributes:
        documents: to be stored, with their entries.
        replaced: ids of those that may have older chunks.
        removed: entries of documents that lose all their chunks.
        settled: entries that need no change of the store.
        chunks: number of chunks of the documents.
    """

    documents: list[tuple[Document, Record]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    removed: list[Record] = field(default_factory=list)
    settled: list[Record] = field(default_factory=list)
    chunks: int = 0

    @property
    def is_full(self) -> bool:
        return self.chunks >= COMMIT_CHUNKS or len(self.removed) + len(self.settled) >= _COMMIT_RECORDS

    @property
    def entries(self) -> list[Record]:
        return [*self.settled, *self.removed, *(record for _, record in self.documents)]


class Writer:
    """Collects documents and writes them batch by batch in a thread of its own; use as a context manager.

    An error of that thread is raised by the next call that hands over a batch, at the latest by ``finish``.

    Args:
        session: gives the model and the store when they are needed.
        manifest: where the outcome is written down.
        stored: called with the number of chunks after each call of the store, from the writer's thread.
    """

    def __init__(self, session: Session, manifest: Manifest, stored: Callable[[int], None]) -> None:
        self._session = session
        self._manifest = manifest
        self._stored = stored
        self._batch = _Batch()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="indexer-writer")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def put(self, document: Document, record: Record, previous: Record | None) -> None:
        """Store a document in place of all its earlier versions.

        Args:
            document: with its chunks.
            record: the manifest's entry once it is stored.
            previous: the manifest's entry so far.
        """
        self._batch.documents.append((document, record))
        self._batch.chunks += len(document.chunks)
        if previous is not None:
            self._batch.replaced.add(document.id)
        self._hand_over(only_full=True)

    def settle(self, record: Record, previous: Record | None) -> None:
        """Write down a file that has no chunks, or whose chunks are in the store already."""
        loses_chunks = record.state != "indexed" and previous is not None and _may_have_chunks(previous)
        (self._batch.removed if loses_chunks else self._batch.settled).append(record)
        self._hand_over(only_full=True)

    def finish(self) -> None:
        """Make everything put so far durable."""
        self._hand_over(only_full=False)
        self._wait()

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

    def _hand_over(self, *, only_full: bool) -> None:
        if only_full and not self._batch.is_full:
            return
        batch, self._batch = self._batch, _Batch()
        self._wait()
        self._writing = self._thread.submit(self._write, batch)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, batch: _Batch) -> None:
        if batch.documents or batch.removed:
            self._write_chunks(batch)
        self._manifest.save(batch.entries)

    def _write_chunks(self, batch: _Batch) -> None:
        store = self._session.store if batch.documents else self._session.find_store()
        if store is None:
            return
        doubtful = [*batch.removed, *(record for _, record in batch.documents)]
        self._manifest.save([replace(record, state="pending", chunks=0) for record in doubtful])
        for chunks in _split([chunk for document, _ in batch.documents for chunk in document.chunks]):
            texts = [embedding_text(chunk.title, chunk.heading, chunk.text) for chunk in chunks]
            store.upsert(chunks, self._session.embedder.embed_documents(texts))
            self._stored(len(chunks))
        for document, _ in batch.documents:
            if document.id in batch.replaced:
                store.delete_document(document.id, except_version=document.version)
        for record in batch.removed:
            store.delete_document(record.id)
        store.flush()


def _split(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
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
