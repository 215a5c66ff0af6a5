"""The few operations a search engine must have to hold a collection; all else is built on them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import numpy as np

from store.lexical import SparseVector
from store.points import Payload, Points
from store.types import CollectionInfo, FacetField, Filter, OneOf, Vector

#: The filter that lets every chunk through.
EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Condition:
    """Which points are meant: a filter, and what only the store itself asks for.

    Attributes:
        filter: as the caller gave it.
        except_version: only points of other versions than this.
        except_owner: only points of other owners than this.
        ids: only these points.
    """

    filter: Filter = EVERYTHING
    except_version: str | None = None
    except_owner: str | None = None
    ids: tuple[UUID, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every point is meant."""
        return self == ALL_POINTS

    def exclusions(self) -> list[OneOf]:
        """List what must not hold of a point."""
        given = (("version", self.except_version), ("owner", self.except_owner))
        return [OneOf(field, (value,)) for field, value in given if value is not None]


ALL_POINTS = Condition()


@dataclass(frozen=True, slots=True)
class Probe:
    """One ranked list wanted: the points nearest to a dense or a sparse vector."""

    vector: Vector | SparseVector
    limit: int
    condition: Condition = ALL_POINTS

    @property
    def is_dense(self) -> bool:
        return isinstance(self.vector, np.ndarray)


@dataclass(frozen=True, slots=True)
class Record:
    """A stored point: its payload (perhaps only some fields) and, if asked for, its dense vector."""

    id: UUID
    payload: Payload
    dense: Vector | None = None


@dataclass(slots=True)
class Ranked:
    """A point in a ranked list."""

    id: UUID
    score: float


class Engine(Protocol):
    """A collection of points. Methods raise ``store.errors.StoreError`` and nothing of the engine's own."""

    @property
    def info(self) -> CollectionInfo: ...

    def upsert(self, points: Points) -> None:
        """Add or replace points by id."""

    def delete(self, condition: Condition) -> None:
        """Remove points."""

    def rank(self, probes: Sequence[Probe]) -> list[list[Ranked]]:
        """Find points for each probe, best first; the score is cosine, or the sum of weights times IDF."""

    def idf(self, indices: Sequence[int]) -> list[float | None]:
        """Look up each term's inverse document frequency; None where no point holds the term."""

    def retrieve(self, ids: Sequence[UUID], fields: Sequence[str] | None = None) -> list[Record]:
        """Fetch points by id, in any order; ids that are gone are left out. None: all fields."""

    def page(
        self,
        condition: Condition,
        *,
        start: str | None,
        size: int,
        fields: Sequence[str] | None,
        vectors: bool,
    ) -> tuple[list[Record], str | None]:
        """List points in order of id, and where to go on: None at the end, else the next call's ``start``."""

    def count(self, condition: Condition) -> int: ...

    def facet(self, field: FacetField, condition: Condition) -> dict[str, int]:
        """Count points by value, in any order."""

    def flush(self) -> None: ...

    def close(self) -> None: ...
