"""Stores of every kind, for the tests."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from store import Store, open_location
from store.edge.index import EdgeIndex
from store.server.index import ServerIndex

# Tests are imported one by one; this is how they share their corpus.
sys.path.insert(0, str(Path(__file__).parent))

from store_corpus import end_daemon, open_first


@pytest.fixture(autouse=True)
def _short_lived_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSIFER_DAEMON_IDLE_SECONDS", "20")


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder in memory if there is room: the engine syncs a lot, and these tests pull no plugs."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    folder = Path(tempfile.mkdtemp(prefix="lusifer-test-", dir=memory if roomy else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tmp_path(workspace: Path) -> Iterator[Path]:
    """A new folder for each test, removed with it: a hundred stores in memory would be gigabytes."""
    folder = Path(tempfile.mkdtemp(dir=workspace))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose daemon, if a test starts one, is ended with the test."""
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    end_daemon(folder)


@pytest.fixture
def make_store(data: Path) -> Iterator[Callable[[str], Store]]:
    """Open an empty store of a kind: direct, daemon or server."""
    closing: list[Callable[[], None]] = []

    def make(kind: str) -> Store:
        if kind == "direct":
            index = EdgeIndex(data.with_name("direct"))
            closing.append(index.close)
            return open_first(index)
        if kind == "daemon":
            store = open_first(open_location(data))
        else:
            store = open_first(ServerIndex(QdrantClient(":memory:"), "documents", data))
        closing.append(store.close)
        return store

    yield make
    for close in closing:
        close()
