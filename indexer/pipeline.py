"""One run of the indexer: walk, compare with the manifest, read what changed, store it, remember it.

Safe to interrupt anywhere and to run again. Must not know the command line, nor engines and models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from indexer.errors import ExtractionFailed, UsageError
from indexer.extract import Registry, default_registry
from indexer.manifest import STAGED, Manifest, Record
from indexer.plan import Plan, Task, make_plan, reconcile
from indexer.reader import hash_content, read_content, read_document
from indexer.reindex import check_nothing_is_lost, known_roots, settle, staged, switch
from indexer.report import Problem, Report
from indexer.session import Backends, Session
from indexer.text.language import LanguageFinder
from indexer.walk import Rejected, Walk, identify, resolve_roots, show_path, walk
from indexer.writer import Writer, make_record

NO_TEXT = "no text in it"


class Observer(Protocol):
    """Hears how a run goes on."""

    def planned(self, files: int, size: int) -> None:
        """So many files, of so many bytes together, are going to be read."""

    def read(self, name: str, size: int) -> None:
        """A file was read."""

    def stored(self, chunks: int) -> None:
        """Chunks were embedded and stored."""

    def replacing(self, model: str) -> None:
        """The whole index is being made for another model, beside the one that is searched."""


class Silent:
    """An observer that does nothing."""

    def planned(self, files: int, size: int) -> None:
        pass

    def read(self, name: str, size: int) -> None:
        pass

    def stored(self, chunks: int) -> None:
        pass

    def replacing(self, model: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        max_bytes: larger files are skipped.
        exclude: a folder that is never indexed: the index itself.
        registry: the extractors; the default ones if not given.
        languages: finds languages; the default way if not given.
    """

    max_bytes: int = 64_000_000
    exclude: Path | None = None
    registry: Registry | None = None
    languages: LanguageFinder | None = None


class Indexer:
    """Brings the documents under some paths into the index.

    Args:
        manifest: the record of earlier runs; kept up to date.
        backends: the model and the store.
        options: how to run.
        observer: hears of progress.
    """

    def __init__(
        self,
        manifest: Manifest,
        backends: Backends,
        options: Options | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._manifest = manifest
        self._backends = backends
        self._options = options or Options()
        self._observer = observer or Silent()
        self._registry = self._options.registry or default_registry()

    def run(self, paths: Sequence[Path]) -> Report:
        """Index what is new or changed under the paths and remove what is gone.

        Where another model made the index, everything in it and what the paths name is indexed anew with this
        one, beside it, and takes its place when it is complete.

        Raises:
            UsageError: a path does not exist, or the model cannot be changed now.
            StoreError, LusiferError, IndexerError: the index or the model cannot be used.
        """
        started = time.monotonic()
        roots = resolve_roots(paths)
        session = Session(self._backends, self._manifest)
        try:
            settle(self._manifest, session.find_store(), self._backends)
            bring = self._replace if session.is_other_model else self._update
            report = bring(session, roots)
        finally:
            session.close()
        report.seconds = time.monotonic() - started
        return report

    def _update(self, session: Session, roots: Sequence[Path], found: Walk | None = None) -> Report:
        """Bring a session's index up to date under the roots; all of it, if what was found is given."""
        names = [show_path(root) for root in roots]
        run = _Run(self, session)
        run.prepare(names)
        records = (
            [record for name in names for record in self._manifest.under(name)]
            if found is None
            else self._manifest.under()
        )
        with run.writer:
            run.carry_out(make_plan(self._walk(roots) if found is None else found, records))
        return run.report

    def _walk(self, roots: Sequence[Path]) -> Walk:
        return walk(
            roots,
            accepts=self._registry.accepts,
            max_bytes=self._options.max_bytes,
            exclude=self._options.exclude and self._options.exclude.resolve(),
        )

    def _replace(self, session: Session, roots: Sequence[Path]) -> Report:
        """Index everything with a session's model, then switch to it."""
        everything = resolve_roots([*known_roots(self._manifest), *roots])
        found = self._walk(everything)
        check_nothing_is_lost(self._manifest, found)
        self._observer.replacing(self._backends.model_name or "lusifer-mini")
        with staged(self._manifest, self._backends, session) as (manifest, backends):
            beside = Session(backends, manifest)
            try:
                successor = Indexer(manifest, backends, self._options, self._observer)
                report = successor._update(beside, everything, found)
                # Also where no document is left to be stored.
                _ = beside.store
            finally:
                beside.close()
        switch(self._manifest, self._backends, session)
        return report

    def rebuild(self, paths: Sequence[Path]) -> Report:
        """Throw the index away and make it anew from the paths; raises as :meth:`run`."""
        resolve_roots(paths)
        self._backends.drop_store()
        self._manifest.clear()
        Manifest.delete(self._manifest.data, STAGED)
        return self.run(paths)

    def remove(self, path: Path) -> int:
        """Remove the documents at or below a path from the index, whether or not their files exist.

        Returns:
            How many there were.

        Raises:
            UsageError: nothing below the path is indexed.
        """
        name = show_path(path.expanduser().resolve())
        records = self._manifest.under(name)
        if not records:
            raise UsageError(f"nothing at {name} is in the index", hint="lusifer status lists what is")
        session = Session(self._backends, self._manifest)
        try:
            with Writer(session, self._manifest, self._observer.stored) as writer:
                writer.forget(records)
        finally:
            session.close()
        self._manifest.forget_root(name)
        return sum(record.state in ("indexed", "pending") for record in records)


class _Run:
    """The state of one run."""

    def __init__(self, indexer: Indexer, session: Session) -> None:
        self.report = Report()
        self._manifest = indexer._manifest
        self._observer = indexer._observer
        self._registry = indexer._registry
        self._languages = indexer._options.languages
        self._session = session
        self.writer = Writer(session, self._manifest, self._count)

    def _count(self, chunks: int) -> None:
        self.report.chunks += chunks
        self._observer.stored(chunks)

    def prepare(self, names: list[str]) -> None:
        """Make sure that the store is the one the manifest speaks of."""
        store = self._session.find_store()
        if store is not None and not self._session.is_same_model:
            _ = self._session.store
        reconcile(self._manifest, store, names)
        self._manifest.add_roots(names)

    def carry_out(self, plan: Plan) -> None:
        self._observer.planned(len(plan.tasks), sum(task.candidate.size for task in plan.tasks))
        self.report.deleted = sum(record.state in ("indexed", "pending") for record in plan.gone)
        self.writer.forget(plan.gone)
        for record in plan.known:
            self._tell(record)
        for rejected, previous in plan.rejected:
            self._reject(rejected, previous)
        for task in plan.tasks:
            self._index(task)
            self._observer.read(task.candidate.name, task.candidate.size)
        self.writer.finish()

    def _tell(self, record: Record) -> None:
        """Report a file that is as it was."""
        if record.state == "indexed":
            self.report.unchanged += 1
        elif record.state == "failed":
            self.report.failed.append(Problem(record.path, record.reason))
        else:
            self.report.skipped.append(Problem(record.path, record.reason))

    def _reject(self, rejected: Rejected, previous: Record | None) -> None:
        record = Record(
            id=identify(rejected.path),
            path=rejected.name,
            state="failed" if rejected.unreadable else "skipped",
            reason=rejected.reason,
            retry=rejected.unreadable,
        )
        if record != previous:
            self.writer.settle(record, previous)
        self._tell(record)

    def _index(self, task: Task) -> None:
        """Read a file and hand it to the writer, or find that it need not be."""
        checked_ns = time.time_ns()
        version = ""
        try:
            content = read_content(task.candidate.path)
            version = hash_content(content)
            if self._is_unchanged(task, version):
                self._keep(task, checked_ns)
                return
            extracted = self._registry.extract(task.candidate.path, content)
        except ExtractionFailed as error:
            self._give_up(task, checked_ns, version, error.message, retry=error.retry)
            return
        if not extracted.text.strip():
            self._give_up(task, checked_ns, version, NO_TEXT, skip=True)
            return
        if self._languages is None:
            self._languages = LanguageFinder()
        document = read_document(
            task.id,
            task.candidate,
            extracted,
            version,
            chunker=self._session.chunker,
            languages=self._languages,
        )
        self.writer.put(document, make_record(document, checked_ns), task.record)
        self.report.indexed += 1

    @staticmethod
    def _is_unchanged(task: Task, version: str) -> bool:
        record = task.record
        return (
            record is not None
            and record.version == version
            and record.state != "pending"
            and not record.retry
        )

    def _keep(self, task: Task, checked_ns: int) -> None:
        """Note a new time of change of a file whose content is as it was."""
        assert task.record is not None
        candidate = task.candidate
        record = replace(task.record, size=candidate.size, mtime_ns=candidate.mtime_ns, checked_ns=checked_ns)
        self.writer.settle(record, task.record)
        self._tell(record)

    def _give_up(
        self,
        task: Task,
        checked_ns: int,
        version: str,
        reason: str,
        *,
        retry: bool = False,
        skip: bool = False,
    ) -> None:
        record = Record(
            id=task.id,
            path=task.candidate.name,
            size=task.candidate.size,
            mtime_ns=task.candidate.mtime_ns,
            checked_ns=checked_ns,
            version=version,
            state="skipped" if skip else "failed",
            reason=reason,
            retry=retry,
        )
        self.writer.settle(record, task.record)
        self._tell(record)
