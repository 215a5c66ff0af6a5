"""Make manifest and store agree before a run relies on either.

They differ after an interrupted run, when somebody removed the one or the other, or after a crash of the
machine. Must not know files on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from indexer.manifest import Manifest, Record
from store.base import Filter, Store

_PAGE = 1000


def reconcile(manifest: Manifest, store: Store | None, roots: Iterable[str]) -> bool:
    """Compare the manifest with the store under some shown paths, and mend what differs.

    Documents that the store lacks, wholly or in part, become pending; chunks of documents that the manifest
    does not know are removed. Counts are compared first, and chunks are looked at one by one only where these
    differ or a run was interrupted.

    Returns:
        Whether anything was mended.
    """
    if store is None:
        if not any(record.state == "indexed" for record in manifest.under()):
            return False
        manifest.doubt()
        return True
    return any([_reconcile_root(manifest, store, root) for root in roots])


def _reconcile_root(manifest: Manifest, store: Store, root: str) -> bool:
    records = {record.id: record for record in manifest.under(root)}
    expected = sum(record.chunks for record in records.values() if record.state == "indexed")
    interrupted = any(record.state == "pending" for record in records.values())
    if not interrupted and store.count(Filter(path_prefix=root)) == expected:
        return False
    stored = _take_stock(store, root)
    indexed = [record for record in records.values() if record.state == "indexed"]
    wrong = [record.id for record in indexed if not _is_whole(record, stored)]
    # A file that could not be read keeps no chunks, and those of a pending one are replaced when it is read.
    orphans = {id for id, _ in stored if id not in records or records[id].state in ("skipped", "failed")}
    for id in sorted(orphans):
        store.delete_document(id)
    if orphans:
        store.flush()
    if wrong:
        manifest.doubt(wrong)
    return bool(wrong or orphans)


def _take_stock(store: Store, root: str) -> Counter[tuple[str, str]]:
    """Count the chunks of each version of each document."""
    stored: Counter[tuple[str, str]] = Counter()
    condition, offset = Filter(path_prefix=root), 0
    while page := store.scroll(condition, limit=_PAGE, offset=offset):
        stored.update((chunk.document_id, chunk.version) for chunk in page)
        offset += len(page)
    return stored


def _is_whole(record: Record, stored: Counter[tuple[str, str]]) -> bool:
    return stored[record.id, record.version] == record.chunks
