"""Settings: described, from the environment, secrets hidden."""

from __future__ import annotations

import pytest

from app.settings import Settings
from common.settings import SettingsError, load_settings


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


def test_a_secret_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("LUSIFER_API_KEY", "very-secret-key")
    settings = load_settings(Settings)
    assert "very-secret-key" not in repr(settings)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "very-secret-key"
