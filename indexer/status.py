"""What the index holds and what it does not, for people and for programs. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from common.languages import LANGUAGES
from indexer.errors import ManifestDamaged
from indexer.manifest import Manifest
from indexer.report import Problem, describe_problems, printable
from lusifer.embedder import DEFAULT_MODEL
from store.errors import StoreError, StoreMissing, StoreUnavailable
from store.location import CollectionInfo, IndexLocation
from store.types import Filter


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an index.

    Attributes:
        data: the data folder.
        documents: how many are indexed.
        pending: how many an interrupted run left to be done again.
        chunks: chunks of the indexed documents, by the manifest.
        stored_chunks: chunks in the store; None if it cannot be asked.
        languages: indexed documents by language, the most frequent first.
        skipped: files left out.
        failed: files that cannot be read.
        roots: paths that were indexed.
        model: as it was named; empty for the shipped one.
        fingerprint: of the collection.
        problem: what is wrong with the store; empty if nothing is.
        successor: the model with which the index is being built again; None if it is not.
        successor_documents: how many documents that has so far.
        rebuilding: whether that is an unfinished rebuild, made with what made the present index.
    """

    data: str
    documents: int
    pending: int
    chunks: int
    stored_chunks: int | None
    languages: dict[str, int]
    skipped: list[Problem]
    failed: list[Problem]
    roots: list[str]
    model: str
    fingerprint: str
    problem: str
    successor: str | None = None
    successor_documents: int = 0
    rebuilding: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return asdict(self)


def take_status(location: IndexLocation, data: str) -> Status:
    """Read the manifests and ask the store; a server that is away is named as the store's problem.

    Raises:
        StoreMissing: nothing is indexed.
        StoreError: it cannot be told what is.
        ManifestDamaged: the manifest cannot be read.
    """
    try:
        current = location.current()
    except StoreUnavailable:
        current = location.remembered()
        if current is None:
            raise
    if current is None:
        location.open().close()  # raises with the reason
    if current is None or not Manifest.exists(location.manifest_folder(current)):
        raise StoreMissing(f"nothing is indexed from {data}", hint="index a folder: lusifer index PATH")
    with Manifest.open(location.manifest_folder(current)) as manifest:
        records, roots = manifest.under(), manifest.roots()
    indexed = [record for record in records if record.state == "indexed"]
    stored, problem = _count_stored(location, current)
    successor, successor_documents = (None, 0) if problem else _find_successor(location)
    schema = None if successor is None else successor.schema
    return Status(
        data=data,
        documents=len(indexed),
        pending=sum(record.state == "pending" for record in records),
        chunks=sum(record.chunks for record in indexed),
        stored_chunks=stored,
        languages=dict(Counter(record.language for record in indexed).most_common()),
        skipped=[Problem(record.path, record.reason) for record in records if record.state == "skipped"],
        failed=[Problem(record.path, record.reason) for record in records if record.state == "failed"],
        roots=roots,
        model=current.schema.model,
        fingerprint=current.schema.fingerprint,
        problem=problem,
        successor=None if schema is None else schema.model,
        successor_documents=successor_documents,
        rebuilding=schema == current.schema,
    )


def _find_successor(location: IndexLocation) -> tuple[CollectionInfo | None, int]:
    for building in location.unfinished():
        folder = location.manifest_folder(building)
        if Manifest.exists(folder):
            documents = 0
            with suppress(ManifestDamaged), Manifest.open(folder) as manifest:  # begun again by the next run
                documents = sum(record.state == "indexed" for record in manifest.under())
            return building, documents
    return None, 0


def _count_stored(location: IndexLocation, current: CollectionInfo) -> tuple[int | None, str]:
    try:
        store = location.open(current)
        try:
            return store.count(Filter(owner=location.owner)), ""
        finally:
            store.close()
    except StoreError as error:
        return None, str(error)


def describe(status: Status) -> Iterator[str]:
    """Yield the lines that ``lusifer status`` prints."""
    yield f"Data folder   {printable(status.data)}"
    yield f"Documents     {status.documents:,} in {status.chunks:,} chunks"
    for code, number in status.languages.items():
        name = LANGUAGES[code].name if code in LANGUAGES else "unknown"
        yield f"  {number:>8,}  {name} ({printable(code)})"
    for root in status.roots:
        yield f"Indexed path  {printable(root)}"
    yield f"Model         {status.model or f'{DEFAULT_MODEL} (shipped)'}, collection {status.fingerprint}"
    yield from describe_problems(status.skipped, status.failed)
    if status.pending:
        yield f"Pending       {status.pending:,} documents of an interrupted run: run lusifer index again"
    if status.rebuilding:
        yield (
            f"Rebuild       unfinished, {status.successor_documents:,} documents so far: "
            "lusifer index --rebuild completes it"
        )
    elif status.successor is not None:
        model = status.successor or DEFAULT_MODEL
        yield (
            f"Next model    {model}, {status.successor_documents:,} documents so far: "
            f"lusifer index --model {model} completes it"
        )
    if status.problem:
        yield f"Store         {status.problem}"
    elif not status.pending and status.stored_chunks != status.chunks:
        yield (
            f"Store         holds {status.stored_chunks:,} chunks, not {status.chunks:,}: "
            "run lusifer index again to repair it"
        )
