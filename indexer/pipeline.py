"""One run of the indexer: which collection, which files, what changed; then read, store and remember it.

Safe to interrupt anywhere and to run again. A collection and its manifest belong together: a change of model
or a rebuild fills another collection, with a manifest of its own, beside the current one and then switches.
Interrupted, it leaves the current one as it was, and the next such run goes on.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import ManifestDamaged, UsageError
from indexer.extract import EXTRACTORS, Registry
from indexer.manifest import Manifest, Record, former_roots
from indexer.plan import make_plan
from indexer.reader import Reader
from indexer.report import Observer, Problem, Report
from indexer.session import Model, Session
from indexer.walk import Rejected, Walk, is_within, resolve_roots, show_path, walk
from indexer.writer import Writer, forget, reconcile
from lusifer.embedder import DEFAULT_MODEL
from store.errors import FingerprintMismatch, StoreDamaged, StoreError, StoreOutdated
from store.location import CollectionInfo, IndexLocation

if TYPE_CHECKING:
    from indexer.text.language import LanguageFinder


_FORMER = "was indexed by a former version of this program"
_LEFT_OUT = "gone; it is not in the rebuilt index"


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        max_bytes: larger files are skipped.
        exclude: an absolute folder that is never indexed: the index itself.
        registry: the extractors; the default ones if not given.
        languages: finds languages; the default way if not given.
    """

    max_bytes: int = 64_000_000
    exclude: Path | None = None
    registry: Registry | None = None
    languages: LanguageFinder | None = None


class Indexer:
    """Brings documents into an index, and takes them out of it.

    Args:
        location: where the index is.
        choose_model: returns the model to index with, given the one that the current collection names.
        options: how to run.
        observer: hears of progress.
    """

    def __init__(
        self,
        location: IndexLocation,
        choose_model: Callable[[str], Model],
        options: Options | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._location = location
        self._choose_model = choose_model
        self._options = options or Options()
        self._observer = observer or Observer()
        self._registry = self._options.registry or Registry.with_plugins(EXTRACTORS)

    def run(self, paths: Sequence[Path] = (), *, rebuild: bool = False) -> Report:
        """Index what is new or changed under the paths and remove what is gone.

        Where another model made the index, everything in it is indexed again with this one.

        Args:
            paths: files and folders; those of earlier runs if there are none.
            rebuild: index everything again, also where the index is damaged.

        Raises:
            UsageError: a path does not exist, none is known, or the model cannot be changed now.
            StoreError, LusiferError, IndexerError: the index or the model cannot be used.
        """
        started = time.monotonic()
        named = resolve_roots(paths)
        former = former_roots(self._options.exclude) if self._options.exclude else []
        current = self._find_current(rebuild)
        session = Session(self._choose_model(current.schema.model if current else ""))
        lost: list[str] = []
        if current is None:
            # Nothing is searched yet, so the collection can be searched while it is filled.
            if rebuild:
                known, lost = self._former_roots()
                named = resolve_roots([*known, *named])
            self._require(named, former)
            building = self._location.build(session.schema, fresh=rebuild)
            current = self._find_current(rebuild)
            if current is None:
                with self._open_building(building) as begun:
                    begun.add_roots([*map(show_path, named), *lost])
                self._location.switch(building)
                current, rebuild = building, False
        with self._open_manifest(current, rebuild) as manifest:
            if manifest and not rebuild and session.made(current, manifest):
                report = self._update(current, manifest, session, named)
            else:
                report = self._replace(manifest, session, named, rebuild)
            covered = [*map(show_path, named), *(manifest.roots() if manifest else [])]
            for path in former:
                # The manifest that names it goes with this run.
                if not any(is_within(path, root) for root in covered):
                    report.skipped.append(
                        Problem(path, f"{_FORMER}, to index it again: lusifer index {shlex.quote(path)}")
                    )
        if manifest is None:
            # The collection it belongs to is not searched any more and goes with the next run.
            Manifest.keep_aside(self._location.manifest_folder(current))
        if not rebuild:
            report.skipped += [Problem(path, _LEFT_OUT) for path in lost]
        report.seconds = time.monotonic() - started
        return report

    def remove(self, paths: Sequence[Path]) -> int:
        """Remove the documents at or below some paths from the index, whether or not their files exist.

        Returns:
            How many there were.

        Raises:
            UsageError: nothing below a path is indexed.
            StoreMissing: nothing is indexed.
        """
        removed = 0
        with (
            closing(self._location.open()) as store,
            Manifest.open(self._location.manifest_folder(store.info)) as manifest,
        ):
            for path in map(show_path, (path.expanduser().resolve() for path in paths)):
                records = manifest.under(path)
                if not records:
                    raise UsageError(
                        f"nothing at {path} is in the index", hint="lusifer status lists what is"
                    )
                removed += forget(store, manifest, records)
                manifest.forget_root(path)
        return removed

    def _find_current(self, rebuild: bool) -> CollectionInfo | None:
        """Return the current collection; one too damaged to tell what it is does not hinder a rebuild."""
        try:
            return self._location.current()
        except StoreDamaged:
            if not rebuild:
                raise
            return None

    @contextmanager
    def _open_manifest(self, current: CollectionInfo, rebuild: bool) -> Iterator[Manifest | None]:
        """Open the current collection's manifest; one without readable roots does not hinder a rebuild."""
        with ExitStack() as stack:
            manifest: Manifest | None = None
            try:
                manifest = stack.enter_context(Manifest.open(self._location.manifest_folder(current)))
                if rebuild:
                    manifest.roots()
            except ManifestDamaged:
                if not rebuild:
                    raise
                manifest = None
            yield manifest

    def _update(
        self, current: CollectionInfo, manifest: Manifest, session: Session, named: Sequence[Path]
    ) -> Report:
        """Bring the current collection up to date under the roots."""
        roots, gone = (named, []) if named else _known_roots(manifest)
        self._require(roots)
        paths = [show_path(root) for root in roots]
        manifest.add_roots(paths)
        try:
            report = self._fill(current, manifest, session, self._walk(roots), paths)
        except FingerprintMismatch:
            # The stamp misled this run, not the next one.
            manifest.set_facts(stamp="")
            raise
        report.skipped += [
            Problem(path, f"gone; its documents are kept, to remove them: lusifer remove {path}")
            for path in gone
        ]
        self._location.sweep()
        return report

    def _replace(
        self, former: Manifest | None, session: Session, named: Sequence[Path], rebuild: bool
    ) -> Report:
        """Fill another collection with all that the current one's manifest knows and switch to it."""
        known, gone = _known_roots(former) if former else ([], [])
        roots = resolve_roots([*known, *named])
        self._require(roots)
        found = self._walk(roots)
        if former and not rebuild:
            _check_nothing_is_lost(former, gone, found)
        building = self._location.build(session.schema, fresh=rebuild)
        self._observer.replacing(session.model.reference or DEFAULT_MODEL)
        with self._open_building(building) as manifest:
            manifest.set_roots([*map(show_path, roots), *gone])
            report = self._fill(building, manifest, session, found, ["/"])
        self._location.switch(building)
        report.skipped += [Problem(path, _LEFT_OUT) for path in gone]
        return report

    def _open_building(self, building: CollectionInfo) -> Manifest:
        """Open the manifest of a collection that is being built; a damaged one is begun again."""
        folder = self._location.manifest_folder(building)
        try:
            return Manifest.open(folder)
        except ManifestDamaged:
            Manifest.delete(folder)
            return Manifest.open(folder)

    def _former_roots(self) -> tuple[list[Path], list[str]]:
        """Return the roots of an index whose collection cannot be read, as ``_known_roots`` does."""
        folder = self._location.current_manifest()
        if folder is None or not Manifest.exists(folder):
            return [], []
        try:
            with Manifest.open(folder) as manifest:
                return _known_roots(manifest)
        except ManifestDamaged:
            return [], []

    def _require(self, roots: Sequence[Path], former: Sequence[str] = ()) -> None:
        """Refuse a run that is to index nothing: nothing is named, or known from earlier runs.

        Raises:
            UsageError: there are no roots.
            StoreOutdated: there are none, and what was indexed was indexed by a former version.
        """
        if roots:
            return
        try:
            self._location.open().close()
        except StoreOutdated as error:
            if former:
                raise StoreOutdated(
                    f"{error.message}, from {', '.join(former)}",
                    hint=f"index them again: lusifer index {shlex.join(former)}",
                ) from error
            raise
        except StoreError:
            pass
        option = "--rebuild " if self._location.current_manifest() else ""
        raise UsageError(
            "there is nothing to index", hint=f"name files or folders: lusifer index {option}PATH..."
        )

    def _walk(self, roots: Sequence[Path]) -> Walk:
        return walk(
            roots,
            accepts=self._registry.accepts,
            max_bytes=self._options.max_bytes,
            exclude=self._options.exclude,
            owner=self._location.owner,
        )

    def _fill(
        self,
        collection: CollectionInfo,
        manifest: Manifest,
        session: Session,
        found: Walk,
        paths: Sequence[str],
    ) -> Report:
        """Make a collection hold what was found at and below some paths, and nothing else there."""
        report, observer = Report(), self._observer

        def count(chunks: int) -> None:
            report.chunks += chunks
            observer.stored(chunks)

        reader = Reader(self._registry, lambda: session.chunker_for(collection), self._options.languages)
        session.sign(collection, manifest)
        with (
            closing(self._location.open(collection)) as store,
            Writer(store, manifest, lambda texts: session.embedder.embed_documents(texts), count) as writer,
        ):
            for path in paths:
                reconcile(store, manifest, path, self._location.owner)
            plan = make_plan(found, [record for path in paths for record in manifest.under(path)])
            observer.planned(len(plan.reading), sum(file.size for file, _ in plan.reading))
            report.deleted = forget(store, manifest, plan.gone)
            for record in plan.known:
                report.note(record)
            for rejected, former in plan.rejected:
                record = _make_record(rejected)
                if record != former:
                    writer.settle(record, former)
                report.note(record)
            for file, former in plan.reading:
                record, chunks = reader.read(file, former)
                if chunks:
                    writer.put(record, chunks, former)
                    report.indexed += 1
                else:
                    writer.settle(record, former)
                    report.note(record)
                observer.read(file.size)
            writer.finish()
        return report


def _known_roots(manifest: Manifest) -> tuple[list[Path], list[str]]:
    """Return the roots of earlier runs: those that are there, and those that are gone."""
    roots = manifest.roots()
    there = [root for root in roots if Path(root).exists()]
    return [Path(root) for root in there], [root for root in roots if root not in there]


def _check_nothing_is_lost(manifest: Manifest, gone: Sequence[str], found: Walk) -> None:
    """Refuse a change of model while indexed documents cannot be read, since they would not be indexed again.

    Raises:
        UsageError: names the folder.
    """
    for path in gone:
        raise UsageError(
            f"the model cannot be changed while {path} is gone: its documents would be lost",
            hint=f"bring it back, or take it out of the index: lusifer remove {path}",
        )
    indexed = [record.path for record in manifest.under() if record.state == "indexed"]
    for rejected in found.rejected:
        if rejected.unreadable and any(is_within(path, rejected.path) for path in indexed):
            raise UsageError(
                f"the model cannot be changed while {rejected.path} cannot be read ({rejected.reason}): "
                "its documents would be lost",
                hint=f"make it readable, or take it out of the index: lusifer remove {rejected.path}",
            )


def _make_record(rejected: Rejected) -> Record:
    return Record(
        id=rejected.id,
        path=rejected.path,
        state="failed" if rejected.unreadable else "skipped",
        reason=rejected.reason,
        retry=rejected.unreadable,
    )
