"""Log lines: JSON or text, one for each request, and never what people search for."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from app.log import JsonFormatter, TextFormatter, configure_logging

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker

SECRET = "zebrafinch"
KEY = "key-that-must-not-be-logged"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, by every logger at DEBUG and up, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(lambda record: not record.name.startswith("httpx"))  # the test's client, not the server
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("lusifer").setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def access_lines(stream: io.StringIO) -> list[dict]:
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [record for record in records if record["logger"] == "lusifer.access"]


def test_one_line_for_each_request(client: TestClient, lines: io.StringIO) -> None:
    client.get("/api/v1/search?q=bees", headers={"x-request-id": "req-7"})
    [line] = access_lines(lines)
    assert line["method"] == "GET"
    assert line["route"] == "/api/v1/search"
    assert line["status"] == 200
    assert line["ms"] > 0
    assert line["request_id"] == "req-7"
    assert line["level"] == "info"


def test_the_route_is_logged_not_the_address(client: TestClient, lines: io.StringIO) -> None:
    client.get("/documents/" + "0" * 32)
    client.get(f"/{SECRET}")
    assert [line["route"] for line in access_lines(lines)] == ["/documents/{document_id}", "-"]


def test_nothing_that_people_search_or_store_is_logged(make_client: ClientMaker, lines: io.StringIO) -> None:
    client = make_client(api_key=KEY)
    headers = {"x-api-key": KEY}
    client.get(f"/api/v1/search?q={SECRET}", headers=headers)
    client.post("/api/v1/search", json={"q": SECRET}, headers=headers)
    client.get(f"/?q={SECRET}", headers=headers | {"accept": "text/html"})
    client.get(f"/api/v1/search?q={SECRET}&limit=9999", headers=headers)
    client.get(f"/api/v1/search?q={SECRET}")
    client.post("/login", data={"key": KEY, "next": f"/?q={SECRET}"}, follow_redirects=False)
    client.get("/api/v1/search?q=bees", headers=headers)
    text = lines.getvalue()
    assert len(access_lines(lines)) == 7
    assert SECRET not in text
    assert KEY not in text
    assert "Snow falls" not in text
    assert "bees" not in text


@pytest.mark.parametrize("given", ["x" * 65, "a b", "é", "a\tb", ""])
def test_odd_request_ids_are_replaced(client: TestClient, given: str) -> None:
    answered = client.get("/healthz", headers={"x-request-id": given.encode()}).headers["x-request-id"]
    assert answered != given
    assert len(answered) == 32


def test_formats() -> None:
    record = logging.LogRecord("lusifer", logging.WARNING, "f", 1, "two %s\nlines", ("odd",), None)
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["level"]) == ("two odd\nlines", "warning")
    assert "\n" not in JsonFormatter().format(record)
    assert "two odd" in TextFormatter().format(record)


@pytest.mark.parametrize(("name", "formatter"), [("json", JsonFormatter), ("text", TextFormatter)])
def test_configuring_replaces_the_servers_own_access_log(name: str, formatter: type) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging(name)
        [handler] = root.handlers
        assert isinstance(handler.formatter, formatter)
        assert logging.getLogger("uvicorn.access").disabled
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.getLogger("uvicorn.access").disabled = False
