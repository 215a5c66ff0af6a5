"""Errors: RFC 9457 for programs, a page for browsers, nothing of the inside for either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.testclient import TestClient

from lusifer.errors import CheckpointError

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker
    from tests.doubles import MemoryStore

PAGE = {"accept": "text/html,application/xhtml+xml"}
SECRET = "mysecretwords"


def test_a_program_gets_problem_json(client: TestClient) -> None:
    answer = client.get("/api/v1/nowhere", headers={"x-request-id": "abc-1"})
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code == 404
    assert body["title"] == "Not Found"
    assert body["type"].startswith("urn:lusifer-search:problem:")
    assert body["request_id"] == "abc-1"


def test_a_browser_gets_a_page(client: TestClient) -> None:
    answer = client.get("/nowhere", headers=PAGE)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert '<a href="/">' in answer.text


def test_the_api_answers_programs_even_in_a_browser(client: TestClient) -> None:
    assert client.get("/api/v1/nowhere", headers=PAGE).headers["content-type"] == "application/problem+json"


def test_a_wrong_method_is_a_problem(client: TestClient) -> None:
    answer = client.delete("/api/v1/search")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]


def test_a_body_that_is_no_json_is_a_problem(client: TestClient) -> None:
    answer = client.post("/api/v1/search", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_the_value_that_was_refused_is_not_repeated(client: TestClient) -> None:
    assert SECRET not in client.post("/api/v1/search", json={"q": [SECRET]}).text


def test_an_unexpected_error_shows_nothing_of_the_inside(
    client: TestClient, store: MemoryStore, monkeypatch, caplog
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"inner detail with {SECRET}")

    monkeypatch.setattr(type(store), "search", fail)
    for headers, kind in (({}, "application/problem+json"), (PAGE, "text/html; charset=utf-8")):
        path = f"/?q={SECRET}" if headers else f"/api/v1/search?q={SECRET}"
        answer = client.get(path, headers=headers)
        assert answer.status_code == 500
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-security-policy"]
        assert "inner detail" not in answer.text
        assert answer.headers["x-request-id"] in answer.text
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_a_model_that_fails_is_a_problem_with_its_hint(
    client: TestClient, store: MemoryStore, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise CheckpointError("the model is gone", hint="put it back")

    monkeypatch.setattr(type(store), "search", fail)
    answer = client.get("/api/v1/search?q=bees")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the model is gone"
    assert answer.json()["hint"] == "put it back"


def test_an_unknown_document_is_a_page_for_a_browser(client: TestClient) -> None:
    answer = client.get("/documents/" + "0" * 32, headers=PAGE)
    assert answer.status_code == 404
    assert "no such document" in answer.text


def test_before_anything_is_indexed_document_pages_say_so(make_client: ClientMaker) -> None:
    answer = make_client(empty=True).get("/documents", headers=PAGE)
    assert answer.status_code == 503
    assert "lusifer index" in answer.text
