"""Settings: described, from the environment, secrets hidden."""

from __future__ import annotations

import pytest

from app.cli.options import make_settings
from app.problems import ConfigurationError
from app.settings import Settings


def test_every_field_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert len(field.description) > 15, name


def test_options_beat_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LUSIFER_PORT", "9001")
    monkeypatch.setenv("LUSIFER_ALLOWED_HOSTS", '["a.example", "b.example"]')
    assert make_settings(data=tmp_path).port == 9001
    assert make_settings(data=tmp_path, port=9002, host=None).port == 9002
    assert make_settings().allowed_hosts == ("a.example", "b.example")


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
    with pytest.raises(ConfigurationError) as caught:
        make_settings()
    assert name in str(caught.value).upper()


def test_a_secret_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("LUSIFER_API_KEY", "very-secret-key")
    settings = make_settings()
    assert "very-secret-key" not in repr(settings)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "very-secret-key"
