"""The engine on a Qdrant server or cluster, reached with qdrant-client.

What the collection is stands in its own metadata, so that it is complete in itself. Requests are tried again
where that helps, and refusals become our errors; these name the address and the collection, never the key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import numpy as np
import stamina
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from store.engine import Condition, Probe, Ranked, Record
from store.errors import StoreDamaged, StoreError, StoreMissing, StoreOutdated, StoreUnavailable
from store.points import DENSE, FORMAT, INDEXES, LEXICAL, Points
from store.types import Between, CollectionInfo, FacetField, OneOf, Schema, Term, Vector

_T = TypeVar("_T")

_ATTEMPTS = 4
#: Statuses that pass: too many requests, bad gateway, unavailable, gateway timeout.
_TRANSIENT = frozenset((429, 502, 503, 504))
#: Where what the collection is lies in its metadata.
METADATA = "lusifer"
_FACET_VALUES = 1_000_000

_IndexParams: TypeAlias = models.KeywordIndexParams | models.IntegerIndexParams | models.FloatIndexParams

INDEX_PARAMS: dict[str, _IndexParams] = {
    "keyword": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD),
    "prefix": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True),
    "integer": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True),
    "float": models.FloatIndexParams(type=models.FloatIndexType.FLOAT),
}


class AlreadyThere(StoreError):  # noqa: N818
    """There is a collection of this name."""


class ServerCalls:
    """Sends requests that concern one collection on one server.

    Args:
        collection: its name, for messages.
        address: the server's, for messages; shown without secrets.
    """

    def __init__(self, collection: str, address: str) -> None:
        self._collection = collection
        self._address = redact(address)

    def __call__(self, request: Callable[[], _T]) -> _T:
        """Send a request, again if it failed for a passing reason, and translate what remains.

        A request may be sent twice: when the answer to the first was lost, making a collection says that it
        is there already.
        """
        try:
            for attempt in stamina.retry_context(
                on=_passes, attempts=_ATTEMPTS, wait_initial=0.2, wait_max=5.0
            ):
                with attempt:
                    return request()
        except UnexpectedResponse as error:
            raise self._refused(error) from error
        except ResponseHandlingException as error:
            raise StoreUnavailable(
                f"The Qdrant server at {self._address} does not answer ({type(error.source).__name__})",
                hint="Start it, or correct its address.",
            ) from error
        except (ApiException, ValueError, KeyError) as error:
            if isinstance(error, ValueError) and "already exists" in str(error):  # the client's local mode
                raise AlreadyThere(f"There is a collection {self._collection!r} already") from error
            raise StoreError(
                f"The Qdrant server at {self._address} gave no usable answer ({type(error).__name__})",
                hint="Check that its version suits this client: 1.20 or a neighbour.",
            ) from error
        raise AssertionError("unreachable")

    def _refused(self, error: UnexpectedResponse) -> StoreError:
        status = error.status_code
        if status in (401, 403):
            return StoreUnavailable(
                f"The Qdrant server at {self._address} refuses the API key (HTTP {status})",
                hint="Correct the key, or give it the right to do this.",
            )
        if status == 404:
            return StoreMissing(
                f"The collection {self._collection!r} is gone from {self._address}",
                hint="Index the documents again.",
            )
        if status == 409:
            return AlreadyThere(f"There is a collection {self._collection!r} at {self._address} already")
        return StoreUnavailable(
            f"The Qdrant server at {self._address} failed with HTTP {status}", hint="Look into its log."
        )


def _passes(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _TRANSIENT
    return isinstance(error, ResponseHandlingException)


def redact(url: str) -> str:
    """Write an address without the user name, password and query that may stand in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, f":{parts.port}" if parts.port else ""
    except ValueError:
        host = None
    if not host:
        return "the address given" if "@" in url or "?" in url else url
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


class ServerEngine:
    """An ``Engine`` over a collection on a server. Safe for threads as far as qdrant-client is."""

    def __init__(self, client: QdrantClient, info: CollectionInfo, created: float, address: str) -> None:
        self._client = client
        self._collection = info.name
        self._call = ServerCalls(info.name, address)
        self.info = info
        #: When the collection was made, in seconds since the epoch.
        self.created = created

    @classmethod
    def create(cls, client: QdrantClient, name: str, schema: Schema, address: str) -> None:
        """Make a collection, without indexes.

        Raises:
            AlreadyThere: there is one of this name.
            StoreError: it cannot be made.
        """
        metadata = {"format": FORMAT, "id": uuid4().hex, "created": time.time(), "schema": asdict(schema)}
        ServerCalls(name, address)(
            lambda: client.create_collection(
                name,
                vectors_config={DENSE: vector_params(schema)},
                sparse_vectors_config={LEXICAL: sparse_params()},
                metadata={METADATA: metadata},
            )
        )

    def create_indexes(self) -> None:
        """Index the payload; harmless when repeated."""
        for field, kind in INDEXES.items():
            self._call(
                partial(self._client.create_payload_index, self._collection, field, INDEX_PARAMS[kind])
            )

    @classmethod
    def load(cls, client: QdrantClient, name: str, address: str) -> ServerEngine:
        """Open a collection and read what it is.

        Raises:
            StoreMissing: the server has no such collection.
            StoreOutdated: a former version of this program made it.
            StoreDamaged: this program did not make it.
        """
        answer = ServerCalls(name, address)(lambda: client.get_collection(name))
        found: Any = (answer.config.metadata or {}).get(METADATA)
        try:
            if "format" not in found:
                raise StoreOutdated(
                    f"The collection {name!r} at {redact(address)} was made by a former version",
                    hint="Index the documents again, under another name if an alias does not lead to it.",
                )
            if found["format"] != FORMAT:
                raise ValueError("another format")
            info = CollectionInfo(name, str(found["id"]), Schema(**found["schema"]))
            return cls(client, info, float(found["created"]), address)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreDamaged(
                f"The collection {name!r} at {redact(address)} was not made by this program",
                hint="Choose another name, or remove it.",
            ) from error

    def upsert(self, points: Points) -> None:
        structs = [to_point(points, row) for row in range(len(points))]
        self._call(lambda: self._client.upsert(self._collection, structs, wait=True))

    def delete(self, condition: Condition) -> None:
        selector = models.FilterSelector(filter=to_filter(condition) or models.Filter())
        self._call(lambda: self._client.delete(self._collection, selector, wait=True))

    def rank(self, probes: Sequence[Probe]) -> list[list[Ranked]]:
        # The server chooses between graph and exact search by itself, and widely enough with this.
        requests = [
            models.QueryRequest(
                query=to_query(probe),
                using=DENSE if probe.is_dense else LEXICAL,
                limit=probe.limit,
                filter=to_filter(probe.condition),
                params=models.SearchParams(hnsw_ef=256) if probe.is_dense else None,
                with_payload=False,
            )
            for probe in probes
        ]
        answers = self._call(lambda: self._client.query_batch_points(self._collection, requests))
        return [[Ranked(UUID(str(point.id)), point.score) for point in answer.points] for answer in answers]

    def idf(self, indices: Sequence[int]) -> list[float | None]:
        # The score of a point for one term is that term's weight in the point times its IDF.
        requests = [
            models.QueryRequest(
                query=models.SparseVector(indices=[index], values=[1.0]),
                using=LEXICAL,
                limit=1,
                with_vector=[LEXICAL],
                with_payload=False,
            )
            for index in indices
        ]
        answers = self._call(lambda: self._client.query_batch_points(self._collection, requests))
        found: list[float | None] = []
        for index, answer in zip(indices, answers, strict=True):
            if answer.points:
                vectors = cast("dict[str, models.SparseVector]", answer.points[0].vector)
                vector = vectors[LEXICAL]
                found.append(answer.points[0].score / vector.values[vector.indices.index(index)])
            else:
                found.append(None)
        return found

    def retrieve(self, ids: Sequence[UUID], fields: Sequence[str] | None = None) -> list[Record]:
        if not ids:
            return []
        wanted = [str(id) for id in ids]
        payload = True if fields is None else list(fields)
        found = self._call(lambda: self._client.retrieve(self._collection, wanted, payload, False))
        return [to_record(one) for one in found]

    def page(
        self,
        condition: Condition,
        *,
        start: str | None,
        size: int,
        fields: Sequence[str] | None,
        vectors: bool,
    ) -> tuple[list[Record], str | None]:
        found, following = self._call(
            lambda: self._client.scroll(
                self._collection,
                scroll_filter=to_filter(condition),
                limit=size,
                offset=start,
                with_payload=True if fields is None else list(fields),
                with_vectors=[DENSE] if vectors else False,
            )
        )
        return [to_record(one) for one in found], None if following is None else str(following)

    def count(self, condition: Condition) -> int:
        selection = to_filter(condition)
        return self._call(lambda: self._client.count(self._collection, selection, exact=True)).count

    def facet(self, field: FacetField, condition: Condition) -> dict[str, int]:
        answer = self._call(
            lambda: self._client.facet(
                self._collection, field, to_filter(condition), limit=_FACET_VALUES, exact=True
            )
        )
        return {str(hit.value): hit.count for hit in answer.hits}

    def flush(self) -> None:
        """Nothing to do: the server answers a write when it is in its log."""

    def close(self) -> None:
        """Nothing to do: others may use the client."""


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
    must = [_to_condition(term) for term in condition.filter.terms()]
    if condition.ids is not None:
        must.append(models.HasIdCondition(has_id=[str(id) for id in condition.ids]))
    return models.Filter(must=must, must_not=[_to_condition(term) for term in condition.exclusions()])


def _to_condition(term: Term) -> models.Condition:
    if isinstance(term, OneOf):
        return models.FieldCondition(
            key=term.field, match=models.MatchAny(any=cast("list[str]", list(term.values)))
        )
    if isinstance(term, Between):
        return models.FieldCondition(key=term.field, range=models.Range(gte=term.least, lte=term.greatest))
    return models.Filter(
        should=[
            models.FieldCondition(key=term.field, match=models.MatchValue(value=term.itself)),
            models.FieldCondition(key=term.field, match=models.MatchPrefix(prefix=term.prefix)),
        ]
    )
