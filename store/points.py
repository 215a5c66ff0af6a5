"""What an engine stores of a chunk: an id, a dense and a sparse vector, and a payload.

Turns chunks into points and payloads back into chunks; names the vectors and the payload fields to index.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np

from store.errors import InvalidRequest
from store.lexical import SparseVector, document_vector
from store.types import Chunk, Schema, Vector

Payload: TypeAlias = dict[str, Any]

#: Of points and of what stands beside a collection; raised when they change.
FORMAT = 2
DENSE = "dense"
LEXICAL = "lexical"

#: Payload fields filters and facets ask for, and how each is indexed. ``path`` is searched by prefix.
INDEXES: dict[str, Literal["keyword", "prefix", "integer", "float"]] = {
    "document_id": "keyword",
    "version": "keyword",
    "path": "prefix",
    "folder": "keyword",
    "language": "keyword",
    "document_language": "keyword",
    "position": "integer",
    "modified": "float",
    "owner": "keyword",
}

_FIELDS = tuple(field.name for field in fields(Chunk) if field.name != "id")
#: How far from 1 the length of a unit vector may be.
_UNIT_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class Points:
    """Chunks as an engine takes them, column by column.

    Attributes:
        ids: UUIDs in their usual form, lower case.
        dense: shape (n, dimensions), float32, unit rows.
        lexical: indices and weights of each sparse vector.
        payloads: the chunks' other fields.
    """

    ids: list[str]
    dense: Vector
    lexical: list[SparseVector]
    payloads: list[Payload]

    def __len__(self) -> int:
        return len(self.ids)


def prepare(chunks: Sequence[Chunk], vectors: Vector, schema: Schema, *, owner: str = "") -> Points:
    """Check chunks and vectors and analyse the texts.

    Args:
        chunks: what the points are made of.
        vectors: theirs, shape (len(chunks), dimensions).
        schema: what the vectors must be.
        owner: id of the data folder that the chunks are indexed from.

    Raises:
        InvalidRequest: an id is no UUID, or the vectors do not fit the chunks or the schema.
    """
    dense = np.ascontiguousarray(vectors, dtype=np.float32)
    if dense.shape != (len(chunks), schema.dimensions):
        raise InvalidRequest(
            f"{len(chunks)} chunks of {schema.dimensions} dimensions need vectors of shape "
            f"({len(chunks)}, {schema.dimensions}), not {dense.shape}",
            hint="Embed every chunk once, with the model the collection was made with.",
        )
    check_unit(dense)
    return Points(
        [_uuid(chunk.id) for chunk in chunks],
        dense,
        [document_vector((chunk.title, chunk.heading, chunk.text)) for chunk in chunks],
        [{"owner": owner} | {name: getattr(chunk, name) for name in _FIELDS} for chunk in chunks],
    )


def check_unit(rows: Vector) -> None:
    """Refuse vectors that are not of unit length, shape (n, dimensions)."""
    lengths = np.linalg.norm(rows, axis=1)
    # Written so that NaN fails.
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))
    if len(wrong):
        raise InvalidRequest(
            f"Vector {wrong[0]} has length {lengths[wrong[0]]:.3g} instead of 1",
            hint="Give the embedder's vectors as they are.",
        )


def split(points: Points, size: int) -> Iterator[Points]:
    """Cut points into batches of at most ``size``."""
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        yield Points(points.ids[part], points.dense[part], points.lexical[part], points.payloads[part])


def restore(point_id: uuid.UUID, payload: Payload) -> Chunk:
    """Make the chunk again that a point was made from."""
    return Chunk(id=str(point_id), **{name: payload[name] for name in _FIELDS})


def _uuid(value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise InvalidRequest(
            f"The chunk id {value!r} is not a UUID", hint="Give chunks UUIDs as their ids."
        ) from None
