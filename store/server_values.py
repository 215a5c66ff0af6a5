"""Our points, conditions and schema in qdrant-client's words, and its points in ours.

Knows the client's types. Must not send anything.
"""

from __future__ import annotations

from typing import TypeAlias, cast
from uuid import UUID

import numpy as np
from qdrant_client import models

from store.base import Schema, Vector
from store.engine import Condition, Probe, Record, path_bounds
from store.points import DENSE, LEXICAL, Points

_IndexParams: TypeAlias = models.KeywordIndexParams | models.IntegerIndexParams | models.FloatIndexParams

INDEX_PARAMS: dict[str, _IndexParams] = {
    "keyword": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
    "prefix": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True),
    "integer": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True),
    "float": models.FloatIndexParams(type=models.FloatIndexType.FLOAT),
}


def vector_params(schema: Schema) -> models.VectorParams:
    """Describe the dense vectors."""
    return models.VectorParams(size=schema.dimensions, distance=models.Distance.COSINE)


def sparse_params() -> models.SparseVectorParams:
    """Describe the lexical vectors: the server multiplies them with IDF."""
    return models.SparseVectorParams(modifier=models.Modifier.IDF)


def to_point(points: Points, row: int) -> models.PointStruct:
    """Make one point; a text without words has no lexical vector."""
    vectors: dict[str, list[float] | models.SparseVector] = {DENSE: points.dense[row].tolist()}
    indices, weights = points.lexical[row]
    if len(indices):
        vectors[LEXICAL] = models.SparseVector(indices=indices.tolist(), values=weights.tolist())
    return models.PointStruct(
        id=points.ids[row], vector=cast("models.VectorStruct", vectors), payload=points.payloads[row]
    )


def to_query(probe: Probe) -> list[float] | models.SparseVector:
    """Make the vector that is searched for."""
    if isinstance(probe.vector, tuple):
        indices, weights = probe.vector
        return models.SparseVector(indices=indices.tolist(), values=weights.tolist())
    return cast("list[float]", probe.vector.tolist())


def to_record(point: models.Record) -> Record:
    """Take over a point that was fetched."""
    dense: Vector | None = None
    if point.vector is not None:
        dense = np.array(cast("dict[str, list[float]]", point.vector)[DENSE], np.float32)
    return Record(UUID(str(point.id)), point.payload or {}, dense)


def to_filter(condition: Condition) -> models.Filter | None:
    """Say a condition in the server's words; None for everything."""
    if condition.is_empty:
        return None
    wanted = condition.filter
    must: list[models.Condition] = []
    must_not: list[models.Condition] = []
    for field, values in (("language", wanted.languages), ("document_id", wanted.document_ids)):
        if values:
            must.append(models.FieldCondition(key=field, match=models.MatchAny(any=list(values))))
    if wanted.path_prefix is not None:
        exact, below = path_bounds(wanted.path_prefix)
        either: list[models.Condition] = [
            models.FieldCondition(key="path", match=models.MatchValue(value=exact)),
            models.FieldCondition(key="path", match=models.MatchPrefix(prefix=below)),
        ]
        must.append(models.Filter(should=either))
    if wanted.modified_from is not None or wanted.modified_to is not None:
        bounds = models.Range(gte=wanted.modified_from, lte=wanted.modified_to)
        must.append(models.FieldCondition(key="modified", range=bounds))
    if wanted.first_chunks:
        must.append(models.FieldCondition(key="position", match=models.MatchValue(value=0)))
    if condition.ids is not None:
        must.append(models.HasIdCondition(has_id=[str(id) for id in condition.ids]))
    if condition.except_version is not None:
        version = models.MatchValue(value=condition.except_version)
        must_not.append(models.FieldCondition(key="version", match=version))
    return models.Filter(must=must, must_not=must_not)
