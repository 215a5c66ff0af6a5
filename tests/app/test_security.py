"""Who may ask, from where, and what every answer tells a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.security import is_loopback
from app.settings import Settings
from common.settings import SettingsError

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker

SEARCH = "/api/v1/search?q=bees"
KEY = "a-long-secret-key-for-tests"
OPEN = "192.0.2.7"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "search.example.org"])
def test_refuses_to_be_reached_by_others_without_a_key(host: str, tmp_path) -> None:
    with pytest.raises(SettingsError, match="LUSIFER_API_KEY"):
        create_app(Settings(data=tmp_path, host=host, api_key=None))


def test_an_empty_key_is_no_key(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LUSIFER_API_KEY", "  ")
    with pytest.raises(SettingsError):
        create_app(Settings(data=tmp_path, host="0.0.0.0"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.53", "app.localhost"])
def test_loopback_needs_no_key(host: str, tmp_path) -> None:
    assert is_loopback(host)
    create_app(Settings(data=tmp_path, host=host, api_key=None))


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "localhost."])
def test_answers_to_loopback_names(client: TestClient, host: str) -> None:
    assert client.get(SEARCH, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.168.1.5", "localhost.evil.example"],
)
def test_refuses_other_names(client: TestClient, host: str) -> None:
    for path in (SEARCH, "/", "/healthz", "/static/style.css"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "LUSIFER_ALLOWED_HOSTS" in answer.text


@pytest.mark.parametrize(
    "host", ["", "localhost:port", "user@localhost", "localhost/path", "[::1", "localhost?x"]
)
def test_refuses_what_is_no_host(client: TestClient, host: str) -> None:
    assert client.get(SEARCH, headers={"host": host}).status_code == 400


def test_names_and_addresses_where_others_may_connect(make_client: ClientMaker) -> None:
    client = make_client(host="0.0.0.0", api_key=KEY, allowed_hosts=("Search.example.org",))
    for host, status in (
        ("search.example.org", 200),
        ("192.168.1.5:8000", 200),
        ("127.0.0.1", 200),
        ("other.example.org", 421),
    ):
        assert client.get(SEARCH, headers={"host": host, "x-api-key": KEY}).status_code == status


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8000"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refuses_pages_of_other_sites(client: TestClient, origin: str, method: str) -> None:
    answer = client.request(method, "/api/v1/search", params={"q": "bees"}, headers={"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_accepts_its_own_pages(client: TestClient) -> None:
    answer = client.post("/api/v1/search", json={"q": "bees"}, headers={"origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 200


def test_other_sites_may_link_here_but_not_embed(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/?q=bees", headers=link).status_code == 200
    image = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/?q=bees", headers=image).status_code == 403
    typed = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=typed).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/?q=bees", "/nowhere", "/api/nowhere", SEARCH, "/static/style.css", "/healthz"]
)
def test_every_answer_binds_the_browser(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"accept": "text/html"}).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert ("no-store" in headers["cache-control"]) != path.startswith("/static/")


def test_refused_answers_are_protected_too(client: TestClient) -> None:
    answer = client.get("/", headers={"host": "evil.example"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"]


class TestKey:
    @pytest.fixture
    def locked(self, make_client: ClientMaker) -> TestClient:
        return make_client(api_key=KEY)

    @pytest.mark.parametrize(
        "path", [SEARCH, "/api/v1/documents", "/api/v1/status", "/openapi.json", "/nowhere"]
    )
    def test_is_needed(self, locked: TestClient, path: str) -> None:
        answer = locked.get(path)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
    def test_is_accepted(self, locked: TestClient, headers: dict[str, str]) -> None:
        assert locked.get(SEARCH, headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {KEY}"},
            {"authorization": "Bearer"},
            {"x-api-key": ""},
            {"x-api-key": KEY[:-1]},
            {"x-api-key": KEY + "x"},
            {"cookie": f"lusifer_session={KEY}"},
            {"cookie": "lusifer_session=99999999999.00"},
            {"cookie": "lusifer_session="},
        ],
    )
    def test_nothing_else_is(self, locked: TestClient, headers: dict[str, str]) -> None:
        answer = locked.get(SEARCH, headers=headers)
        assert answer.status_code == 401
        assert KEY not in answer.text

    def test_is_not_needed_for_health_and_style(self, locked: TestClient) -> None:
        for path in ("/healthz", "/readyz", "/static/style.css", "/login"):
            assert locked.get(path).status_code == 200

    def test_a_browser_is_led_to_the_form_and_back(self, locked: TestClient) -> None:
        page = {"accept": "text/html"}
        sent = locked.get("/?q=bees&language=ar", headers=page, follow_redirects=False)
        assert sent.status_code == 303
        form = locked.get(sent.headers["location"], headers=page)
        assert 'type="password"' in form.text
        wrong = locked.post("/login", data={"key": "wrong", "next": "/"}, headers=page)
        assert wrong.status_code == 401
        assert "not the key" in wrong.text
        right = locked.post(
            "/login", data={"key": KEY, "next": "/?q=bees&language=ar"}, follow_redirects=False
        )
        assert right.status_code == 303
        assert right.headers["location"] == "/?q=bees&language=ar"
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert KEY not in cookie
        assert locked.get("/?q=bees", headers=page).text.count('class="hit"') > 0
        assert locked.get(SEARCH).status_code == 200
        locked.post("/logout")
        assert locked.get(SEARCH).status_code == 401

    def test_a_session_ends(self, make_client: ClientMaker, monkeypatch) -> None:
        locked = make_client(api_key=KEY, session_hours=1)
        locked.post("/login", data={"key": KEY})
        assert locked.get(SEARCH).status_code == 200
        import time

        later = time.time() + 3601
        monkeypatch.setattr("app.security.time.time", lambda: later)
        session = locked.cookies["lusifer_session"]
        assert locked.get(SEARCH, headers={"cookie": f"lusifer_session={session}"}).status_code == 401

    def test_a_session_of_another_key_is_worth_nothing(self, make_client: ClientMaker) -> None:
        first = make_client(api_key=KEY)
        first.post("/login", data={"key": KEY})
        stolen = first.cookies["lusifer_session"]
        second = make_client(api_key="another-key")
        assert second.get(SEARCH, headers={"cookie": f"lusifer_session={stolen}"}).status_code == 401

    @pytest.mark.parametrize(
        "target", ["https://evil.example", "//evil.example", "/\\evil.example", "", "javascript:1"]
    )
    def test_the_form_never_leads_elsewhere(self, locked: TestClient, target: str) -> None:
        answer = locked.post("/login", data={"key": KEY, "next": target}, follow_redirects=False)
        assert answer.headers["location"] == "/"

    def test_is_shown_nowhere(self, locked: TestClient) -> None:
        settings = locked.app.state.app.settings
        assert KEY not in repr(settings)
        assert KEY not in settings.model_dump_json()


def test_there_is_no_form_without_a_key(client: TestClient) -> None:
    assert client.get("/login", follow_redirects=False).headers["location"] == "/"
    assert client.post("/login", data={"key": ""}, follow_redirects=False).status_code == 401


def test_large_bodies_are_refused(client: TestClient) -> None:
    big = b'{"q": "' + b"x" * 70000 + b'"}'
    declared = client.post("/api/v1/search", content=big)
    assert declared.status_code == 413

    def stream():
        for start in range(0, len(big), 8192):
            yield big[start : start + 8192]

    streamed = client.post("/api/v1/search", content=stream(), headers={"content-type": "application/json"})
    assert streamed.status_code == 413
    assert streamed.headers["content-type"] == "application/problem+json"
