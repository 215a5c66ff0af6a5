"""Stores of every kind, for the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from store import Store, open_store
from store.embedded import Embedded
from store.remote import open_client

# Tests are imported one by one; this is how they share their corpus.
sys.path.insert(0, str(Path(__file__).parent))

from store_corpus import SCHEMA, end_owner


@pytest.fixture(autouse=True)
def _short_lived_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSIFER_OWNER_IDLE_SECONDS", "20")


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose owner, if a test starts one, is ended with the test."""
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    end_owner(folder)


@pytest.fixture
def make_store(data: Path) -> Iterator[Callable[[str], Store]]:
    """Open an empty store of a kind: direct, owner or server."""
    closing: list[Callable[[], None]] = []

    def make(kind: str) -> Store:
        if kind == "direct":
            folder = data.with_name("direct")
            folder.mkdir()
            embedded = Embedded(folder)
            closing.append(embedded.close)
            return embedded.open(SCHEMA, create=True)
        if kind == "owner":
            store = open_store(data, SCHEMA, create=True)
        else:
            store = open_client(QdrantClient(":memory:"), "documents", SCHEMA, create=True)
        closing.append(store.close)
        return store

    yield make
    for close in closing:
        close()
