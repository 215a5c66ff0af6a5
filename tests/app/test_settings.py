"""Settings: described, from the environment, secrets hidden."""

from __future__ import annotations

import pytest

from app.settings import Settings
from common.settings import SettingsError, load_settings
from store import InvalidRequest, open_location


def test_every_field_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert len(field.description) > 15, name


def test_options_beat_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LUSIFER_PORT", "9001")
    monkeypatch.setenv("LUSIFER_ALLOWED_HOSTS", '["a.example", "b.example"]')
    assert load_settings(Settings, data=tmp_path).port == 9001
    assert load_settings(Settings, data=tmp_path, port=9002, host=None).port == 9002
    assert load_settings(Settings).allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "high"),
        ("PORT", "70000"),
        ("LOG_FORMAT", "xml"),
        ("MAX_LIMIT", "0"),
        ("ALLOWED_HOSTS", "no json"),
    ],
)
def test_a_wrong_value_names_the_variable(monkeypatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"LUSIFER_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    assert name in str(caught.value).upper()


NO_ADDRESSES = ["nonsense", "ftp://x", "http://", "http://[::1", "http://x:99999", "http://x:port"]


@pytest.mark.parametrize("value", NO_ADDRESSES)
@pytest.mark.parametrize(
    ("name", "wording"),
    [("EMBEDDINGS_URL", "the embedding service is not one"), ("QDRANT_URL", "of a Qdrant server")],
)
def test_what_is_no_address_is_always_refused_in_the_same_words(
    monkeypatch, name: str, wording: str, value: str
) -> None:
    monkeypatch.setenv(f"LUSIFER_{name}", value)
    with pytest.raises(SettingsError, match=wording) as caught:
        load_settings(Settings)
    assert f"LUSIFER_{name}" in caught.value.hint


def test_a_model_at_a_broken_address_is_refused() -> None:
    with pytest.raises(SettingsError, match="LUSIFER_MODEL"):
        load_settings(Settings, model="http://[::1")


@pytest.mark.parametrize("name", ["a/b", "a:b", "..", 'a"b', "a\\b", "x" * 181, "ok-1", "x" * 180, "två ord"])
def test_a_collection_has_a_name_that_the_server_takes(tmp_path, name: str) -> None:
    url = "http://localhost:1"
    assert load_settings(Settings, collection=name).collection == name
    try:
        open_location(tmp_path, url=url, collection=name)
    except InvalidRequest:
        with pytest.raises(SettingsError, match="LUSIFER_COLLECTION"):
            load_settings(Settings, qdrant_url=url, collection=name)
    else:
        assert load_settings(Settings, qdrant_url=url, collection=name).collection == name


def test_a_list_that_is_none_names_its_variable(monkeypatch) -> None:
    monkeypatch.setenv("LUSIFER_ALLOWED_HOSTS", "x")
    with pytest.raises(SettingsError, match=r"allowed_hosts cannot be used.*LUSIFER_ALLOWED_HOSTS"):
        load_settings(Settings)


def test_a_secret_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("LUSIFER_API_KEY", "very-secret-key")
    settings = load_settings(Settings)
    assert "very-secret-key" not in repr(settings)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "very-secret-key"
