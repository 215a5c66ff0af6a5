"""The embedding service: OpenAI's shapes, limits, batching, backpressure, keys; with a search and without."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.embeddings import routes
from app.embeddings.service import CALL_TEXTS, EmbeddingLimits, EmbeddingService
from app.main import create_embedding_app
from app.problems import RefusedError
from app.settings import Settings
from common.settings import load_settings
from search.batching import BatchedEmbedder
from tests.doubles import WordModel

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker

KEY = "a-long-secret-key-for-tests"
TEXTS = ["bees in winter", "خبز", "", "the moon"]


@pytest.fixture
def lean(model: WordModel) -> Iterator[TestClient]:
    """The service without a search."""
    app = create_embedding_app(Settings(embeddings_max_inputs=8, embeddings_max_characters=50), model)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(params=["lean", "whole"])
def either(request: pytest.FixtureRequest) -> TestClient:
    """The same routes in both applications."""
    return request.getfixturevalue("lean" if request.param == "lean" else "client")


def test_vectors_are_the_models_own(either: TestClient, model: WordModel) -> None:
    expected = model.embed_documents(TEXTS)
    answer = either.post("/v1/embeddings", json={"input": TEXTS, "model": "words"})
    assert answer.status_code == 200
    content = answer.json()
    assert content["object"] == "list"
    assert [entry["index"] for entry in content["data"]] == [0, 1, 2, 3]
    rows = np.array([entry["embedding"] for entry in content["data"]], np.float32)
    assert (rows == expected).all()
    assert (content["model"], content["fingerprint"]) == ("words", "words-1")
    assert content["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert content["truncated"] == []


def test_one_text_and_base64_as_openais_client_sends_them(either: TestClient, model: WordModel) -> None:
    body = {"input": "bee", "model": "words", "encoding_format": "base64", "user": "someone"}
    answer = either.post("/v1/embeddings", json=body, headers={"authorization": "Bearer unused"}).json()
    assert len(answer["data"]) == 1
    row = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
    assert (row == model.embed_documents(["bee"])[0]).all()


def test_questions_and_passages_go_their_own_ways(lean: TestClient, model: WordModel, monkeypatch) -> None:
    monkeypatch.setattr(model, "embed_query", lambda texts: -model.embed_documents(texts))
    rows = {}
    for kind in ("query", "document"):
        answer = lean.post("/v1/embeddings", json={"input": "bee", "input_type": kind}).json()
        rows[kind] = np.array(answer["data"][0]["embedding"])
    assert (rows["query"] == -rows["document"]).all()


def test_the_model_is_described(either: TestClient) -> None:
    listed = either.get("/v1/models").json()
    assert listed["object"] == "list"
    (described,) = listed["data"]
    assert described["id"] == "words"
    assert (described["dimensions"], described["max_tokens"], described["fingerprint"]) == (
        64,
        512,
        "words-1",
    )
    assert described["config"]["format"] == "lusifer-1"
    for name in ("words", "words-1"):
        assert either.get(f"/v1/models/{name}").json() == described
    tokenizer = either.get(described["tokenizer"])
    assert json.loads(tokenizer.text)["model"]["vocab"] == {"[UNK]": 0}
    assert "immutable" in tokenizer.headers["cache-control"]
    assert either.get("/v1/models/org/other").status_code == 404


BAD = {
    "no input": ({}, 422, "input"),
    "no texts": ({"input": []}, 422, "holds no text"),
    "token ids": ({"input": [1, 2, 3]}, 422, "token ids are not accepted"),
    "lists of token ids": ({"input": [[1, 2], [3]]}, 422, "token ids are not accepted"),
    "null among texts": ({"input": ["a", None]}, 422, "a text or a list of texts"),
    "another kind": ({"input": "a", "input_type": "passage"}, 422, "'query' or 'document'"),
    "another format": ({"input": "a", "encoding_format": "int8"}, 422, "'float' or 'base64'"),
    "shorter vectors": ({"input": "a", "dimensions": 32}, 422, "64 dimensions"),
    "another model": ({"input": "a", "model": "text-embedding-3-small"}, 404, "words (words-1) is"),
    "misspelt": ({"input": "a", "input-type": "query"}, 422, "input-type"),
    "an instruction": ({"input": "a", "instruction": "Find it"}, 422, "takes no instruction"),
    "too many": ({"input": ["a"] * 9}, 422, "limit is 8"),
    "too long": ({"input": ["a", "b" * 51]}, 422, "Text 1 has 51 characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_explained(lean: TestClient, model: WordModel, name: str) -> None:
    body, status, words = BAD[name]
    answer = lean.post("/v1/embeddings", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert words in problem["detail"]
    assert problem["error"]["message"] == problem["detail"]  # where OpenAI's clients look
    assert model.calls == [1]  # the warm-up


def test_large_bodies_are_for_texts_alone(make_client: ClientMaker) -> None:
    client = make_client(max_body_bytes=2048, embeddings_max_body_bytes=8192)
    texts = ["x" * 1000] * 5
    assert client.post("/v1/embeddings", json={"input": texts}).status_code == 200
    assert client.post("/v1/embeddings", json={"input": texts * 2}).status_code == 413
    assert client.post("/api/v1/search", json={"q": "x" * 5000}).status_code == 413


def test_the_key_is_asked_for(make_client: ClientMaker, model: WordModel) -> None:
    settings = Settings(api_key=KEY)
    with TestClient(create_embedding_app(settings, model), base_url="http://127.0.0.1") as lean:
        for client in (lean, make_client(api_key=KEY)):
            for send in (
                lambda **headers: client.post("/v1/embeddings", json={"input": "a"}, headers=headers),  # noqa: B023
                lambda **headers: client.get("/v1/models", headers=headers),  # noqa: B023
            ):
                assert send().status_code == 401
                assert send(authorization="Bearer wrong").status_code == 401
                assert send(accept="text/html", authorization="Bearer wrong").status_code == 401
                assert send(authorization=f"Bearer {KEY}").status_code == 200
            assert client.get("/readyz").status_code == 200


def test_an_unreachable_page_is_a_problem_and_not_a_page(lean: TestClient) -> None:
    answer = lean.get("/", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


class SlowModel:
    """Stands still until told to go on; remembers its calls."""

    name = fingerprint = "slow"
    dimensions = max_tokens = 2
    config = WordModel.config

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls: list[tuple[str, list[str]]] = []

    def embed_documents(self, texts: list[str], instruction: str = "") -> np.ndarray:
        return self._embed("document", texts)

    def embed_query(self, texts: list[str], instruction: str = "") -> np.ndarray:
        return self._embed("query", texts)

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    def _embed(self, kind: str, texts: list[str]) -> np.ndarray:
        self.go.wait(10)
        self.calls.append((kind, list(texts)))
        return np.array([[float(text or 0), 0.0] for text in texts], np.float32)


@pytest.fixture
def slow() -> Iterator[tuple[SlowModel, EmbeddingService]]:
    model = SlowModel()
    with ThreadPoolExecutor(1) as executor:
        limits = EmbeddingLimits(inputs=1000, characters=10, waiting=600)
        batched = BatchedEmbedder(model, executor, wait=0.05)  # type: ignore[arg-type]
        yield model, EmbeddingService(lambda: batched, limits)
        model.go.set()


def numbers(*values: int) -> list[str]:
    return [str(value) for value in values]


def test_concurrent_requests_share_calls_and_kinds_do_not(slow) -> None:
    model, service = slow

    async def ask() -> list:
        requests = [service.embed(numbers(index, index + 100), "document") for index in range(5)]
        requests.append(service.embed(numbers(7), "query"))
        work = asyncio.gather(*requests)
        await asyncio.sleep(0.05)
        model.go.set()
        return await work

    answers = asyncio.run(ask())
    assert [answer.vectors[:, 0].tolist() for answer in answers[:5]] == [[i, i + 100] for i in range(5)]
    assert answers[5].vectors[:, 0].tolist() == [7]
    assert sorted((kind, len(texts)) for kind, texts in model.calls) == [("document", 10), ("query", 1)]
    # Three characters are three tokens here, of which the model reads two.
    assert (answers[1].truncated, answers[1].tokens) == ((1,), 3)


def test_a_large_request_is_cut_and_keeps_its_order(slow) -> None:
    model, service = slow
    model.go.set()
    values = list(range(CALL_TEXTS * 2 + 3))
    answer = asyncio.run(service.embed(numbers(*values), "document"))
    assert answer.vectors[:, 0].tolist() == values
    assert [len(texts) for _, texts in model.calls] == [CALL_TEXTS, CALL_TEXTS, 3]


def test_too_much_waiting_is_refused_with_a_time(slow) -> None:
    model, service = slow

    async def ask() -> tuple[RefusedError, int]:
        first = asyncio.create_task(service.embed(numbers(*range(590)), "document"))
        await asyncio.sleep(0.02)
        with pytest.raises(RefusedError) as caught:
            await service.embed(numbers(*range(11)), "document")
        model.go.set()
        rows = len((await first).vectors)
        await service.embed(numbers(*range(11)), "document")  # there is room again
        return caught.value, rows

    error, rows = asyncio.run(ask())
    assert rows == 590
    assert error.code == "overloaded"
    assert 1 <= int(error.headers["Retry-After"]) <= 60
    assert "590 texts" in error.message


def test_a_client_that_left_is_not_worked_for(slow) -> None:
    model, service = slow

    async def ask() -> None:
        busy = asyncio.create_task(service.embed(numbers(1), "query"))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(service.embed(numbers(2), "document"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0.02)
        model.go.set()
        await busy
        await service.embed(numbers(3), "document")

    asyncio.run(ask())
    assert [texts for _, texts in model.calls] == [["1"], ["3"]]


@pytest.mark.parametrize("gone", [True, False])
def test_work_goes_on_as_long_as_somebody_waits(monkeypatch, gone: bool) -> None:
    monkeypatch.setattr(routes, "_LOOK_SECONDS", 0.01)
    done: list[str] = []

    class Client:
        async def is_disconnected(self) -> bool:
            return gone

    async def work() -> str:
        await asyncio.sleep(0.1)
        done.append("work")
        return "vectors"

    async def ask() -> str:
        return await routes._unless_gone(Client(), work())  # type: ignore[arg-type]

    if gone:
        with pytest.raises(RefusedError):
            asyncio.run(ask())
    else:
        assert asyncio.run(ask()) == "vectors"
    assert done == ([] if gone else ["work"])


def test_overload_answers_429_with_retry_after(lean: TestClient, monkeypatch) -> None:
    async def refuse(*_: object) -> None:
        raise RefusedError("overloaded", "full", hint="later", headers={"Retry-After": "7"})

    monkeypatch.setattr(lean.app.state.embeddings, "embed", refuse)  # type: ignore[attr-defined]
    answer = lean.post("/v1/embeddings", json={"input": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["type"] == "urn:lusifer-search:problem:overloaded"


def test_limits_come_from_the_settings(monkeypatch) -> None:
    monkeypatch.setenv("LUSIFER_EMBEDDINGS_QUEUE", "10")
    monkeypatch.setenv("LUSIFER_EMBEDDINGS_MAX_INPUTS", "5")
    limits = EmbeddingLimits.of(load_settings(Settings))
    assert (limits.waiting, limits.inputs) == (10, 5)
