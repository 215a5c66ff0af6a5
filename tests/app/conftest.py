"""Clients of applications over the shared doubles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from search.index import SearchIndex
from tests.doubles import SAMPLES, MemoryLocation, MemoryStore, Sample, WordModel, indexed

ClientMaker = Callable[..., TestClient]


@pytest.fixture
def model() -> WordModel:
    return WordModel()


@pytest.fixture
def location(model: WordModel, tmp_path: Path) -> MemoryLocation:
    """An index of the samples."""
    return indexed(tmp_path, model)


@pytest.fixture
def store(location: MemoryLocation) -> MemoryStore:
    """The store of that index."""
    return location.open()


@pytest.fixture
def make_index(model: WordModel, location: MemoryLocation, tmp_path: Path) -> Callable[..., SearchIndex]:
    """Make what an application searches; ``empty=True`` before anything is indexed."""

    def make(settings: Settings, *, empty: bool = False) -> SearchIndex:
        where = MemoryLocation(tmp_path) if empty else location
        return SearchIndex(where, lambda _: model, limits=settings.limits, candidates=settings.candidates)

    return make


@pytest.fixture
def make_client(
    make_index: Callable[..., SearchIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ClientMaker]:
    """Make clients of applications with given settings; ``empty=True`` is one before anything is indexed."""
    for name in ("LUSIFER_API_KEY", "LUSIFER_DATA", "LUSIFER_QDRANT_URL", "LUSIFER_ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    opened: list[TestClient] = []

    def make(*, empty: bool = False, **given: object) -> TestClient:
        settings = Settings(data=tmp_path, **given)
        app = create_app(settings, make_index(settings, empty=empty))
        client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: ClientMaker) -> TestClient:
    return make_client()


@pytest.fixture
def samples() -> tuple[Sample, ...]:
    """The documents in the store."""
    return SAMPLES
