"""Compare what lies on disk with what the manifest remembers: what to read, what to remove, what to leave.

Pure: reads nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from indexer.manifest import Record
from indexer.reader import is_current
from indexer.walk import Rejected, SourceFile, Walk, is_within

#: A file changed this shortly before it was checked may have changed again within the clock's precision.
_SETTLED_NS = 2_000_000_000


@dataclass(slots=True)
class Plan:
    """What a run has to do.

    Attributes:
        reading: files to read, with what the manifest remembers; some will turn out to be unchanged.
        known: documents that need no look.
        gone: documents whose files are no longer there.
        rejected: files left out, with what the manifest remembers of them.
    """

    reading: list[tuple[SourceFile, Record | None]] = field(default_factory=list)
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
    for file in found.files:
        record = left.pop(file.id, None)
        if record is not None and _is_settled(file, record):
            plan.known.append(record)
        else:
            plan.reading.append((file, record))
    for rejected in found.rejected:
        plan.rejected.append((rejected, left.pop(rejected.id, None)))
    unreadable = [rejected.path for rejected in found.rejected if rejected.unreadable]
    for record in left.values():
        # What lies in a folder that cannot be read is unknown, not gone.
        if any(is_within(record.path, folder) for folder in unreadable):
            if record.state == "indexed":
                plan.known.append(record)
        else:
            plan.gone.append(record)
    return plan


def _is_settled(file: SourceFile, record: Record) -> bool:
    """Tell whether a look at size and time of change is enough to know that a file is as it was."""
    return (
        record.state != "pending"
        and is_current(record.version)
        and not record.retry
        and file.size == record.size
        and file.mtime_ns == record.mtime_ns
        and file.mtime_ns < record.checked_ns - _SETTLED_NS
    )
