"""A model behind an embedding service: requests, retries, and errors that say what to do.

The service here is scripted; ``tests/app/test_embeddings_client.py`` has the real one.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stamina

from lusifer import ConfigError, Embedder, ServiceError, ServiceOptions, TruncationWarning
from lusifer.embedder import is_service
from lusifer.service import normalise_url
from lusifer.service.client import retry_after

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds

Answer = tuple[int, dict[str, str], bytes]


class Service:
    """Serves a model's description, tokenizer and vectors; ``answers`` come first, one for each POST."""

    def __init__(self, model: Embedder) -> None:
        self.model = model
        self.described: dict[str, Any] = {
            "id": "toy",
            "fingerprint": model.fingerprint,
            "max_inputs": 8,
            "max_characters": 400,
            "max_body_bytes": 4000,
            "tokenizer": f"/v1/tokenizers/{model.fingerprint}",
            "config": model.config.to_dict(),
        }
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.keys: list[str | None] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                content = json.loads(body) if body else {}
                service.requests.append((self.command, self.path, content))
                service.keys.append(self.headers.get("authorization"))
                status, headers, answer = service.respond(self.path, content)
                self.send_response(status)
                for name, value in {"content-length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = _answer  # noqa: N815 - the names http.server asks for

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def respond(self, path: str, content: dict[str, Any]) -> Answer:
        if path == "/v1/models":
            return 200, {}, json.dumps({"data": [self.described]}).encode()
        if path.startswith("/v1/tokenizers/"):
            return 200, {}, self.model.tokenizer.to_str().encode()
        if self.answers:
            return self.answers.pop(0)
        return 200, {}, json.dumps(self.embed(content)).encode()

    def embed(self, content: dict[str, Any]) -> dict[str, Any]:
        texts = content["input"]
        rows = self.model.embed_documents([text[:60] for text in texts])
        data = [
            {"index": index, "embedding": base64.b64encode(row.tobytes()).decode()}
            for index, row in enumerate(rows)
        ]
        cut = [index for index, text in enumerate(texts) if len(text) > 60]
        # Any order will do.
        return {"data": data[::-1], "fingerprint": self.model.fingerprint, "truncated": cut}

    @property
    def posts(self) -> list[dict[str, Any]]:
        return [content for method, _, content in self.requests if method == "POST"]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service(toy: Embedder) -> Iterator[Service]:
    running = Service(toy)
    yield running
    running.stop()


@pytest.fixture
def connect(service: Service, tmp_path: Path) -> Callable[..., Embedder]:
    def connect(url: str = "", **options: Any) -> Embedder:
        given = {"cache": tmp_path / "cache", "timeout": 5.0, "patience": 5.0} | options
        return Embedder.load(url or service.url, service=ServiceOptions(**given))

    return connect


@pytest.fixture
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def test_it_is_an_embedder_like_any_other(connect, service: Service, toy: Embedder) -> None:
    remote = connect()
    assert isinstance(remote, Embedder)
    assert (remote.name, remote.fingerprint, remote.dimensions) == (toy.name, toy.fingerprint, toy.dimensions)
    assert (remote.max_tokens, remote.config) == (toy.max_tokens, toy.config)
    texts = ["river water", "", "🌧 rain", "school \ud800 book"]
    assert remote.embed_documents(texts).dtype == np.float32
    np.testing.assert_array_equal(remote.embed_documents(texts), toy.embed_documents(texts))
    np.testing.assert_array_equal(remote.embed_query("river"), toy.embed_query("river"))
    assert remote.count_tokens(texts) == toy.count_tokens(texts)
    assert remote.embed_documents([]).shape == (0, toy.dimensions)
    assert {request["input_type"] for request in service.posts} == {"document", "query"}
    assert {request["model"] for request in service.posts} == {toy.fingerprint}
    with pytest.raises(ConfigError, match="takes no instruction"):
        remote.embed_query("river", instruction="Find rivers")


def test_calls_are_cut_to_the_services_limits(connect, service: Service, toy: Embedder) -> None:
    texts = [f"river {'city ' * (number % 7)}book {number}" for number in range(61)]
    np.testing.assert_array_equal(connect().embed_documents(texts), toy.embed_documents(texts))
    assert max(len(request["input"]) for request in service.posts) == 8
    service.described["max_body_bytes"] = 200
    service.requests.clear()
    np.testing.assert_array_equal(connect().embed_documents(texts), toy.embed_documents(texts))
    assert max(len("".join(request["input"])) for request in service.posts) <= 100


def test_texts_that_were_cut_are_warned_of(connect, service: Service) -> None:
    with pytest.warns(TruncationWarning, match="2 texts were longer than 32 tokens"):
        connect().embed_documents(["river", "city " * 20, "water " * 500])
    assert max(len(text) for text in service.posts[0]["input"]) == 400


def test_the_tokenizer_is_fetched_once(connect, service: Service, tmp_path: Path, toy: Embedder) -> None:
    connect().embed_query("river")
    assert not (tmp_path / "cache").exists(), "a search needs no tokenizer"
    for _ in range(2):
        assert connect().count_tokens(["river city"]) == toy.count_tokens(["river city"])
    paths = [path for _, path, _ in service.requests]
    assert paths.count(f"/v1/tokenizers/{toy.fingerprint}") == 1
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text('{"half a')
    assert connect().count_tokens(["river city"]) == toy.count_tokens(["river city"])
    (tmp_path / "file").write_text("in the way")
    assert connect(cache=tmp_path / "file").count_tokens(["river"]) == [1]


def test_the_key_is_sent_and_never_shown(connect, service: Service) -> None:
    connect(api_key="very-secret").embed_query("river")
    assert set(service.keys) == {"Bearer very-secret"}
    assert "very-secret" not in repr(ServiceOptions(api_key="very-secret"))
    service.answers = [(401, {}, b"{}")]
    with pytest.raises(ServiceError, match="refuses the API key") as caught:
        connect(api_key="very-secret").embed_query("river")
    assert "API key" in caught.value.hint
    assert "very-secret" not in str(caught.value)


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(connect, service: Service, toy: Embedder, status: int) -> None:
    service.answers = [(status, {"retry-after": "3"}, b"busy")] * 3
    np.testing.assert_array_equal(connect().embed_query("river"), toy.embed_query("river"))
    assert len(service.posts) == 4
    service.answers = [(status, {}, b"busy")] * 9
    with pytest.raises(ServiceError, match=f"HTTP {status}"):
        connect().embed_query("river")
    assert len(service.answers) == 5


@pytest.mark.usefixtures("_no_waiting")
def test_what_does_not_pass_is_not(connect, service: Service) -> None:
    problem = {"detail": "Text 0 is odd", "hint": "Straighten it."}
    service.answers = [(422, {}, json.dumps(problem).encode())]
    with pytest.raises(ServiceError, match="refuses: Text 0 is odd") as caught:
        connect().embed_query("river")
    assert caught.value.hint == "Straighten it."
    assert len(service.posts) == 1


def test_a_pause_that_is_asked_for_is_kept(connect, service: Service) -> None:
    remote = connect()
    service.answers = [(429, {"retry-after": "1"}, b"")]
    pauses: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: pauses.append(details.wait_for)])
    try:
        remote.embed_query("river")
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert len(pauses) == 1
    assert 1.0 <= pauses[0] <= 1.25


def test_patience_ends(connect, service: Service) -> None:
    remote = connect(patience=0.3)
    service.answers = [(503, {}, b"")] * 50
    with pytest.raises(ServiceError, match="HTTP 503"):
        remote.embed_query("river")
    assert 2 <= len(service.posts) < 50


@pytest.mark.usefixtures("_no_waiting")
def test_nobody_there(connect, service: Service) -> None:
    remote = connect()
    service.stop()
    for use in (connect, lambda: connect().embed_query("river")):
        with pytest.raises(ServiceError, match="does not answer") as caught:
            use()
        assert service.url in caught.value.message
        assert "address" in caught.value.hint
    del remote


@pytest.mark.usefixtures("_no_waiting")
def test_a_service_that_hangs(connect, service: Service, monkeypatch) -> None:
    remote = connect(timeout=0.1)
    monkeypatch.setattr(service, "embed", lambda content: time.sleep(0.5) or {})
    with pytest.raises(ServiceError, match="ReadTimeout"):
        remote.embed_query("river")


def vectors(service: Service, **changes: Any) -> Answer:
    content = service.embed({"input": ["river", "city"]}) | changes
    return 200, {}, json.dumps(content).encode()


def coded(*rows: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"index": index, "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()}
        for index, row in enumerate(rows)
    ]


def test_bad_answers_are_refused(connect, service: Service, toy: Embedder) -> None:
    river, city = toy.embed_documents(["river", "city"])
    bad = {
        "cannot be read": [
            (200, {}, b"<html>hello</html>"),
            (200, {}, b"[]"),
            vectors(service, data=[{"index": 0}]),
            vectors(service, data=[{"index": 0, "embedding": "%%%"}]),
        ],
        "too few vectors": [
            vectors(service, data=coded(river)),
            vectors(service, data=coded(river, city[:5])),
            vectors(service, data=[coded(river)[0]] * 2),
        ],
        "not of length 1": [
            vectors(service, data=coded(river, city * 3)),
            vectors(service, data=coded(river, city * np.nan)),
        ],
        "vectors of the model other": [vectors(service, fingerprint="other")],
    }
    remote = connect()
    for words, answers in bad.items():
        for answer in answers:
            service.answers = [answer]
            with pytest.raises(ServiceError, match=words):
                remote.embed_documents(["river", "city"])


def test_another_model_is_named(connect, service: Service, toy: Embedder) -> None:
    assert connect(expected="toy").name == connect(expected=toy.fingerprint).name == "toy"
    with pytest.raises(ServiceError, match=rf"serves toy \({toy.fingerprint}\), not large") as caught:
        connect(expected="large")
    assert "model's name" in caught.value.hint


@pytest.mark.parametrize(
    "change", [{"config": {"format": "lusifer-9"}}, {"config": None}, {"max_inputs": "x"}]
)
def test_descriptions_that_are_none(connect, service: Service, change: dict[str, Any]) -> None:
    service.described |= change
    with pytest.raises(ServiceError, match="describes no model"):
        connect()


def test_something_else_at_the_address(connect, service: Service, monkeypatch) -> None:
    monkeypatch.setattr(service, "respond", lambda *_: (404, {}, b"not here"))
    with pytest.raises(ServiceError, match="HTTP 404"):
        connect()


def test_addresses() -> None:
    assert normalise_url("HTTP://gpu:8001/v1/") == "http://gpu:8001"
    assert normalise_url("https://gpu/embed") == "https://gpu/embed"
    assert is_service("https://gpu")
    assert not any(map(is_service, (None, "models/large", "Hieuman/LUSIFER", Path("http://x"))))
    for wrong, words in (
        ("http://", "is not one"),
        ("ftp://gpu", "is not one"),
        ("http://user:secret@gpu", "more than"),
        ("http://gpu?key=secret", "more than"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            normalise_url(wrong)
        assert "secret" not in str(caught.value)


def test_retry_after_is_read() -> None:
    assert retry_after("12") == 12
    assert retry_after("") is retry_after("soon") is None
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
