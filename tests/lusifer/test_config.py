from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lusifer.config import (
    ConnectorConfig,
    EncoderConfig,
    LanguageModelConfig,
    ModelConfig,
    Prompts,
)
from lusifer.errors import ConfigError

TABLE = EncoderConfig("token_table", 44, 24)
XLM_R = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1}
MISTRAL = {"vocab_size": 50, "hidden_size": 12, "num_hidden_layers": 2}
FULL = ModelConfig(
    name="whole",
    encoder=EncoderConfig.xlm_roberta(XLM_R),
    connector=ConnectorConfig("ff", 16, 2, 8),
    language_model=LanguageModelConfig.mistral(MISTRAL),
    pooling="lasttoken",
    projection=True,
    prompts=Prompts("<s>{instruction}.\n{text}</s>", "<s>{text}</s>"),
    max_tokens=128,
    calibration={"offset": 0.1},
)


def test_json_round_trip(toy_config: ModelConfig) -> None:
    for config in (FULL, toy_config, replace(toy_config, folded=True)):
        assert ModelConfig.from_dict(json.loads(config.to_json())) == config


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the full configuration's JSON with one field set (or removed, for ``...``)."""
    data = json.loads(FULL.to_json())
    *parents, leaf = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[leaf]
    else:
        place[leaf] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", ..., "field name is missing"),
        ("name", 3, "field name is 3"),
        ("polling", "mean", "unknown field polling"),
        ("pooling", "median", "field pooling is 'median'"),
        ("projection", 1, "field projection is 1"),
        ("max_tokens", True, "field max_tokens is True"),
        ("max_tokens", 0, "max_tokens is 0"),
        ("calibration", [], "field calibration is []"),
        ("encoder", "big", "field encoder is 'big'"),
        ("encoder.kind", "bert", "field encoder.kind is 'bert'"),
        ("encoder.vocabulary", ..., "field encoder.vocabulary is missing"),
        ("encoder.vocabulary", 51, "encoder.transformer.vocab_size is 50"),
        ("encoder.transformer", {}, "encoder.transformer.vocab_size is None"),
        ("encoder.kind", "token_table", "encoder.transformer is set for a token table"),
        ("connector.hidden", "wide", "field connector.hidden is 'wide'"),
        ("connector.hidden", 0, "connector.hidden is 0"),
        ("connector.added_tokens", -1, "connector.added_tokens is -1"),
        ("connector.kind", "identity", "connector.hidden is set for an identity"),
        ("language_model.layers", 3, "num_hidden_layers is 2"),
        ("language_model.layers", -1, "language_model.layers is -1"),
        ("language_model.final_norm", False, "language_model.final_norm is false"),
        ("prompts.query", "no text", "prompts.query has the fields []"),
        ("prompts.document", "{text", "prompts.document is no template"),
        ("prompts.document", "{text} {other}", "prompts.document has the fields"),
        ("format", "other-9", "format is 'other-9'"),
        ("folded", True, "folded is true"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(changed(path, value))
    assert said in caught.value.message
    assert caught.value.hint


def test_a_misspelt_field_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(changed("connector.added_token", 1))
    assert caught.value.message == "unknown field connector.added_token"
    assert "added_tokens" in caught.value.hint


def test_a_wrong_field_is_named_where_a_configuration_is_built_too() -> None:
    with pytest.raises(ConfigError, match="field vocabulary is 0"):
        EncoderConfig("token_table", 0, 24)
    with pytest.raises(ConfigError, match="field added_tokens is -1") as caught:
        ConnectorConfig(added_tokens=-1)
    assert caught.value.hint == "it must be greater than or equal to 0"


def test_an_identity_connector_needs_equal_widths() -> None:
    with pytest.raises(ConfigError, match=r"24 and language_model\.dimensions 12 differ"):
        ModelConfig(name="x", encoder=TABLE, language_model=LanguageModelConfig(12))


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "cls"},
        {"projection": True},
        {"connector": ConnectorConfig(added_tokens=1)},
    ],
)
def test_only_per_token_models_can_be_folded(toy_config: ModelConfig, change: dict[str, Any]) -> None:
    assert toy_config.per_token
    assert not replace(toy_config, **change).per_token


def test_braces_in_a_text_are_text() -> None:
    prompts = Prompts("<s>{instruction}.\n{text}</s>", "{text}")
    assert prompts.render("query", "{text} {0} }{", "{x}") == "<s>{x}.\n{text} {0} }{</s>"
    assert prompts.takes_instruction("query")
    assert not prompts.takes_instruction("document")
