"""Compare what lies on disk with what the manifest remembers: what to read, what to remove, what to leave.

Pure: reads nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from indexer.manifest import Record
from indexer.paths import identify, is_within
from indexer.reader import is_current
from indexer.walk import Candidate, Rejected, Walk

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
