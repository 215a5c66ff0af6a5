"""Compare what lies on disk with what the manifest remembers: what to read, what to remove, what to leave.

Pure: reads nothing and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from indexer.manifest import Manifest, Record
from indexer.reader import is_current
from indexer.walk import Candidate, Rejected, Walk, identify, is_within
from store.types import Filter, Store

#: A file changed this shortly before it was checked may have changed again within the clock's precision.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """A file to read, and what is known of it from before.

    Attributes:
        id: the document's.
        candidate: the file.
        record: what the manifest remembers, if anything.
    """

    id: str
    candidate: Candidate
    record: Record | None


@dataclass(slots=True)
class Plan:
    """What a run has to do.

    Attributes:
        tasks: files to read; some will turn out to be unchanged.
        known: documents that need no look.
        gone: documents whose files are no longer there.
        rejected: files left out, with what the manifest remembers of them.
    """

    tasks: list[Task] = field(default_factory=list)
    known: list[Record] = field(default_factory=list)
    gone: list[Record] = field(default_factory=list)
    rejected: list[tuple[Rejected, Record | None]] = field(default_factory=list)


def make_plan(found: Walk, records: Iterable[Record]) -> Plan:
    """Decide what to do with each file and each remembered document.

    Args:
        found: the files under the roots.
        records: the manifest's documents under the same roots.
    """
    plan = Plan()
    left = {record.id: record for record in records}
    for candidate in found.candidates:
        identifier = identify(candidate.path)
        record = left.pop(identifier, None)
        if record is not None and _is_settled(candidate, record):
            plan.known.append(record)
        else:
            plan.tasks.append(Task(identifier, candidate, record))
    for rejected in found.rejected:
        plan.rejected.append((rejected, left.pop(identify(rejected.path), None)))
    unknown = [rejected.name for rejected in found.rejected if rejected.unreadable]
    for record in left.values():
        # What lies in a folder that cannot be read is unknown, not gone.
        if any(is_within(record.path, folder) for folder in unknown):
            if record.state == "indexed":
                plan.known.append(record)
        else:
            plan.gone.append(record)
    return plan


def _is_settled(candidate: Candidate, record: Record) -> bool:
    """Tell whether a look at size and time of change is enough to know that a file is as it was."""
    return (
        record.state != "pending"
        and is_current(record.version)
        and not record.retry
        and candidate.size == record.size
        and candidate.mtime_ns == record.mtime_ns
        and candidate.mtime_ns < record.checked_ns - _SETTLED_NS
    )


# Make manifest and store agree before a run relies on either.


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
