"""One store follows another under the same name: made beside it, switched at once, the former removed after.

The same story over all engines, then what only one of them can do wrong.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models
from store_corpus import KINDS, SCHEMA, end_owner, make_chunks, make_vectors, owner_pid

from store import (
    FingerprintMismatch,
    InvalidRequest,
    Query,
    Schema,
    Store,
    StoreDamaged,
    StoreError,
    StoreMissing,
    current_schema,
    delete_store,
    open_store,
    reset_store,
    stage_store,
    sweep_store,
    switch_store,
)
from store.collection import Collection
from store.edge.current import FILE, Pointer, read_pointer, write_pointer
from store.edge.stores import Embedded
from store.server.alias import Succession
from store.server.remote import open_client

# What the in-memory mode says of itself; a server does not.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

OLD, NEW, OTHER = replace(SCHEMA, model="small"), Schema(8, "model-b", "/models/b"), Schema(4, "model-c")


def vectors(count: int, schema: Schema) -> object:
    rows = make_vectors(count)[:, : schema.dimensions].copy()
    return rows / (rows**2).sum(axis=1, keepdims=True) ** 0.5


class Place:
    """One data folder or server, as the functions of the package see it."""

    def __init__(self, kind: str, data: Path) -> None:
        self.kind, self.data = kind, data
        self._embedded = Embedded(data / "direct") if kind == "direct" else None
        self._succession = Succession(QdrantClient(":memory:"), "documents", ":memory:")

    def open(self, schema: Schema | None, *, create: bool = False) -> Store:
        if self._embedded is not None:
            # Whoever holds a store of the data folder finds it by its schema, as clients of the owner do.
            found = self._embedded.open(schema, create=create)
            return self._embedded.find(found.schema)
        if self.kind == "owner":
            return open_store(self.data, schema, create=create)
        return open_client(self._succession._client, "documents", schema, create=create)

    def stage(self, schema: Schema) -> Store:
        if self._embedded is not None:
            return self._embedded.stage(schema)
        if self.kind == "owner":
            return stage_store(self.data, schema)
        return Collection(self._succession.stage(schema))

    def switch(self, schema: Schema) -> None:
        if self.kind == "owner":
            switch_store(self.data, schema)
        else:
            (self._embedded or self._succession).switch(schema)

    def sweep(self) -> None:
        if self.kind == "owner":
            sweep_store(self.data)
        else:
            (self._embedded or self._succession).sweep()

    def close(self) -> None:
        if self._embedded is not None:
            self._embedded.close()
        self._succession._client.close()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, data: Path) -> Iterator[Place]:
    made = Place(request.param, data)
    yield made
    made.close()


def fill(store: Store, documents: int, *, first: int = 0) -> None:
    chunks = make_chunks(documents, first=first)
    store.upsert(chunks, vectors(len(chunks), store.schema))
    store.flush()


def find(store: Store) -> int:
    return store.search(Query(vectors(1, store.schema)[0], "library")).total


def test_a_store_is_followed_by_another(place: Place) -> None:
    with pytest.raises(StoreMissing):
        place.stage(NEW)
    old = place.open(OLD, create=True)
    fill(old, 5)
    with pytest.raises(InvalidRequest):
        place.stage(OLD)

    new = place.stage(NEW)
    fill(new, 2)
    # Until the switch nothing has changed for anybody.
    assert (find(old), place.open(None).schema, old.count()) == (5, OLD, 15)
    old.delete_document(make_chunks(1)[0].document_id)
    with pytest.raises(FingerprintMismatch):
        place.open(NEW)
    # An interrupted run finds what it made.
    again = place.stage(NEW)
    assert again.count() == 6
    fill(again, 3, first=2)

    place.switch(NEW)
    place.switch(NEW)
    assert place.open(None).schema == NEW
    assert place.open(None).schema.model == "/models/b"
    assert find(place.open(NEW)) == find(again) == 5
    with pytest.raises(FingerprintMismatch):
        place.open(OLD)
    # Whoever had the former open goes on with it until it is swept away.
    assert find(old) == 4
    place.sweep()
    place.sweep()
    with pytest.raises(StoreError):
        find(old)
    assert find(place.open(NEW)) == 5


def test_a_staged_store_of_another_model_is_replaced(place: Place) -> None:
    fill(place.open(OLD, create=True), 2)
    fill(place.stage(NEW), 2)
    other = place.stage(OTHER)
    assert other.count() == 0
    fill(other, 1)
    with pytest.raises(StoreMissing, match="being made"):
        place.switch(NEW)
    place.switch(OTHER)
    # And back again: the first is still there, retired, and must not be mistaken for the one being made.
    back = place.stage(OLD)
    assert back.count() == 0
    fill(back, 3)
    place.switch(OLD)
    place.sweep()
    assert (place.open(None).schema, find(place.open(OLD))) == (OLD, 3)


def test_sweeping_leaves_the_staged_store(place: Place) -> None:
    fill(place.open(OLD, create=True), 1)
    fill(place.stage(NEW), 2)
    place.sweep()
    assert place.stage(NEW).count() == 6


def folders(data: Path) -> set[str]:
    return {path.name for path in data.glob("store*")}


def test_the_owner_may_die_at_any_step(data: Path) -> None:
    old = open_store(data, OLD, create=True)
    fill(old, 3)
    end_owner(data, signal.SIGKILL)
    new = stage_store(data, NEW)
    fill(new, 4)
    end_owner(data, signal.SIGKILL)
    assert (old.count(), new.count(), stage_store(data, NEW).count()) == (9, 12, 12)
    switch_store(data, NEW)
    end_owner(data, signal.SIGKILL)
    assert (find(old), find(new)) == (3, 4)
    assert folders(data) == {"store", "store-2", FILE}
    sweep_store(data)
    assert folders(data) == {"store-2", FILE}
    assert find(open_store(data, NEW)) == 4
    delete_store(data)
    assert folders(data) == set()


def test_the_pointer_switches_at_once_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    embedded = Embedded(tmp_path)
    fill(embedded.open(OLD, create=True), 1)
    fill(embedded.stage(NEW), 2)

    def fail(*_: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="killed"):
            embedded.switch(NEW)
    embedded.close()
    assert current_schema(tmp_path) == OLD
    embedded.switch(NEW)
    assert current_schema(tmp_path) == NEW
    embedded.close()


def test_what_killed_processes_leave_is_swept(tmp_path: Path) -> None:
    embedded = Embedded(tmp_path)
    embedded.open(OLD, create=True)
    for name in ("store-2", "store-7.new", "store.old", "store.damaged-20250101-000000"):
        (tmp_path / name / "shard").mkdir(parents=True)
    assert embedded.stage(NEW).count() == 0
    embedded.sweep()
    assert folders(tmp_path) == {"store", "store-8", "store.damaged-20250101-000000", FILE}
    embedded.close()


def test_a_damaged_staged_store_is_made_again(tmp_path: Path) -> None:
    embedded = Embedded(tmp_path)
    embedded.open(OLD, create=True)
    fill(embedded.stage(NEW), 1)
    embedded.close()
    (tmp_path / "store-2" / "store.json").write_text("{")
    assert embedded.stage(NEW).count() == 0
    embedded.close()


@pytest.mark.parametrize("content", ["[]", '{"current": "../x", "staged": null, "retired": []}'])
def test_a_damaged_pointer_is_an_error_with_a_remedy(data: Path, content: str) -> None:
    fill(open_store(data, OLD, create=True), 1)
    fill(stage_store(data, NEW), 1)
    end_owner(data)
    (data / FILE).write_text(content)
    for use in (lambda: open_store(data, None), lambda: current_schema(data), lambda: sweep_store(data)):
        with pytest.raises(StoreDamaged, match=r"stores\.json") as caught:
            use()
        assert "--rebuild" in caught.value.hint
    assert reset_store(data, OTHER).count() == 0
    assert current_schema(data) == OTHER


def test_the_present_schema_is_read_without_opening_anything(data: Path) -> None:
    assert current_schema(data) is None
    open_store(data, OLD, create=True).close()
    end_owner(data)
    assert current_schema(data) == OLD
    assert current_schema(data).model == "small"
    assert owner_pid(data) is None


def test_pointers_are_read_as_written(tmp_path: Path) -> None:
    assert read_pointer(tmp_path) == Pointer()
    pointer = Pointer("store-3", "store-4", ("store", "store-2"))
    write_pointer(tmp_path, pointer)
    assert read_pointer(tmp_path) == pointer
    assert json.loads((tmp_path / FILE).read_text())["current"] == "store-3"


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    with_memory = QdrantClient(":memory:")
    yield with_memory
    with_memory.close()


def names(client: QdrantClient) -> set[str]:
    return {one.name for one in client.get_collections().collections}


def test_names_on_a_server_are_aliases(client: QdrantClient) -> None:
    open_client(client, "docs", OLD, create=True)
    aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
    assert (names(client), aliases) == ({"docs--1"}, {"docs": "docs--1"})


def test_a_collection_from_before_aliases_is_followed(client: QdrantClient) -> None:
    open_client(client, "made", OLD, create=True)
    metadata = client.get_collection("made").config.metadata
    client.create_collection(
        "docs", {"dense": models.VectorParams(size=3, distance="Dot")}, metadata=metadata
    )
    succession = Succession(client, "docs", ":memory:")
    assert open_client(client, "docs", None).schema == OLD
    succession.stage(NEW)
    succession.switch(NEW)
    assert open_client(client, "docs", NEW).schema == NEW
    assert names(client) == {"made--1", "docs--1"}


def test_collections_of_others_are_left_alone(client: QdrantClient) -> None:
    client.create_collection("docs--7", models.VectorParams(size=3, distance=models.Distance.DOT))
    client.create_collection("docs--archive", models.VectorParams(size=3, distance=models.Distance.DOT))
    open_client(client, "docs", OLD, create=True)
    succession = Succession(client, "docs", ":memory:")
    succession.stage(NEW)
    succession.switch(NEW)
    succession.sweep()
    assert names(client) == {"docs--7", "docs--archive", "docs--9"}
    succession.delete()
    assert names(client) == {"docs--7", "docs--archive"}


def test_two_programs_that_make_a_collection_at_once_share_it(client: QdrantClient, monkeypatch) -> None:
    mine, other = (Succession(client, "docs", ":memory:") for _ in range(2))
    make: Callable[[Schema], str] = mine._make

    def make_late(schema: Schema) -> str:
        other.create(schema)
        monkeypatch.setattr(mine, "_numbered", list)
        return make(schema)

    monkeypatch.setattr(mine, "_make", make_late)
    assert mine.create(OLD).collection == other.current().collection == "docs--1"
