"""A running application follows the index to another model; no question meets the other one's vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from indexer.session import collection_schema
from lusifer import ServiceError
from search import index as live
from search.index import IndexDoors, load_index_model
from store.errors import FingerprintMismatch, StoreError, StoreMissing, StoreUnavailable
from store.types import Schema

if TYPE_CHECKING:
    from tests.app.conftest import MemoryStore, WordModel


def another(model: WordModel) -> WordModel:
    """Make a model with the same vectors turned round: in the first one's store they find the worst."""

    class Other(type(model)):  # type: ignore[misc]
        name = "other"
        fingerprint = "words-2"

        def _embed(self, texts: list[str]) -> np.ndarray:
            return -super()._embed(texts)

    return Other()


class World:
    """An index that can be switched from one model to another, and what an application sees of it."""

    def __init__(self, model: WordModel, make_index: Callable[..., MemoryStore]) -> None:
        self.models = {one.fingerprint: one for one in (model, another(model))}
        self.stores = {mark: make_index(one, collection_schema(one)) for mark, one in self.models.items()}
        self.current: str | None = "words-1"
        self.trouble: Exception | None = None
        self.loaded: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def find_schema(self, _: Settings) -> Schema | None:
        return None if self.current is None else self.stores[self.current].schema

    def load_for(self, _: Settings, schema: Schema) -> WordModel:
        self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble
        (model,) = (one for one in self.models.values() if collection_schema(one) == schema)
        self.loaded.append(model.fingerprint)
        return model

    def open_store(self, _: Settings, model: WordModel) -> MemoryStore:
        if self.current is None:
            raise StoreMissing("nothing is indexed")
        store = self.stores[self.current]
        if store.schema != collection_schema(model):
            raise FingerprintMismatch("another model")
        return store

    def switch(self, mark: str, *, sweep: bool = True) -> None:
        """Put another model's index in the place of the present one, whose store fails from now on."""
        former = self.stores[self.current] if self.current else None
        self.current = mark
        if sweep and former is not None:
            former.search = former.count = former.scroll = self._gone  # type: ignore[method-assign]

    def _gone(self, *_: object, **__: object) -> None:
        raise FingerprintMismatch("another model")


@pytest.fixture
def world(model: WordModel, make_index: Callable[..., MemoryStore]) -> World:
    return World(model, make_index)


@pytest.fixture
def app(world: World, tmp_path: Path, monkeypatch) -> Iterator[TestClient]:
    monkeypatch.setattr(live, "WATCH_SECONDS", 3600)
    monkeypatch.setattr(live, "_FOLLOW_SECONDS", 0.2)
    doors = IndexDoors(world.open_store, world.find_schema, world.load_for)
    made = create_app(Settings(data=tmp_path), load=lambda _: world.models["words-1"], doors=doors)
    with TestClient(made, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


def best(client: TestClient) -> str:
    answer = client.get("/api/v1/search", params={"q": "bread"})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"][0]["document"]["path"]


def model_of(client: TestClient) -> str:
    return client.get("/v1/models").json()["data"][0]["id"]


BREAD = {"/docs/food/bread.md", "/docs/food/mkate.txt", "/docs/food/pan.txt"}


def test_the_next_question_is_put_to_the_next_index(app: TestClient, world: World) -> None:
    assert best(app) in BREAD
    world.switch("words-2")
    assert best(app) in BREAD
    assert world.loaded == ["words-2"]
    assert app.get("/api/v1/status").json()["model"]["name"] == model_of(app) == "other"
    assert app.get("/readyz").status_code == 200


def test_pages_of_documents_follow_too(app: TestClient, world: World, samples) -> None:
    assert app.get("/api/v1/documents").json()["total"] == len(samples)
    world.switch("words-2")
    assert app.get("/api/v1/documents").json()["total"] == len(samples)


def test_it_looks_by_itself_and_no_question_fails(app: TestClient, world: World) -> None:
    """As long as the former store stays, the next model is loaded while the former answers."""
    index = app.app.state.resources.index  # type: ignore[attr-defined]
    former = world.stores["words-1"]
    assert best(app) in BREAD
    world.gate.clear()
    world.switch("words-2", sweep=False)
    looking = threading.Thread(target=index.look)
    looking.start()
    assert best(app) in BREAD
    assert model_of(app) == "words"
    world.gate.set()
    looking.join()
    assert model_of(app) == "other"
    assert best(app) in BREAD
    assert not former.closed, "questions may still be on their way"
    index.look()
    assert former.closed
    assert world.loaded == ["words-2"]


@pytest.mark.parametrize("trouble", [FingerprintMismatch("not to be had"), ServiceError("away")])
def test_a_model_that_cannot_be_had_is_said_once(
    app: TestClient, world: World, caplog, monkeypatch, trouble: Exception
) -> None:
    index = app.app.state.resources.index  # type: ignore[attr-defined]
    world.trouble = trouble
    world.switch("words-2")
    with caplog.at_level("WARNING", "lusifer.index"):
        for _ in range(3):
            answer = app.get("/api/v1/search", params={"q": "bread"})
            assert answer.status_code == 503
            index.look()
    assert len([record for record in caplog.records if "cannot follow" in record.message]) == 1
    world.trouble = None
    monkeypatch.setattr(live, "_RETRY_SECONDS", 0.0)
    index._refused = None
    assert best(app) in BREAD


def test_other_troubles_are_not_taken_for_a_change(app: TestClient, world: World) -> None:
    best(app)
    for trouble in (StoreUnavailable("away"), StoreMissing("gone"), StoreError("closed")):

        def fail(*_: object, error: Exception = trouble, **__: object) -> None:
            raise error

        world.stores["words-1"].search = fail  # type: ignore[method-assign]
        assert app.get("/api/v1/search", params={"q": "bread"}).status_code == 503
    assert world.loaded == []


def test_an_index_may_come_later(app: TestClient, world: World) -> None:
    world.current = None
    index = app.app.state.resources.index  # type: ignore[attr-defined]
    index._current.door._store = None
    assert app.get("/api/v1/search", params={"q": "bread"}).status_code == 503
    world.current = "words-2"
    assert best(app) in BREAD


@pytest.fixture
def opened(monkeypatch, tmp_path: Path) -> Callable[..., WordModel]:
    """Load the model of an index with a schema, where the settings and names lead to given models."""

    def load(schema: Schema, models: dict[str, WordModel | Exception], **settings: object) -> WordModel:
        def load_reference(reference: str, *_: object, **__: object) -> WordModel:
            found = models[reference]
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr("indexer.model.load_reference", load_reference)
        monkeypatch.setattr("search.index.find_schema", lambda _: schema)
        return load_index_model(Settings(data=tmp_path, **settings))  # type: ignore[arg-type, return-value]

    monkeypatch.delenv("LUSIFER_MODEL", raising=False)
    return load


def test_the_indexs_model_is_loaded_whatever_is_set(opened, caplog, model: WordModel) -> None:
    old, new = model, another(model)
    schema = collection_schema(old)
    made = Schema(schema.dimensions, schema.fingerprint, "models/old")
    models = {"models/old": old, "models/new": new, "": new}
    assert opened(made, models) is old
    assert opened(made, models, model="models/old") is old
    assert not caplog.records
    assert opened(made, models, model="models/new") is old
    assert "searched with models/old" in caplog.text
    # The same model under another name, as on another machine or behind a service.
    assert (
        opened(made, {"models/old": ServiceError("away"), "http://gpu:1": old}, embeddings_url="http://gpu:1")
        is old
    )


def test_a_server_starts_with_what_is_set_where_the_indexs_model_is_gone(
    opened, caplog, model: WordModel
) -> None:
    schema = collection_schema(model)
    made = Schema(schema.dimensions, schema.fingerprint, "models/old")
    new = another(model)
    assert (
        opened(made, {"models/old": ServiceError("it is away"), "models/new": new}, model="models/new") is new
    )
    assert "cannot be had here: models/new is another model or version by now; it is away" in caplog.text
