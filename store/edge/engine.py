"""The embedded engine: one Qdrant Edge shard in a folder, opened by one process alone.

Qdrant Edge 0.9.0 loses or damages data when it is used carelessly; what is done about it, and why:

* our own lock is held before anything is opened: a second open, though refused, damages the first's files;
* the write-ahead log is on and a flush that fails is fatal: ``close`` would swallow the error;
* every call is guarded against ``BaseException``: the engine's panics are not ``Exception``;
* ``integrity`` knows what ought to be there: some damage is silent;
* half-built segments of a killed optimiser are removed before loading: nobody else does it;
* free space is checked before writing: a full disk kills the process with SIGBUS;
* searches are exact below 100,000 matches: the graph's recall under a filter falls to 0.8.

The optimiser is never run here: it would stop the whole process for minutes, and exact search is fast at the
sizes an embedded store is for.
"""

from __future__ import annotations

import random
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, cast
from uuid import UUID, uuid4

import numpy as np
import qdrant_edge as edge

from store.edge.folder import State, StateFile, damaged, mark_damaged
from store.edge.integrity import SAMPLES, take_sample, verify
from store.engine import ALL_POINTS, Condition, Probe, Ranked, Record
from store.errors import DiskFull, InvalidRequest, StoreError
from store.points import DENSE, INDEXES, LEXICAL, Points
from store.types import Between, CollectionInfo, FacetField, OneOf, Schema, Term, Vector

#: Up to so many matches every vector is compared.
EXACT_MATCHES = 100_000
#: Beyond that, how widely the graph is searched.
HNSW_EF = 256
#: Points after which a flush is made without being asked for; the log is replayed on opening until then.
FLUSH_POINTS = 10_000
#: Free space below which nothing is added, and below which nothing is done at all, in bytes.
MINIMUM_FREE = 256 * 2**20
MINIMUM_FREE_DELETE = 64 * 2**20
_FACET_VALUES = 1_000_000
#: IDF over the points that are alive. By default those deleted since loading are counted, in half the time.
_LIVE_IDF = edge.IdfParams(corpus=edge.Filter())

_Condition: TypeAlias = edge.FieldCondition | edge.HasIdCondition | edge.Filter
_Match: TypeAlias = edge.MatchValue | edge.MatchPrefix
_IndexParams: TypeAlias = edge.KeywordIndexParams | edge.IntegerIndexParams | edge.FloatIndexParams

_INDEX_PARAMS: dict[str, Callable[[], _IndexParams]] = {
    "keyword": edge.KeywordIndexParams,
    "prefix": lambda: edge.KeywordIndexParams(prefix=True),
    "integer": lambda: edge.IntegerIndexParams(lookup=True, range=True),
    "float": edge.FloatIndexParams,
}


def engine_version() -> str:
    """Name the engine and its version, as it is written into ``store.json``."""
    return f"qdrant-edge-py {version('qdrant-edge-py')}"


class EdgeEngine:
    """An ``Engine`` over a Qdrant Edge shard. Use ``create`` or ``load``; not safe for threads.

    The caller holds the data folder's lock from before ``create`` or ``load`` until after ``close``.
    """

    def __init__(self, folder: Path, shard: edge.EdgeShard, state: State, file: StateFile) -> None:
        self._folder = folder
        self._shard = shard
        self._state = state
        self._file = file
        self._failed: StoreError | None = None
        self._closed = False
        self._unflushed = 0
        self._dirty = False
        # Whether points were deleted or replaced since the files were loaded.
        self._stale = False
        self._sampled = list(state.samples)
        self._batches = len(self._sampled)
        self._random = random.Random(0)

    @classmethod
    def create(cls, folder: Path, schema: Schema) -> EdgeEngine:
        """Make an empty store at ``folder``, all at once: a process killed midway leaves nothing there."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_space(folder.parent, MINIMUM_FREE)
        draft = folder.with_name(folder.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        shard_folder = draft / "shard"
        shard_folder.mkdir(parents=True, mode=0o700)
        with _guard(folder):
            shard = edge.EdgeShard.create(str(shard_folder), shard_config(schema))
            for operation in indexes():
                shard.update(operation)
            shard.flush()
            shard.close()
        StateFile(draft).write(State(uuid4().hex, schema, engine_version()))
        draft.rename(folder)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> EdgeEngine:
        """Open the store at ``folder`` and compare it with what ought to be there.

        Raises:
            StoreMissing: there is none.
            StoreDamaged: it cannot be opened, or points are missing or changed.
        """
        file = StateFile(folder)
        state, unflushed = file.read(), file.is_marked
        _require_space(folder, MINIMUM_FREE_DELETE)
        for leftover in (folder / "shard" / "temp_segments").glob("*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        with _guard(folder):
            shard = edge.EdgeShard.load(str(folder / "shard"))
        engine = cls(folder, shard, state, file)
        try:
            if not unflushed:
                verify(folder, state, engine.count(ALL_POINTS), engine._samples())
        except StoreError:
            engine._abandon()
            raise
        engine._dirty = unflushed or state.engine != engine_version()
        engine._stale = unflushed
        state.engine = engine_version()
        return engine

    @property
    def info(self) -> CollectionInfo:
        return CollectionInfo(self._folder.parent.name, self._state.id, self._state.schema)

    def upsert(self, points: Points) -> None:
        _require_space(self._folder, MINIMUM_FREE + 4 * points.dense.nbytes)
        operation = edge.UpdateOperation.upsert_points([to_point(points, row) for row in range(len(points))])
        before = self._total()
        self._write(operation)
        self._stale |= self._total() - before < len(points)
        self._choose_sample(points.ids[0])
        self._unflushed += len(points)
        if self._unflushed >= FLUSH_POINTS:
            self.flush()

    def delete(self, condition: Condition) -> None:
        _require_space(self._folder, MINIMUM_FREE_DELETE)
        selection = to_filter(condition)
        if selection is None:
            raise InvalidRequest("Nothing says what to delete", hint="Give a condition.")
        if self.count(condition):
            self._stale = True
            self._write(edge.UpdateOperation.delete_points_by_filter(selection))

    def _write(self, operation: edge.UpdateOperation) -> None:
        self._check_usable()
        self._file.mark()
        self._dirty = True
        with self._fatal():
            self._shard.update(operation)

    def _choose_sample(self, id: str) -> None:
        """Keep a few ids spread evenly over all batches ever written."""
        self._batches += 1
        if id in self._sampled:
            return
        if len(self._sampled) < SAMPLES:
            self._sampled.append(id)
        elif (slot := self._random.randrange(self._batches)) < SAMPLES:
            self._sampled[slot] = id

    def rank(self, probes: Sequence[Probe]) -> list[list[Ranked]]:
        requests = [
            edge.QueryRequest(
                limit=probe.limit,
                query=to_query(probe),
                filter=to_filter(probe.condition),
                params=self.search_params(probe),
            )
            for probe in probes
        ]
        return [
            [Ranked(cast("UUID", point.id), point.score) for point in points]
            for points in self._query(requests)
        ]

    def _query(self, requests: list[edge.QueryRequest]) -> list[list[edge.ScoredPoint]]:
        self._check_usable()
        with _guard(self._folder):
            return self._shard.query_batch(edge.QueryBatchRequest(requests))

    def search_params(self, probe: Probe) -> edge.SearchParams:
        """Choose between exact search and the graph."""
        if not probe.is_dense:
            return self._lexical_params()
        matches = self._total()
        if matches >= EXACT_MATCHES and not probe.condition.is_empty:
            matches = self.count(probe.condition)
        return (
            edge.SearchParams(exact=True) if matches < EXACT_MATCHES else edge.SearchParams(hnsw_ef=HNSW_EF)
        )

    def _lexical_params(self) -> edge.SearchParams:
        return edge.SearchParams(idf=_LIVE_IDF) if self._stale else edge.SearchParams()

    def _total(self) -> int:
        with _guard(self._folder):
            return int(self._shard.info().points_count)

    def idf(self, indices: Sequence[int]) -> list[float | None]:
        # The score of a point for one term is that term's weight in the point times its IDF.
        requests = [
            edge.QueryRequest(
                limit=1,
                query=edge.Query.Nearest(edge.SparseVector([index], [1.0]), using=LEXICAL),
                with_vector=[LEXICAL],
                params=self._lexical_params(),
            )
            for index in indices
        ]
        found: list[float | None] = []
        for index, points in zip(indices, self._query(requests), strict=True):
            if points:
                vector = cast("dict[str, edge.SparseVector]", points[0].vector)[LEXICAL]
                found.append(points[0].score / vector.values[vector.indices.index(index)])
            else:
                found.append(None)
        return found

    def retrieve(self, ids: Sequence[UUID], fields: Sequence[str] | None = None) -> list[Record]:
        return self._retrieve(list(ids), fields, vectors=False)

    def _retrieve(
        self, ids: list[int | UUID | str], fields: Sequence[str] | None, *, vectors: bool
    ) -> list[Record]:
        self._check_usable()
        if not ids:
            return []
        payload = True if fields is None else list(fields)
        with _guard(self._folder):
            return [
                to_record(one) for one in self._shard.retrieve(ids, payload, [DENSE] if vectors else False)
            ]

    def page(
        self,
        condition: Condition,
        *,
        start: str | None,
        size: int,
        fields: Sequence[str] | None,
        vectors: bool,
    ) -> tuple[list[Record], str | None]:
        self._check_usable()
        request = edge.ScrollRequest(
            offset=start,
            limit=size,
            filter=to_filter(condition),
            with_payload=True if fields is None else list(fields),
            with_vector=[DENSE] if vectors else False,
        )
        with _guard(self._folder):
            found, following = self._shard.scroll(request)
            return [to_record(one) for one in found], None if following is None else str(following)

    def count(self, condition: Condition) -> int:
        self._check_usable()
        if condition.is_empty:
            return self._total()
        with _guard(self._folder):
            return int(self._shard.count(edge.CountRequest(exact=True, filter=to_filter(condition))))

    def facet(self, field: FacetField, condition: Condition) -> dict[str, int]:
        self._check_usable()
        request = edge.FacetRequest(field, limit=_FACET_VALUES, exact=True, filter=to_filter(condition))
        with _guard(self._folder):
            return {str(hit.value): int(hit.count) for hit in self._shard.facet(request).hits}

    def flush(self) -> None:
        self._check_usable()
        if not self._dirty:
            return
        _require_space(self._folder, MINIMUM_FREE_DELETE)
        with self._fatal():
            self._shard.flush()
        records = self._samples()
        self._sampled = [str(record.id) for record in records]
        self._state.points = self.count(ALL_POINTS)
        self._state.samples = {str(record.id): take_sample(record) for record in records}
        self._file.write(self._state)
        self._dirty = False
        self._unflushed = 0

    def _samples(self) -> list[Record]:
        return self._retrieve(list(self._sampled), None, vectors=True)

    def close(self) -> None:
        """Flush and let go of the files, also when the flush fails."""
        if self._closed:
            return
        try:
            if self._failed is None:
                self.flush()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Let go of the files without flushing; what was acknowledged is in the log."""
        self._closed = True
        try:
            with _guard(self._folder):
                self._shard.close()
        except StoreError:
            pass  # nothing more can be done with a shard that does not close, and nothing depends on it

    def _check_usable(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._closed:
            raise StoreError("The store is closed", hint="Open it again.")

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Refuse all further work if this fails: what the engine holds is then not known any more."""
        try:
            with _guard(self._folder):
                yield
        except StoreError as error:
            self._failed = error
            raise


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Turn whatever the engine raises, its panics included, into our errors; damage is marked."""
    try:
        yield
    except (StoreError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if "No space left" in reason:
            raise _disk_full(folder, 0) from error
        failure = damaged(folder, reason)
        mark_damaged(folder.parent, failure.message)
        raise failure from error


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _disk_full(folder, free)


def _disk_full(folder: Path, free: int) -> DiskFull:
    return DiskFull(
        f"The disk that holds {folder} has {free // 2**20} MiB free, too little to write safely",
        hint=f"Free at least {MINIMUM_FREE // 2**20} MiB, or keep the index on another disk, and try again.",
    )


def indexes() -> list[edge.UpdateOperation]:
    """List the operations that index the payload."""
    return [
        edge.UpdateOperation.create_field_index(field, _INDEX_PARAMS[kind]())
        for field, kind in INDEXES.items()
    ]


def shard_config(schema: Schema) -> edge.EdgeConfig:
    # No quantisation: exact search at 100,000 chunks takes some 9 ms, and cosines stay what they are.
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(schema.dimensions, edge.Distance.Cosine)},
        sparse_vectors={LEXICAL: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        wal_enabled=True,
    )


def to_point(points: Points, row: int) -> edge.Point:
    # An array converts twice as fast as a numpy row.
    vectors: dict[str, Any] = {DENSE: array("f", points.dense[row].tobytes())}
    indices, weights = points.lexical[row]
    if len(indices):
        vectors[LEXICAL] = edge.SparseVector(indices.tolist(), weights.tolist())
    return edge.Point(points.ids[row], vectors, points.payloads[row])


def to_query(probe: Probe) -> edge.Query:
    if isinstance(probe.vector, tuple):
        indices, weights = probe.vector
        return edge.Query.Nearest(edge.SparseVector(indices.tolist(), weights.tolist()), using=LEXICAL)
    return edge.Query.Nearest(cast("list[float]", array("f", probe.vector.tobytes())), using=DENSE)


def to_record(point: Any) -> Record:
    vectors = cast("dict[str, list[float]] | None", point.vector)
    dense: Vector | None = np.array(vectors[DENSE], np.float32) if vectors else None
    return Record(point.id, point.payload or {}, dense)


def to_filter(condition: Condition) -> edge.Filter | None:
    """Say a condition in the engine's words; None for everything."""
    if condition.is_empty:
        return None
    must: list[Any] = [_to_condition(term) for term in condition.filter.terms()]
    if condition.ids is not None:
        must.append(edge.HasIdCondition(set(condition.ids)))
    return edge.Filter(must=must, must_not=list(map(_to_condition, condition.exclusions())))


def _to_condition(term: Term) -> _Condition:
    if isinstance(term, OneOf):
        return edge.FieldCondition(term.field, match=edge.MatchAny(cast("list[str]", list(term.values))))
    if isinstance(term, Between):
        return edge.FieldCondition(term.field, range=edge.RangeFloat(gte=term.least, lte=term.greatest))
    matches: list[_Match] = [edge.MatchValue(term.itself), edge.MatchPrefix(term.prefix)]
    return edge.Filter(should=[edge.FieldCondition(term.field, match=match) for match in matches])
