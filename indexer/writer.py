"""Bring documents into the store in batches, in an order that survives any interruption.

For each batch: pending in the manifest, new chunks into the store, old ones out of it, flush, then indexed in
the manifest. One batch is written while the next is read. ``reconcile`` finds what an interruption left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from indexer.manifest import Manifest, Record
from indexer.text.chunk import embedding_text
from store.types import Chunk, Filter, Store, Vector

#: Embeds passages: float32, one unit row each.
Embed = Callable[[list[str]], Vector]

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
        documents: entries of those to be stored, with their chunks.
        replaced: ids of those that may have older chunks.
        removed: entries of documents that lose all their chunks.
        settled: entries that need no change of the store.
        chunks: number of chunks of the documents.
    """

    documents: list[tuple[Record, list[Chunk]]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    removed: list[Record] = field(default_factory=list)
    settled: list[Record] = field(default_factory=list)
    chunks: int = 0

    @property
    def is_full(self) -> bool:
        return self.chunks >= COMMIT_CHUNKS or len(self.removed) + len(self.settled) >= _COMMIT_RECORDS

    @property
    def entries(self) -> list[Record]:
        return [*self.settled, *self.removed, *(record for record, _ in self.documents)]


class Writer:
    """Collects documents and writes them batch by batch in a thread of its own; use as a context manager.

    An error of that thread is raised by the next call that hands over a batch, at the latest by ``finish``.

    Args:
        store: where chunks go.
        manifest: where the outcome is written down.
        embed: the model; called from the writer's thread.
        stored: called with the number of chunks after each call of the store, from the writer's thread.
    """

    def __init__(self, store: Store, manifest: Manifest, embed: Embed, stored: Callable[[int], None]) -> None:
        self._store = store
        self._manifest = manifest
        self._embed = embed
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

    def put(self, record: Record, chunks: list[Chunk], former: Record | None) -> None:
        """Store a document in place of all its earlier versions.

        Args:
            record: the manifest's entry once it is stored.
            chunks: all of the document, in order.
            former: the manifest's entry so far.
        """
        self._batch.documents.append((record, chunks))
        self._batch.chunks += len(chunks)
        if former is not None:
            self._batch.replaced.add(record.id)
        self._hand_over(only_full=True)

    def settle(self, record: Record, former: Record | None) -> None:
        """Write down a file that has no chunks, or whose chunks are in the store already."""
        loses_chunks = record.state != "indexed" and former is not None and former.may_have_chunks
        (self._batch.removed if loses_chunks else self._batch.settled).append(record)
        self._hand_over(only_full=True)

    def finish(self) -> None:
        """Make everything put so far durable."""
        self._hand_over(only_full=False)
        self._wait()

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
        store = self._store
        doubtful = [*batch.removed, *(record for record, _ in batch.documents)]
        self._manifest.save([replace(record, state="pending", chunks=0) for record in doubtful])
        for chunks in _split([chunk for _, whole in batch.documents for chunk in whole]):
            texts = [embedding_text(chunk.title, chunk.heading, chunk.text) for chunk in chunks]
            store.upsert(chunks, self._embed(texts))
            self._stored(len(chunks))
        for record, _ in batch.documents:
            if record.id in batch.replaced:
                store.delete_document(record.id, except_version=record.version)
        for record in batch.removed:
            store.delete_document(record.id)
        store.flush()


def _split(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    for start in range(0, len(chunks), EMBED_BATCH):
        yield chunks[start : start + EMBED_BATCH]


def forget(store: Store, manifest: Manifest, records: Iterable[Record]) -> int:
    """Remove documents from the store, then from the manifest; return how many the store may have had."""
    records = list(records)
    stored = [record for record in records if record.may_have_chunks]
    if stored:
        manifest.save([replace(record, state="pending") for record in stored])
        for record in stored:
            store.delete_document(record.id)
        store.flush()
    manifest.forget(record.id for record in records)
    return len(stored)


def reconcile(store: Store, manifest: Manifest, path: str, owner: str) -> None:
    """Make manifest and store agree at and below a path, before a run relies on either.

    Documents that the store lacks, wholly or in part, become pending; chunks of documents that the manifest
    does not know are removed. Counts are compared first, and chunks are looked at one by one only where these
    differ or a run was interrupted. What others than the owner stored is left alone.
    """
    records = {record.id: record for record in manifest.under(path)}
    expected = sum(record.chunks for record in records.values() if record.state == "indexed")
    interrupted = any(record.state == "pending" for record in records.values())
    own = Filter(path_prefix=path, owner=owner)
    if not interrupted and store.count(own) == expected:
        return
    stored = store.versions(own)
    # A file that could not be read keeps no chunks, and those of a pending one are replaced when it is read.
    orphans = {id for id, _ in stored if id not in records or not records[id].may_have_chunks}
    for id in sorted(orphans):
        store.delete_document(id)
    if orphans:
        store.flush()
    indexed = [record for record in records.values() if record.state == "indexed"]
    manifest.doubt(
        record.id for record in indexed if stored.get((record.id, record.version), 0) != record.chunks
    )
