"""Our points, conditions and schema in Qdrant Edge's words, and its points in ours.

Knows the engine's types. Must not open, search or write anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
import qdrant_edge as edge

from store.base import Schema, Vector
from store.engine import Condition, Probe, Record, path_bounds
from store.points import DENSE, INDEXES, LEXICAL, Points

_Condition: TypeAlias = edge.FieldCondition | edge.HasIdCondition | edge.Filter
_Match: TypeAlias = edge.MatchValue | edge.MatchPrefix
_IndexParams: TypeAlias = edge.KeywordIndexParams | edge.IntegerIndexParams | edge.FloatIndexParams

_INDEX_PARAMS: dict[str, Callable[[], _IndexParams]] = {
    "keyword": edge.KeywordIndexParams,
    "prefix": lambda: edge.KeywordIndexParams(prefix=True),
    "integer": lambda: edge.IntegerIndexParams(lookup=True, range=True),
    "float": edge.FloatIndexParams,
}


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


def _any(conditions: list[edge.FieldCondition]) -> edge.Filter:
    return edge.Filter(should=list(conditions))


def to_filter(condition: Condition) -> edge.Filter | None:
    """Say a condition in the engine's words; None for everything."""
    if condition.is_empty:
        return None
    wanted = condition.filter
    must: list[_Condition] = []
    must_not: list[_Condition] = []
    for field, values in (("language", wanted.languages), ("document_id", wanted.document_ids)):
        if values:
            must.append(edge.FieldCondition(field, match=edge.MatchAny(list(values))))
    if wanted.path_prefix is not None:
        exact, below = path_bounds(wanted.path_prefix)
        either: list[_Match] = [edge.MatchValue(exact), edge.MatchPrefix(below)]
        must.append(_any([edge.FieldCondition("path", match=match) for match in either]))
    if wanted.modified_from is not None or wanted.modified_to is not None:
        bounds = edge.RangeFloat(gte=wanted.modified_from, lte=wanted.modified_to)
        must.append(edge.FieldCondition("modified", range=bounds))
    if wanted.first_chunks:
        must.append(edge.FieldCondition("position", match=edge.MatchValue(0)))
    if condition.ids is not None:
        must.append(edge.HasIdCondition(set(condition.ids)))
    if condition.except_version is not None:
        must_not.append(edge.FieldCondition("version", match=edge.MatchValue(condition.except_version)))
    return edge.Filter(must=list(must), must_not=list(must_not))
