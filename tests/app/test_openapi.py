"""The OpenAPI document: complete, with examples that are true."""

from __future__ import annotations

from fastapi.testclient import TestClient

from app.api.routes import EXAMPLE
from search.result import SearchResult


def test_describes_every_route_with_its_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    expected = {
        "/api/v1/search": {"get", "post"},
        "/api/v1/documents": {"get"},
        "/api/v1/documents/{document_id}": {"get"},
        "/api/v1/status": {"get"},
        "/v1/embeddings": {"post"},
        "/v1/models": {"get"},
        "/v1/models/{name}": {"get"},
        "/v1/tokenizers/{fingerprint}": {"get"},
        "/healthz": {"get"},
        "/readyz": {"get"},
    }
    assert {path: set(methods) for path, methods in document["paths"].items()} == expected
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            responses = operation["responses"]
            if path.startswith(("/api/", "/v1/")):
                assert "401" in responses
                for status in set(responses) - {"200"}:
                    assert "application/problem+json" in responses[status]["content"]
                    assert responses[status]["description"]


def test_every_reference_resolves(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    references: set[str] = set()

    def collect(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                references.add(node["$ref"])
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(document)
    assert references
    assert {reference.rpartition("/")[2] for reference in references} <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_parameters_are_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    parameters = {item["name"]: item for item in document["paths"]["/api/v1/search"]["get"]["parameters"]}
    assert {"q", "limit", "offset", "language", "folder", "modified_from", "modified_to"} <= set(parameters)
    assert parameters["q"]["required"]
    assert all(item.get("description") for item in parameters.values())


def test_the_example_is_a_true_answer() -> None:
    result = SearchResult.model_validate(EXAMPLE)
    assert result.model_dump(mode="json") == EXAMPLE
    passage = result.hits[0].passages[0]
    start, end = passage.highlights[0]
    assert passage.text[start:end] == "Ne kerääntyvät palloksi ja tuottavat lämpöä."
    assert passage.end - passage.start == len(passage.text)


def test_the_reference_page_has_every_route_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    html = client.get("/docs", headers={"accept": "text/html"}).text
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in html
    for word in ("limit", "modified_from", "required", "kerääntyvät", "http://127.0.0.1:8000/api/v1/search"):
        assert word in html
    assert "https://" not in html
    assert client.get("/redoc").status_code == 404
