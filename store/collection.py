"""A collection of chunks over any engine: the store's whole behaviour, written once.

Knows chunks, questions and fusion. Must not know which engine answers nor in which process it runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np

from store.analyser import SparseVector, query_vector
from store.base import (
    Answer,
    Chunk,
    DocumentHits,
    FacetField,
    Filter,
    Query,
    Schema,
    ScoredChunk,
    Vector,
)
from store.engine import ALL_POINTS, EVERYTHING, Condition, Engine, Probe, Record
from store.errors import InvalidRequest
from store.fusion import DEFAULT_PARAMETERS, Fused, FusionParameters, fuse, group
from store.points import Points, check_unit, prepare, restore, split

#: Points in one call of the engine: a search that waits behind one waits some 20 ms.
BATCH = 256
#: Terms of a question that are looked at; the rest of a pasted page adds nothing.
MAX_TERMS = 128
_PAGE = 5000


class Collection:
    """A ``Store`` over an ``Engine``.

    Args:
        engine: where the points are.
        exclusive: whether nobody else can write to the engine, so that an order once sorted may be kept.
        fusion: how dense and lexical evidence become one score.
    """

    def __init__(
        self, engine: Engine, *, exclusive: bool = False, fusion: FusionParameters = DEFAULT_PARAMETERS
    ) -> None:
        self._engine = engine
        self._exclusive = exclusive
        self._fusion = fusion
        self._order: tuple[Filter, list[str]] | None = None

    @property
    def schema(self) -> Schema:
        return self._engine.schema

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        points = prepare(chunks, vectors, self.schema)
        for batch in split(points, BATCH):
            self.upsert_points(batch)

    def upsert_points(self, points: Points) -> None:
        """Add or replace points that are prepared already, in one call of the engine."""
        self._order = None
        if points.ids:
            self._engine.upsert(points)

    def delete_document(self, document_id: str, *, except_version: str | None = None) -> None:
        self._order = None
        self._engine.delete(Condition(Filter(document_ids=(document_id,)), except_version))

    def search(self, query: Query) -> Answer:
        check_query(query, self.schema)
        vector = np.ascontiguousarray(query.vector, dtype=np.float32)
        fused = self._candidates(vector, query)
        records = self._engine.retrieve([one.id for one in fused], ("document_id", "language", "folder"))
        payloads = {record.id: record.payload for record in records}
        documents = {id: payload["document_id"] for id, payload in payloads.items()}
        groups = group(fused, documents, query.chunks_per_document)
        best = [payloads[chunks[0].id] for _, chunks in groups]
        return Answer(
            documents=self._hits(groups[query.offset : query.offset + query.documents]),
            total=len(groups),
            languages=_ordered(Counter(payload["language"] for payload in best)),
            folders=_ordered(Counter(payload["folder"] for payload in best)),
        )

    def _candidates(self, vector: Vector, query: Query) -> list[Fused]:
        """Collect both halves' candidates and complete what each half does not know of the other's."""
        condition = Condition(query.filter)
        indices, weights = query_vector(query.text)
        terms: SparseVector = indices[:MAX_TERMS], weights[:MAX_TERMS]
        indices = terms[0]
        probes = [Probe(vector, query.candidates, condition)]
        if len(indices):
            probes.append(Probe(terms, query.candidates, condition))
        similarities, *rest = map(dict, self._engine.rank(probes))
        lexical = rest[0] if rest else {}
        wordless = tuple(id for id in similarities if id not in lexical)
        distant = tuple(id for id in lexical if id not in similarities)
        missing = [Probe(vector, len(distant), Condition(ids=distant))] if distant else []
        if len(indices) and wordless:
            missing.append(Probe(terms, len(wordless), Condition(ids=wordless)))
        for probe, scores in zip(missing, self._engine.rank(missing) if missing else [], strict=True):
            (similarities if probe.is_dense else lexical).update(scores)
        ids = list(similarities)
        words = [lexical.get(id, 0.0) for id in ids]
        return fuse(ids, list(similarities.values()), words, self._ideal(indices.tolist()), self._fusion)

    def _ideal(self, indices: list[int]) -> float:
        """Score a chunk of average length that holds every term of the question once."""
        found = self._engine.idf(indices) if indices else []
        known = sum(idf for idf in found if idf is not None)
        unknown = sum(idf is None for idf in found)
        if not unknown:
            return known
        # BM25's IDF of a term that no chunk holds.
        return known + unknown * math.log(1 + (self._engine.count(ALL_POINTS) + 0.5) / 0.5)

    def _hits(self, groups: Sequence[tuple[str, list[Fused]]]) -> tuple[DocumentHits, ...]:
        wanted = [one.id for _, chunks in groups for one in chunks]
        found = {record.id: restore(record.id, record.payload) for record in self._engine.retrieve(wanted)}
        hits = []
        for document, chunks in groups:
            scored = tuple(
                ScoredChunk(found[one.id], one.score, one.similarity, one.lexical)
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

    def _sorted_ids(self, filter: Filter) -> list[str]:
        """List ids in order of path and position; engines sort by one number only."""
        if self._order is not None and self._order[0] == filter:
            return self._order[1]
        keys: list[tuple[str, int, str]] = []
        for records in self._pages(Condition(filter), _PAGE, ("path", "position"), vectors=False):
            keys += [(one.payload["path"], one.payload["position"], one.id) for one in records]
        ids = [id for _, _, id in sorted(keys)]
        if self._exclusive:
            self._order = filter, ids
        return ids

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


def _ordered(counts: dict[str, int]) -> dict[str, int]:
    """Sort by count, the most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
