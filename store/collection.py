"""A collection of chunks over any engine: the store's whole behaviour, written once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, get_args
from uuid import UUID

import numpy as np

from store.engine import ALL_POINTS, EVERYTHING, Condition, Engine, Probe, Ranked, Record
from store.errors import InvalidRequest
from store.fusion import DEFAULT_PARAMETERS, Fused, FusionParameters, fuse, group
from store.lexical import SparseVector, query_vector
from store.points import Points, check_unit, prepare, restore, split
from store.types import (
    NEAREST,
    Answer,
    Chunk,
    CollectionInfo,
    DocumentHits,
    FacetField,
    Filter,
    Query,
    Schema,
    ScoredChunk,
    Vector,
)

#: Points in one call of the engine: a search that waits behind one waits some 20 ms.
BATCH = 256
#: Terms of a question that are looked at; the rest of a pasted page adds nothing.
MAX_TERMS = 128
_PAGE = 5000
_TIE_DECIMALS = 4
#: Candidates whose grouping is remembered; some 300 bytes each.
_REMEMBERED = 200_000


class Grouping(NamedTuple):
    """What a search needs to know of every candidate, found or not shown in the end."""

    document_id: str
    language: str
    folder: str


class Evidence(NamedTuple):
    """What both halves say of each candidate, as ``fuse`` takes it, and the nearest cosines."""

    ids: list[int]
    similarities: list[float]
    lexical: list[float]
    ideal: float
    nearest: tuple[float, ...]


class Collection:
    """A ``Store`` over an ``Engine``.

    Args:
        engine: where the points are.
        owner: returns the id of the data folder that writes; several may share a collection.
        exclusive: whether nobody else can write to the engine, so that an order once sorted may be kept.
        fusion: how dense and lexical evidence become one score, where a question does not say.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        owner: Callable[[], str] = str,
        exclusive: bool = False,
        fusion: FusionParameters = DEFAULT_PARAMETERS,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._exclusive = exclusive
        self._fusion = fusion
        # What is remembered of an exclusive engine, as long as it stays true.
        self._order: tuple[Filter, list[UUID]] | None = None
        self._groupings: dict[int, Grouping] = {}
        self._idf: dict[int, float | None] = {}

    @property
    def info(self) -> CollectionInfo:
        return self._engine.info

    @property
    def schema(self) -> Schema:
        return self._engine.info.schema

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        points = prepare(chunks, vectors, self.schema, owner=self._owner())
        for batch in split(points, BATCH):
            self.upsert_points(batch)

    def upsert_points(self, points: Points) -> None:
        """Add or replace points that are prepared already, in one call of the engine."""
        self._forget()
        if points.ids:
            for id in points.ids:
                self._groupings.pop(UUID(id).int, None)
            self._engine.upsert(points)

    def delete_document(self, document_id: str, *, except_version: str | None = None) -> None:
        self._forget()
        own = Filter(document_ids=(document_id,), owner=self._owner())
        self._engine.delete(Condition(own, except_version=except_version))

    def search(self, query: Query) -> Answer:
        check_query(query, self.schema)
        evidence = self._candidates(query)
        groupings = self._grouping(evidence.ids)
        own = [bool(query.language) and _language(groupings.get(id)) == query.language for id in evidence.ids]
        fused = fuse(
            evidence.ids,
            evidence.similarities,
            evidence.lexical,
            evidence.ideal,
            query.fusion or self._fusion,
            own=own,
        )
        groups = group(
            fused, {id: grouping.document_id for id, grouping in groupings.items()}, query.chunks_per_document
        )
        best = [groupings[chunks[0].id] for _, chunks in groups]
        return Answer(
            documents=self._hits(groups[query.offset : query.offset + query.documents]),
            total=len(groups),
            languages=_ordered(Counter(grouping.language for grouping in best)),
            folders=_ordered(Counter(grouping.folder for grouping in best)),
            nearest=evidence.nearest,
        )

    def _grouping(self, ids: list[int]) -> dict[int, Grouping]:
        """Look up what grouping needs of the candidates; those that are gone are left out."""
        known = self._groupings if self._exclusive else {}
        if len(known) > _REMEMBERED:
            known.clear()
        records = self._engine.retrieve([UUID(int=id) for id in ids if id not in known], Grouping._fields)
        known.update({one.id.int: Grouping(**one.payload) for one in records})
        return {id: known[id] for id in ids if id in known}

    def _candidates(self, query: Query) -> Evidence:
        """Gather both halves' candidates, having asked each half about those it did not name itself.

        Ids are integers here: there are many of them, and UUIDs hash slowly.
        """
        condition = Condition(query.filter)
        vector = np.ascontiguousarray(query.vector, dtype=np.float32)
        indices, weights = query_vector(query.text)
        terms: SparseVector = indices[:MAX_TERMS], weights[:MAX_TERMS]
        probes = [Probe(vector, query.candidates + 1, condition)]
        if len(indices):
            probes.append(Probe(terms, query.candidates + 1, condition))
        ranked_lists = self._engine.rank(probes)
        found = [_cut(ranked, query.candidates) for ranked in ranked_lists]
        similarities, lexical = ({one.id.int: one.score for one in ranked} for ranked in (*found, [])[:2])
        # Unless the lexical list was cut, whoever is not on it shares no word.
        was_cut = len(ranked_lists[-1]) > query.candidates and len(indices) > 0
        wordless = tuple(id for id in similarities if id not in lexical) if was_cut else ()
        distant = tuple(id for id in lexical if id not in similarities)
        missing = [
            Probe(value, len(ids), Condition(ids=tuple(UUID(int=id) for id in ids)))
            for value, ids in ((vector, distant), (terms, wordless))
            if ids
        ]
        for probe, ranked in zip(missing, self._engine.rank(missing) if missing else [], strict=True):
            scores = similarities if probe.is_dense else lexical
            scores.update({one.id.int: one.score for one in ranked})
        # A point that was removed between the two questions has no similarity and is left out.
        ids = list(similarities)
        words = [lexical.get(id, 0.0) for id in ids]
        nearest = tuple(one.score for one in found[0][:NEAREST])
        return Evidence(ids, list(similarities.values()), words, self._ideal(terms), nearest)

    def _ideal(self, terms: SparseVector) -> float:
        """Score a chunk of average length that holds every term of the question once."""
        weights: list[float] = terms[1].tolist()
        weighed = list(zip(self._idfs(terms[0].tolist()), weights, strict=True))
        known = sum(idf * weight for idf, weight in weighed if idf is not None)
        unknown = sum(weight for idf, weight in weighed if idf is None)
        if not unknown:
            return known
        # BM25's IDF of a term that no chunk holds.
        return known + unknown * math.log(1 + (self._engine.count(ALL_POINTS) + 0.5) / 0.5)

    def _idfs(self, indices: list[int]) -> list[float | None]:
        known = self._idf if self._exclusive else {}
        unknown = [index for index in indices if index not in known]
        if unknown:
            known.update(zip(unknown, self._engine.idf(unknown), strict=True))
        return [known[index] for index in indices]

    def _forget(self) -> None:
        """Drop what a write makes untrue."""
        self._order = None
        self._idf.clear()

    def _hits(self, groups: Sequence[tuple[str, list[Fused[int]]]]) -> tuple[DocumentHits, ...]:
        wanted = [UUID(int=one.id) for _, chunks in groups for one in chunks]
        found = {one.id.int: restore(one.id, one.payload) for one in self._engine.retrieve(wanted)}
        hits = []
        for document, chunks in groups:
            scored = tuple(
                ScoredChunk(found[one.id], one.score, one.similarity, one.lexical, one.coverage)
                for one in chunks
                if one.id in found  # another program may have removed it since it was ranked
            )
            if scored:
                hits.append(DocumentHits(document, scored))
        return tuple(hits)

    def facet(self, field: FacetField, filter: Filter = EVERYTHING) -> dict[str, int]:
        if field not in get_args(FacetField):
            raise InvalidRequest(
                f"Chunks cannot be counted by {field!r}",
                hint=f"Choose from {', '.join(get_args(FacetField))}.",
            )
        return _ordered(self._engine.facet(field, Condition(filter)))

    def count(self, filter: Filter = EVERYTHING) -> int:
        return self._engine.count(Condition(filter))

    def scroll(self, filter: Filter = EVERYTHING, *, limit: int = 1000, offset: int = 0) -> list[Chunk]:
        if limit < 0 or offset < 0:
            raise InvalidRequest("Limit and offset must not be negative", hint="Count from 0.")
        wanted = self._sorted_ids(filter)[offset : offset + limit]
        found = {record.id: restore(record.id, record.payload) for record in self._engine.retrieve(wanted)}
        return [found[id] for id in wanted if id in found]

    def _sorted_ids(self, filter: Filter) -> list[UUID]:
        """List ids in order of path and position; engines sort by one number only."""
        if self._order is not None and self._order[0] == filter:
            return self._order[1]
        keys: list[tuple[str, int, UUID]] = []
        for records in self._pages(Condition(filter), _PAGE, ("path", "position"), vectors=False):
            keys += [(one.payload["path"], one.payload["position"], one.id) for one in records]
        ids = [id for _, _, id in sorted(keys)]
        if self._exclusive:
            self._order = filter, ids
        return ids

    def versions(self, filter: Filter = EVERYTHING) -> dict[tuple[str, str], int]:
        fields = ("document_id", "version")
        counts: Counter[tuple[str, str]] = Counter()
        for records in self._pages(Condition(filter), _PAGE, fields, vectors=False):
            counts.update((one.payload["document_id"], one.payload["version"]) for one in records)
        return dict(counts)

    def export(self, *, batch: int = 1000) -> Iterator[tuple[list[Chunk], Vector]]:
        for records in self._pages(ALL_POINTS, batch, None, vectors=True):
            yield unpack(records, self.schema)

    def export_page(self, start: str | None, size: int) -> tuple[list[Chunk], Vector, str | None]:
        """Give one batch of ``export`` and where the next begins; None after the last."""
        records, following = self._engine.page(ALL_POINTS, start=start, size=size, fields=None, vectors=True)
        return (*unpack(records, self.schema), following)

    def _pages(
        self, condition: Condition, size: int, fields: Sequence[str] | None, *, vectors: bool
    ) -> Iterator[list[Record]]:
        start: str | None = None
        while True:
            records, start = self._engine.page(
                condition, start=start, size=size, fields=fields, vectors=vectors
            )
            if records:
                yield records
            if start is None:
                return

    def flush(self) -> None:
        self._engine.flush()

    def close(self) -> None:
        self._engine.close()


def check_query(query: Query, schema: Schema) -> None:
    """Refuse a question that cannot be answered.

    Raises:
        InvalidRequest: wrong vector, or a number out of range.
    """
    vector = np.asarray(query.vector, dtype=np.float32)
    if vector.shape != (schema.dimensions,):
        raise InvalidRequest(
            f"The question's vector has shape {vector.shape} instead of ({schema.dimensions},)",
            hint="Embed the question with the model the collection was made with.",
        )
    check_unit(vector[np.newaxis])
    for name, least in (("documents", 1), ("offset", 0), ("chunks_per_document", 1), ("candidates", 1)):
        if getattr(query, name) < least:
            raise InvalidRequest(
                f"{name} is {getattr(query, name)}", hint=f"The least that makes sense is {least}."
            )


def unpack(records: Sequence[Record], schema: Schema) -> tuple[list[Chunk], Vector]:
    """Turn records with vectors into chunks and their vectors, shape (n, dimensions)."""
    vectors = np.array([record.dense for record in records], np.float32).reshape(-1, schema.dimensions)
    return [restore(record.id, record.payload) for record in records], vectors


def _language(grouping: Grouping | None) -> str:
    return "" if grouping is None else grouping.language


def _ordered(counts: dict[str, int]) -> dict[str, int]:
    """Sort by count, the most frequent first, then by name; leave out what only deleted points had."""
    return dict(sorted((item for item in counts.items() if item[1]), key=lambda item: (-item[1], item[0])))


def _cut(ranked: list[Ranked], limit: int) -> list[Ranked]:
    """Shorten a list to ``limit`` without tearing apart equal scores, whose order is the engine's whim.

    Equal scores that would straddle the cut are left out, unless nothing else is in the list.
    """
    if len(ranked) <= limit:
        return ranked
    boundary = round(ranked[limit].score, _TIE_DECIMALS)
    kept = [one for one in ranked[:limit] if round(one.score, _TIE_DECIMALS) > boundary]
    return kept or sorted(ranked, key=lambda one: one.id)[:limit]
