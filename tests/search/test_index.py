"""A search follows the index to another collection; no question meets another model's vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lusifer import ServiceError
from search import index as module
from search.documents import take_inventory
from search.errors import RequestError
from search.index import SearchIndex, load_model_of
from search.request import Limits, SearchRequest
from store.errors import FingerprintMismatch, InvalidRequest, StoreError, StoreMissing, StoreUnavailable
from store.types import Schema
from tests.doubles import SAMPLES, MemoryLocation, MemoryStore, WordModel, fill, schema_of

BREAD = {"/docs/food/bread.md", "/docs/food/mkate.txt", "/docs/food/pan.txt"}


class OtherModel(WordModel):
    """The same vectors turned round: in the first model's store they find the worst."""

    name = "other"
    fingerprint = "words-2"

    def _embed(self, texts: list[str]) -> np.ndarray:
        return -super()._embed(texts)


class World:
    """An index that is searched with one of two models, and what is loaded for it."""

    def __init__(self, location: MemoryLocation, model: WordModel) -> None:
        self.location = location
        self.models = {one.fingerprint: one for one in (model, OtherModel())}
        self.loaded: list[str] = []
        self.trouble: Exception | None = None
        self.loading = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.index = SearchIndex(location, self.load, limits=Limits())

    def load(self, schema: Schema | None) -> WordModel:
        self.loading.set()
        self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble
        self.loaded.append("words-1" if schema is None else schema.model_fingerprint)
        return self.models[self.loaded[-1]]

    def switch(self, fingerprint: str) -> MemoryStore:
        """Search another model's collection; return the store of the former."""
        former = self.location.open()
        model = self.models[fingerprint]
        info = self.location.build(schema_of(model), fresh=True)
        fill(self.location.open(info), model)
        self.location.switch(info)
        return former

    def best(self) -> str:
        return self.index.search(SearchRequest("bread")).hits[0].document.path


def gone(*_: object, **__: object) -> None:
    raise FingerprintMismatch("another model")


@pytest.fixture
def world(location: MemoryLocation, model: WordModel) -> Iterator[World]:
    world = World(location, model)
    yield world
    world.index.close()


def test_the_model_is_loaded_and_the_store_opened_once(world: World, location: MemoryLocation) -> None:
    location.opened = 0
    assert world.best() in BREAD
    assert world.best() in BREAD
    assert world.index.ask(take_inventory).documents == len(SAMPLES)
    assert (world.loaded, location.opened) == (["words-1"], 1)


def test_the_next_question_is_put_to_the_next_collection(world: World) -> None:
    assert world.best() in BREAD
    former = world.switch("words-2")
    former.search = gone  # type: ignore[method-assign]
    assert world.best() in BREAD
    assert world.loaded == ["words-1", "words-2"]
    assert world.index.model.model.name == "other"
    assert former.closed


def test_a_rebuilt_collection_is_opened_and_its_model_kept(world: World) -> None:
    assert world.best() in BREAD
    former = world.switch("words-1")
    assert world.best() in BREAD
    assert former.closed
    assert world.loaded == ["words-1"]


def test_a_question_that_fails_because_the_collection_changes_is_asked_again(world: World) -> None:
    world.best()
    store = world.location.open()

    def switch_and_fail(*_: object, **__: object) -> None:
        world.switch("words-2")
        gone()

    store.search = switch_and_fail  # type: ignore[method-assign]
    assert world.best() in BREAD
    assert world.loaded == ["words-1", "words-2"]


def test_others_are_answered_while_the_next_model_is_loaded(world: World) -> None:
    assert world.best() in BREAD
    former = world.location.open()
    world.gate.clear()
    world.loading.clear()
    world.switch("words-2")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(world.best)
        assert world.loading.wait(10)
        former.queries.clear()
        assert world.best() in BREAD
        assert former.queries
        assert world.index.model.model.name == "words"
        assert not former.closed
        world.gate.set()
        assert first.result(10) in BREAD
    assert world.index.model.model.name == "other"
    assert former.closed
    assert world.loaded == ["words-1", "words-2"]


@pytest.mark.parametrize("trouble", [FingerprintMismatch("not to be had"), ServiceError("away")])
def test_the_former_answers_until_the_next_model_can_be_loaded(
    world: World, caplog, monkeypatch, trouble: Exception
) -> None:
    world.best()
    former = world.switch("words-2")
    world.trouble = trouble
    for _ in range(3):
        former.queries.clear()
        assert world.best() in BREAD
        assert former.queries
    assert len([record for record in caplog.records if "cannot be searched" in record.message]) == 1
    world.trouble = None
    assert world.best() in BREAD
    assert world.loaded == ["words-1"], "it is not tried with every question"
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    world.switch("words-2")
    assert world.best() in BREAD
    assert world.loaded == ["words-1", "words-2"]


def test_without_a_former_the_trouble_is_told(world: World) -> None:
    world.trouble = ServiceError("away")
    for _ in range(2):
        with pytest.raises(ServiceError, match="away"):
            world.best()


@pytest.mark.parametrize(
    "trouble", [StoreUnavailable("away"), StoreMissing("gone"), StoreError("closed"), InvalidRequest("odd")]
)
def test_other_troubles_are_told_once_and_the_store_is_opened_again(
    world: World, trouble: StoreError
) -> None:
    world.best()
    store = world.location.open()
    asked: list[object] = []

    def fail(*_: object, **__: object) -> None:
        asked.append(trouble)
        raise trouble

    store.search = fail  # type: ignore[method-assign]
    with pytest.raises(type(trouble)):
        world.best()
    assert len(asked) == 1
    del store.search
    assert world.best() in BREAD
    assert world.loaded == ["words-1"]


def test_an_index_may_come_later_and_go(tmp_path: Path, model: WordModel) -> None:
    world = World(MemoryLocation(tmp_path), model)
    world.index.load_model()
    assert world.index.model.model is model
    with pytest.raises(StoreMissing):
        world.best()
    info = world.location.build(schema_of(model))
    fill(world.location.stores[info.name], model)
    world.location.switch(info)
    assert world.best() in BREAD
    world.location.delete()
    with pytest.raises(StoreMissing):
        world.best()
    world.index.close()


def test_a_wrong_request_is_refused_before_anything_is_opened(world: World, location: MemoryLocation) -> None:
    location.opened = 0
    with pytest.raises(RequestError):
        world.index.search(SearchRequest(" "))
    assert (world.loaded, location.opened) == ([], 0)


def test_a_server_starts_with_the_model_that_is_set_where_the_indexs_is_gone(
    location: MemoryLocation, model: WordModel, caplog
) -> None:
    def load(schema: Schema | None) -> WordModel:
        if schema is not None:
            raise FingerprintMismatch("it cannot be loaded")
        return model

    index = SearchIndex(location, load, limits=Limits())
    index.load_model()
    assert index.model.model is model
    assert "it cannot be loaded" in caplog.text
    index.close()


class TestLoadModelOf:
    @pytest.fixture
    def schema(self, model: WordModel) -> Schema:
        return Schema(model.dimensions, "chunks", "models/old", model.fingerprint)

    def load(self, schema: Schema, wanted: str, models: dict[str, WordModel | Exception]) -> WordModel:
        def load_reference(reference: str) -> WordModel:
            found = models[reference]
            if isinstance(found, Exception):
                raise found
            return found

        return load_model_of(schema, wanted, load_reference)  # type: ignore[return-value]

    def test_the_indexs_model_is_loaded_whatever_is_set(self, schema: Schema, model, caplog) -> None:
        models = {"models/old": model, "models/new": OtherModel()}
        assert self.load(schema, "models/old", models) is model
        assert not caplog.records
        assert self.load(schema, "models/new", models) is model
        assert "searched with models/old" in caplog.text

    def test_the_same_model_may_be_elsewhere(self, schema: Schema, model) -> None:
        assert self.load(schema, "http://gpu:1", {"http://gpu:1": model}) is model

    def test_a_model_that_is_gone_is_named_with_the_reasons(self, schema: Schema) -> None:
        models = {"models/old": ServiceError("it is away"), "models/new": OtherModel()}
        with pytest.raises(FingerprintMismatch) as caught:
            self.load(schema, "models/new", models)
        expected = "cannot be loaded: models/new is another model or version by now; it is away"
        assert expected in caught.value.message
