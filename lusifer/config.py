"""Describe a model: universal encoder, connector, embedding language model, pooling, projection, prompts.

Frozen dataclasses and their JSON form, checked field by field. Must not know weights, tensors or folders,
and imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from string import Formatter
from typing import Any, Literal, Self

from lusifer.errors import ConfigError
from lusifer.fields import read_fields

FORMAT = "lusifer-1"

Pooling = Literal["mean", "weightedmean", "lasttoken", "cls"]
PromptKind = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The universal encoder: an XLM-RoBERTa of any size, down to a bare token table.

    Attributes:
        kind: ``token_table`` (one vector per token, no context) or ``xlm-roberta``.
        vocabulary: number of token ids.
        dimensions: width of its output.
        transformer: the ``XLMRobertaConfig`` as a dict; empty for a token table.
    """

    kind: Literal["token_table", "xlm-roberta"]
    vocabulary: int
    dimensions: int
    transformer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _positive("encoder.vocabulary", self.vocabulary)
        _positive("encoder.dimensions", self.dimensions)
        if self.kind == "xlm-roberta":
            _agrees("encoder", self.transformer, vocab_size=self.vocabulary, hidden_size=self.dimensions)
        elif self.transformer:
            raise ConfigError(
                "encoder.transformer is set for a token table", hint="leave it out, or use kind xlm-roberta"
            )

    @classmethod
    def xlm_roberta(cls, transformer: dict[str, Any]) -> Self:
        """Describe an XLM-RoBERTa by its own configuration."""
        vocabulary = _required("encoder", transformer, "vocab_size")
        dimensions = _required("encoder", transformer, "hidden_size")
        return cls("xlm-roberta", vocabulary, dimensions, transformer)


@dataclass(frozen=True, slots=True)
class ConnectorConfig:
    """What carries encoder vectors into the language model's input space.

    Attributes:
        kind: ``identity``, or ``ff`` for Linear-ReLU-Linear.
        hidden: width between the two linear maps; None is the encoder's width.
        added_tokens: trainable vectors put after each text's tokens.
        position_multiple: the first added token sits at the next multiple of this position; the published
            models were built with 8, a trace of their padding.
    """

    kind: Literal["identity", "ff"] = "identity"
    hidden: int | None = None
    added_tokens: int = 0
    position_multiple: int = 1

    def __post_init__(self) -> None:
        if self.added_tokens < 0:
            raise ConfigError(f"connector.added_tokens is {self.added_tokens}", hint="use 0 or more")
        _positive("connector.position_multiple", self.position_multiple)
        if self.hidden is not None:
            _positive("connector.hidden", self.hidden)
            if self.kind == "identity":
                raise ConfigError("connector.hidden is set for an identity connector", hint="use kind ff")


@dataclass(frozen=True, slots=True)
class LanguageModelConfig:
    """The embedding language model: a bidirectional Mistral of any depth, or a BERT.

    Attributes:
        dimensions: width of its input and output.
        layers: number of transformer layers; 0 leaves its input as it is (but for ``final_norm``).
        final_norm: whether a norm follows the last layer; always so when there are layers.
        transformer: the ``MistralConfig`` or ``BertConfig`` as a dict; empty for zero layers.
        kind: ``mistral``, or ``bert`` for an English embedding model of that kind.
    """

    dimensions: int
    layers: int = 0
    final_norm: bool = False
    transformer: dict[str, Any] = field(default_factory=dict)
    kind: Literal["mistral", "bert"] = "mistral"

    def __post_init__(self) -> None:
        _positive("language_model.dimensions", self.dimensions)
        if self.layers < 0:
            raise ConfigError(f"language_model.layers is {self.layers}", hint="use 0 or more")
        if self.layers == 0:
            if self.kind != "mistral":
                raise ConfigError(f"language_model.layers is 0 for a {self.kind}", hint="use kind mistral")
            return
        if not self.final_norm:
            raise ConfigError(
                "language_model.final_norm is false for a model with layers", hint="set it to true"
            )
        _agrees(
            "language_model",
            self.transformer,
            num_hidden_layers=self.layers,
            hidden_size=self.dimensions,
        )

    @classmethod
    def mistral(cls, transformer: dict[str, Any]) -> Self:
        """Describe a Mistral by its own configuration."""
        return cls._of("mistral", transformer)

    @classmethod
    def bert(cls, transformer: dict[str, Any]) -> Self:
        """Describe a BERT by its own configuration."""
        return cls._of("bert", transformer)

    @classmethod
    def _of(cls, kind: Literal["mistral", "bert"], transformer: dict[str, Any]) -> Self:
        dimensions = _required("language_model", transformer, "hidden_size")
        layers = _required("language_model", transformer, "num_hidden_layers")
        return cls(dimensions, layers, final_norm=True, transformer=transformer, kind=kind)


@dataclass(frozen=True, slots=True)
class Prompts:
    """Templates that a text is put in before it is tokenised; special tokens are spelled out in them.

    Attributes:
        query: template for questions, with ``{text}`` and perhaps ``{instruction}``.
        document: template for passages.
    """

    query: str = "{text}"
    document: str = "{text}"

    def __post_init__(self) -> None:
        for name, template in (("query", self.query), ("document", self.document)):
            try:
                names = [part[1] for part in Formatter().parse(template) if part[1] is not None]
            except ValueError as error:
                raise ConfigError(f"prompts.{name} is no template: {error}", hint="see Prompts") from error
            if names.count("text") != 1 or not set(names) <= {"text", "instruction"}:
                raise ConfigError(
                    f"prompts.{name} has the fields {names}", hint="use {text} once, {instruction} if wanted"
                )

    def takes_instruction(self, kind: PromptKind) -> bool:
        """Tell whether the template has a place for an instruction."""
        return "{instruction}" in self._template(kind)

    def render(self, kind: PromptKind, text: str, instruction: str = "") -> str:
        """Return the text as the model reads it."""
        return self._template(kind).format(text=text, instruction=instruction)

    def _template(self, kind: PromptKind) -> str:
        return self.query if kind == "query" else self.document


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A whole model.

    Attributes:
        name: what people call it.
        encoder: the universal encoder.
        connector: encoder space to language-model space.
        language_model: the bidirectional decoder.
        pooling: how token vectors become one.
        repeats: with mean pooling, a token met n times in a text weighs n**repeats; 1 for the plain mean.
            Below 1, saying a word again says less each time, as in BM25 (Robertson & Zaragoza 2009).
        projection: whether Linear-ReLU-Linear follows the pooling.
        prompts: query and document templates.
        max_tokens: longer inputs are cut at the end.
        folded: whether the weights file holds the whole per-token pipeline as one table (see ``per_token``).
        calibration: free-form numbers that turn similarities into scores; not read here.
    """

    name: str
    encoder: EncoderConfig
    language_model: LanguageModelConfig
    connector: ConnectorConfig = field(default_factory=ConnectorConfig)
    pooling: Pooling = "mean"
    repeats: float = 1.0
    projection: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    max_tokens: int = 512
    folded: bool = False
    calibration: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _positive("max_tokens", self.max_tokens)
        inner, outer = self.encoder.dimensions, self.language_model.dimensions
        if self.connector.kind == "identity" and inner != outer:
            raise ConfigError(
                f"encoder.dimensions {inner} and language_model.dimensions {outer} differ",
                hint="an identity connector needs them equal; use connector kind ff",
            )
        if not 0 <= self.repeats <= 1:
            raise ConfigError(f"repeats is {self.repeats}", hint="use a number from 0 to 1")
        if self.repeats != 1 and (self.pooling != "mean" or self.connector.added_tokens):
            raise ConfigError(
                f"repeats is {self.repeats}, which needs mean pooling and no added tokens", hint="make it 1"
            )
        if self.folded and not self.per_token:
            raise ConfigError(
                "folded is true for a model whose tokens depend on each other",
                hint="only a token table with zero layers, mean pooling and no projection can be folded",
            )

    @property
    def dimensions(self) -> int:
        """Width of the final vectors."""
        return self.language_model.dimensions

    @property
    def per_token(self) -> bool:
        """Whether each token's contribution is independent of the others, so that the model is one table."""
        return (
            self.encoder.kind == "token_table"
            and self.connector.added_tokens == 0
            and self.language_model.layers == 0
            and self.pooling == "mean"
            and not self.projection
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the format's name first."""
        return {"format": FORMAT, **asdict(self)}

    def to_json(self) -> str:
        """Return the text of a ``config.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form.

        Raises:
            ConfigError: a field is unknown, missing or of the wrong type; the message names it.
        """
        if data.get("format") != FORMAT:
            raise ConfigError(
                f"format is {data.get('format')!r}, not {FORMAT!r}", hint="use a checkpoint of this version"
            )
        return read_fields(cls, {key: value for key, value in data.items() if key != "format"})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the text of a ``config.json``; raises as ``from_dict`` does."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"the configuration is not JSON: {error}", hint="repair the file") from error
        if not isinstance(data, dict):
            raise ConfigError("the configuration is not a JSON object", hint="repair the file")
        return cls.from_dict(data)


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} is {value}", hint="use 1 or more")


def _required(where: str, transformer: Mapping[str, Any], name: str) -> int:
    value = transformer.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{where}.transformer.{name} is {value!r}", hint="it must be a whole number")
    return value


def _agrees(where: str, transformer: Mapping[str, Any], **expected: int) -> None:
    """Refuse a transformer dict that contradicts the sizes stated beside it."""
    for name, value in expected.items():
        found = _required(where, transformer, name)
        if found != value:
            raise ConfigError(
                f"{where}.transformer.{name} is {found}, but {where} says {value}", hint="make them equal"
            )
