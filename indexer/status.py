"""What the index holds and what it does not, for people and for programs. Changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.languages import LANGUAGES
from indexer.manifest import STAGED, Manifest
from indexer.model import SHIPPED
from indexer.report import Problem, group_reasons, printable
from store.errors import StoreError, StoreMissing
from store.types import Schema, Store


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
        fingerprint: of the collection; empty if there is none.
        problem: what is wrong with the store; empty if nothing is.
        successor: the model for which the index is being made anew; None if it is not.
        successor_documents: how many documents that has so far.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return asdict(self)


def take_status(data: Path, manifest: Manifest, open_store: Callable[[Schema | None], Store]) -> Status:
    """Read the manifest and ask the store.

    Raises:
        ManifestDamaged: the manifest cannot be read.
    """
    records = manifest.under()
    indexed = [record for record in records if record.state == "indexed"]
    stored, fingerprint, problem = _ask_store(open_store)
    successor, successor_documents = _successor(data)
    return Status(
        data=str(data),
        documents=len(indexed),
        pending=sum(record.state == "pending" for record in records),
        chunks=sum(record.chunks for record in indexed),
        stored_chunks=stored,
        languages=dict(Counter(record.language for record in indexed).most_common()),
        skipped=[Problem(record.path, record.reason) for record in records if record.state == "skipped"],
        failed=[Problem(record.path, record.reason) for record in records if record.state == "failed"],
        roots=manifest.roots(),
        model=manifest.facts().get("model", ""),
        fingerprint=fingerprint,
        problem=problem,
        successor=successor,
        successor_documents=successor_documents,
    )


def _successor(data: Path) -> tuple[str | None, int]:
    if not Manifest.exists(data, STAGED):
        return None, 0
    with Manifest.open(data, STAGED) as manifest:
        documents = sum(record.state == "indexed" for record in manifest.under())
        return manifest.facts().get("model", ""), documents


def _ask_store(open_store: Callable[[Schema | None], Store]) -> tuple[int | None, str, str]:
    try:
        store = open_store(None)
    except StoreMissing:
        return 0, "", ""
    except StoreError as error:
        return None, "", str(error)
    try:
        return store.count(), store.schema.fingerprint, ""
    except StoreError as error:
        return None, "", str(error)
    finally:
        store.close()


def describe(status: Status) -> Iterator[str]:
    """Yield the lines that ``lusifer status`` prints."""
    yield f"Data folder   {printable(status.data)}"
    yield f"Documents     {status.documents:,} in {status.chunks:,} chunks"
    for code, number in status.languages.items():
        yield f"  {number:>8,}  {LANGUAGES[code].name} ({code})"
    for root in status.roots:
        yield f"Indexed path  {printable(root)}"
    if status.fingerprint:
        yield f"Model         {status.model or f'{SHIPPED} (shipped)'}, collection {status.fingerprint}"
    yield from describe_problems(status.skipped, status.failed)
    if status.pending:
        yield f"Pending       {status.pending:,} documents of an interrupted run: run lusifer index again"
    if status.successor is not None:
        model = status.successor or SHIPPED
        yield (
            f"Next model    {model}, {status.successor_documents:,} documents so far: "
            f"lusifer index --model {model} completes it"
        )
    if status.problem:
        yield f"Store         {status.problem}"
    elif not status.pending and status.stored_chunks != status.chunks:
        yield (
            f"Store         holds {status.stored_chunks:,} chunks, not {status.chunks:,}: "
            "run lusifer index again to mend it"
        )


def describe_problems(skipped: list[Problem], failed: list[Problem]) -> Iterator[str]:
    """Yield lines about files that are not in the index: skipped ones by reason, failed ones each."""
    for reason, number in group_reasons(skipped):
        yield f"Skipped       {number:,}: {printable(reason)}"
    for problem in failed:
        yield f"Failed        {printable(problem.path)}: {printable(problem.reason)}"
