"""Documents, status and health over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from store.errors import FingerprintMismatch, StoreUnavailable

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker
    from tests.doubles import MemoryStore, Sample

URL = "/api/v1/documents"


def test_lists_documents_by_path_in_pages(client: TestClient, samples: tuple[Sample, ...]) -> None:
    whole = client.get(URL).json()
    assert whole["total"] == len(samples)
    assert [entry["path"] for entry in whole["documents"]] == sorted(sample.path for sample in samples)
    pages = [client.get(URL, params={"limit": 5, "offset": offset}).json() for offset in (0, 5, 10)]
    assert [entry for page in pages for entry in page["documents"]] == whole["documents"]


def test_filters_documents(client: TestClient) -> None:
    korean = client.get(URL, params={"language": ["ko", "sw"]}).json()
    assert {entry["language"] for entry in korean["documents"]} == {"ko", "sw"}
    assert korean["total"] == len(korean["documents"]) == 4
    assert client.get(URL, params={"folder": "/docs/food"}).json()["total"] == 3


@pytest.mark.parametrize(
    "parameters", [{"limit": 0}, {"limit": 501}, {"offset": -1}, {"language": "tlh"}, {"folder": "x"}]
)
def test_refuses_what_is_out_of_bounds(client: TestClient, parameters: dict[str, object]) -> None:
    answer = client.get(URL, params=parameters)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == next(iter(parameters))


def test_reads_a_document_with_its_passages(client: TestClient, samples: tuple[Sample, ...]) -> None:
    sample = samples[2]
    body = client.get(f"{URL}/{sample.id}").json()
    assert body["text"] == "".join(sample.passages)
    assert body["title"] == sample.title
    assert body["language"] == "ar"
    spans = [(passage["start"], passage["end"]) for passage in body["passages"]]
    assert [body["text"][start:end] for start, end in spans] == list(sample.passages)


@pytest.mark.parametrize("document_id", ["0" * 32, "nonsense", "..%2f..%2fetc%2fpasswd", "%00", "A" * 32])
def test_serves_only_what_is_indexed(client: TestClient, document_id: str) -> None:
    answer = client.get(f"{URL}/{document_id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_status_says_what_is_indexed_and_by_what(client: TestClient, samples: tuple[Sample, ...]) -> None:
    body = client.get("/api/v1/status").json()
    assert body["state"] == "ready"
    assert body["documents"] == len(samples)
    assert body["chunks"] == sum(len(sample.passages) for sample in samples)
    assert body["languages"]["en"] == 4
    assert body["model"] == {"name": "words", "fingerprint": "words-1", "dimensions": 64, "max_tokens": 512}
    assert body["store"] == "embedded"
    assert body["trouble"] is None


def test_before_anything_is_indexed(make_client: ClientMaker) -> None:
    client = make_client(empty=True)
    assert client.get("/api/v1/status").json()["state"] == "empty"
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["store"] == "nothing indexed"


def test_ready(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "model": "ok", "store": "ok"}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StoreUnavailable("gone", hint="wait"), "unavailable"),
        (FingerprintMismatch("other"), "made by another model"),
    ],
)
def test_a_failing_store_is_told_and_recovered_from(
    client: TestClient, store: MemoryStore, monkeypatch, error: Exception, state: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "count", fail)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["store"] == state
        status = client.get("/api/v1/status").json()
        assert status["state"] == "unavailable"
        assert status["trouble"]["message"] == error.args[0]
    assert client.get("/readyz").status_code == 200


def test_the_store_is_closed_with_the_application(store: MemoryStore, make_index, tmp_path) -> None:
    settings = Settings(data=tmp_path)
    app = create_app(settings, make_index(settings))
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/readyz").status_code == 200
        assert not store.closed
    assert store.closed
