"""The embedding service over a real socket, and the real client: the vectors of the model in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from typer.testing import CliRunner

from app.cli.hints import remedy
from app.cli.main import cli
from app.main import create_embedding_app
from app.settings import Settings
from common.settings import SettingsError, load_settings
from lusifer import Embedder, ServiceError, ServiceOptions

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds

KEY = "a-long-secret-key-for-tests"
TEXTS = [f"{'bees winter honey garden moon '[: number % 25]} {number}" for number in range(700)]


@pytest.fixture(scope="module")
def shipped() -> Embedder:
    return Embedder.load()


@pytest.fixture(scope="module")
def url(shipped: Embedder) -> Iterator[str]:
    """Where the shipped model is served, with a key."""
    app = create_embedding_app(Settings(api_key=KEY), shipped)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def _service(url: str, tmp_path: Path, monkeypatch) -> None:
    """Settings that name the service and nothing else."""
    monkeypatch.delenv("LUSIFER_MODEL", raising=False)
    monkeypatch.setenv("LUSIFER_EMBEDDINGS_URL", url)
    monkeypatch.setenv("LUSIFER_EMBEDDINGS_API_KEY", KEY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_vectors_are_those_of_the_model_itself(url: str, shipped: Embedder, tmp_path: Path) -> None:
    remote = Embedder.load(f"{url}/v1", service=ServiceOptions(api_key=KEY, cache=tmp_path))
    assert (remote.fingerprint, remote.config) == (shipped.fingerprint, shipped.config)
    assert remote.count_tokens(TEXTS) == shipped.count_tokens(TEXTS)
    expected = shipped.embed_documents(TEXTS)
    np.testing.assert_array_equal(remote.embed_documents(TEXTS), expected)
    with ThreadPoolExecutor(8) as clients:
        parts = clients.map(lambda start: remote.embed_documents(TEXTS[start : start + 7]), range(0, 700, 7))
        np.testing.assert_array_equal(np.concatenate(list(parts)), expected)


def test_a_wrong_key_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="refuses the API key"):
        Embedder.load(url, service=ServiceOptions(api_key="wrong", cache=tmp_path))


@pytest.mark.usefixtures("_service")
def test_one_setting_serves_index_and_search(tmp_path: Path, shipped: Embedder) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "bees.txt").write_text("Bees sleep in winter.\n", encoding="utf-8")
    (docs / "bread.txt").write_text("Bread is made of flour.\n", encoding="utf-8")
    runner, data = CliRunner(), str(tmp_path / "data")
    for _ in range(2):
        done = runner.invoke(cli, ["index", str(docs), "--data", data])
        assert done.exit_code == 0, done.output
    assert "0 indexed, 2 unchanged" in done.output
    found = runner.invoke(cli, ["search", "flour", "--data", data])
    assert "bread.txt" in found.output.splitlines()[3], found.output


@pytest.mark.usefixtures("_service")
def test_settings_name_one_model(url: str, shipped: Embedder, monkeypatch) -> None:
    assert load_settings(Settings).load_model().fingerprint == shipped.fingerprint
    assert load_settings(Settings, model="lusifer-mini").load_model().fingerprint == shipped.fingerprint
    assert load_settings(Settings, model=url).load_model().fingerprint == shipped.fingerprint
    with pytest.raises(ServiceError, match="not Hieuman/LUSIFER"):
        load_settings(Settings, model="Hieuman/LUSIFER").load_model()
    with pytest.raises(SettingsError, match="two services"):
        load_settings(Settings, model="http://elsewhere:1").load_model()
    monkeypatch.setenv("LUSIFER_EMBEDDINGS_URL", "gpu:8001")
    with pytest.raises(SettingsError, match=r"service is not one.*LUSIFER_EMBEDDINGS_URL"):
        load_settings(Settings).load_model()


@pytest.mark.usefixtures("_service")
def test_a_service_that_is_down_is_named(monkeypatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    monkeypatch.setenv("LUSIFER_EMBEDDINGS_URL", f"http://127.0.0.1:{free}")
    monkeypatch.setattr("lusifer.service.client._GET_SECONDS", 0.2)
    (tmp_path / "a.txt").write_text("words")
    done = CliRunner().invoke(cli, ["index", str(tmp_path / "a.txt"), "--data", str(tmp_path / "data")])
    assert done.exit_code == 1
    assert isinstance(done.exception, ServiceError)
    assert "does not answer" in done.exception.message
    assert "serve-embeddings" in remedy(done.exception)
