"""The server engine: what is kept in the collection, and errors that name the address but never the key."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import stamina
from qdrant_client import QdrantClient, models
from store_corpus import SCHEMA, make_chunks, make_vectors, open_first

from store import (
    DEFAULT_COLLECTION,
    IndexLocation,
    InvalidRequest,
    Schema,
    StoreError,
    StoreMissing,
    StoreUnavailable,
    open_location,
)
from store.server.engine import redact
from store.server.index import ServerIndex

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning"
)

KEY = "very-secret-key"


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    with_memory = QdrantClient(":memory:")
    yield with_memory
    with_memory.close()


def test_what_it_is_is_kept_in_the_collection(client: QdrantClient, tmp_path: Path) -> None:
    made = open_first(ServerIndex(client, "docs", tmp_path))
    made.upsert(make_chunks(2), make_vectors(6))
    again = ServerIndex(client, "docs", tmp_path / "elsewhere")
    assert again.current() == again.open().info == made.info
    assert again.open().schema == SCHEMA
    assert again.open().count() == 6


def test_collections_are_apart(client: QdrantClient, tmp_path: Path) -> None:
    one = open_first(ServerIndex(client, "one", tmp_path))
    other = open_first(ServerIndex(client, "other", tmp_path), Schema(3, "b"))
    one.upsert(make_chunks(1), make_vectors(3))
    assert (one.count(), other.count()) == (3, 0)
    ServerIndex(client, "one", tmp_path).delete()
    with pytest.raises(StoreMissing, match="'one'"):
        ServerIndex(client, "one", tmp_path).open()
    assert other.count() == 0


def test_vectors_and_indexes_are_as_promised(client: QdrantClient, tmp_path: Path) -> None:
    open_first(ServerIndex(client, "docs", tmp_path))
    parameters = client.get_collection("docs").config.params
    assert isinstance(parameters.vectors, dict)
    assert parameters.vectors["dense"].distance == models.Distance.COSINE
    assert parameters.sparse_vectors is not None
    assert parameters.sparse_vectors["lexical"].modifier == models.Modifier.IDF


class Server:
    """An HTTP server that answers every request with the next of some statuses, the last one for ever."""

    def __init__(self, *statuses: int, exists: bool = False) -> None:
        answers = list(statuses)
        requests = self.requests = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                requests.append(f"{self.command} {self.path}")
                status = answers.pop(0) if len(answers) > 1 else answers[0]
                results = {
                    "exists": {"exists": exists},
                    "aliases": {"aliases": []},
                    "collections": {"collections": []},
                }
                result = results.get(self.path.rpartition("/")[2], True)
                body = json.dumps({"status": "ok", "time": 0.0, "result": result}).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names http.server asks for

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[type[Server]]:
    running: list[Server] = []

    class Remembered(Server):
        def __init__(self, *statuses: int, exists: bool = False) -> None:
            super().__init__(*statuses, exists=exists)
            running.append(self)

    yield Remembered
    for server in running:
        server.stop()


@pytest.fixture
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def uses(location: IndexLocation) -> list[Callable[[], object]]:
    return [location.open, location.current, lambda: location.build(SCHEMA), location.sweep, location.delete]


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(("status", "word"), [(401, "API key"), (403, "API key"), (503, "503"), (500, "500")])
def test_refusals_are_explained(serve: type[Server], tmp_path: Path, status: int, word: str) -> None:
    server = serve(status)
    for use in uses(open_location(tmp_path, url=server.url, api_key=KEY)):
        with pytest.raises(StoreUnavailable, match=word) as caught:
            use()
        assert server.url in caught.value.message
        assert KEY not in str(caught.value)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(
    ("statuses", "sent"), [((503, 502, 200), 4), ((401, 200), 1), ((429, 200), 3), ((503,), 4)]
)
def test_only_what_passes_is_tried_again(
    serve: type[Server], tmp_path: Path, statuses: tuple[int, ...], sent: int
) -> None:
    server = serve(*statuses)
    with pytest.raises((StoreMissing, StoreUnavailable)) as caught:
        open_location(tmp_path, url=server.url).open()
    assert len(server.requests) == sent
    assert isinstance(caught.value, StoreMissing) == (statuses[-1] == 200 and statuses[0] != 401)


@pytest.mark.usefixtures("_no_waiting")
def test_a_collection_that_cannot_be_made_is_no_missing_one(serve: type[Server], tmp_path: Path) -> None:
    server = serve(*[200] * 6, 422)
    with pytest.raises(StoreError, match="422"):
        open_location(tmp_path, url=server.url).build(SCHEMA)
    assert server.requests[-1].startswith(f"PUT /collections/{DEFAULT_COLLECTION}--")


@pytest.mark.usefixtures("_no_waiting")
def test_nobody_there(serve: type[Server], tmp_path: Path) -> None:
    server = serve(200)
    server.stop()
    for use in uses(open_location(tmp_path, url=server.url, api_key=KEY)):
        with pytest.raises(StoreUnavailable, match="does not answer") as caught:
            use()
        assert server.url in caught.value.message
        assert "address" in caught.value.hint
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:6333", "ftp://host", "", "/tmp/x", "http://", "http://:6333", "http://[::1"),
        *("http://127.0.0.1:99999", "http://127.0.0.1:0", "http://host:port", "http://exa mple"),
        *("http://host/\n", f"http://{'a' * 64}", "http://a..b"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidRequest, match="not the address") as caught:
        open_location(tmp_path, url=url)
    assert "localhost:6333" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["http://[::1]:6333", "https://host", "http://büro.example/base", "http://a_b"]
)
def test_addresses_that_are_some(tmp_path: Path, url: str) -> None:
    open_location(tmp_path, url=url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host:6334/base?api_key=secret", "https://host:6334/base"),
        ("http://localhost:6333", "http://localhost:6333"),
        (":memory:", ":memory:"),
        ("user:secret@host", "the address given"),
        ("http://user:secret@host:99999", "the address given"),
        ("http://[::1", "http://[::1"),
        ("http://[::1]:6333", "http://[::1]:6333"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown
