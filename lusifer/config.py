"""Describe a model: universal encoder, connector, embedding language model, pooling, projection, prompts.

A description is a frozen dataclass that pydantic checks field by field, both when it is built and when it is
read from a file; ``configuration`` and ``parse`` do this for every configuration of the program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field, fields, is_dataclass
from difflib import get_close_matches
from string import Formatter
from typing import Annotated, Any, Literal, Self, TypeVar, dataclass_transform, get_args, get_type_hints

import pydantic.dataclasses
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from lusifer.errors import ConfigError

FORMAT = "lusifer-1"

Pooling = Literal["mean", "weightedmean", "lasttoken", "cls"]
PromptKind = Literal["query", "document"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def configuration(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that takes exactly its fields, with values of exactly their types.

    Building one raises ConfigError for a wrong field; ``__post_init__`` checks what fields have to do with
    each other and raises it too.
    """
    strict = ConfigDict(extra="forbid", strict=True)
    made: Any = pydantic.dataclasses.dataclass(frozen=True, slots=True, config=strict)(cls)
    build = made.__init__

    def init(self: Any, *values: Any, **named: Any) -> None:
        try:
            build(self, *values, **named)
        except ValidationError as error:
            raise _explain(error, made) from error

    made.__init__ = init
    checked: type[T] = made
    return checked


def parse(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Build a configuration, with those inside it, from an object as JSON or TOML has it.

    Args:
        cls: made by ``configuration``.
        data: the object.
        where: dotted path of the object in its file, with a dot at the end, for messages.

    Raises:
        ConfigError: a field is unknown, missing or wrong; the message names it with its path.
    """
    try:
        # As JSON, for which strict means: an object is a dataclass, a whole number a float, and no more.
        return TypeAdapter(cls).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise _explain(error, cls, where) from error


def _explain(error: ValidationError, cls: Any, where: str = "") -> ConfigError:
    """Say what is wrong with the first wrong field, and what it has to be."""
    first = error.errors(include_url=False)[0]
    outer, *inner = first["loc"]
    # A value given by position is known by its number.
    place = [fields(cls)[outer].name if isinstance(outer, int) else outer, *inner]
    path = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)[1:]
    if first["type"] == "missing":
        return ConfigError(f"field {path} is missing", hint="add it")
    if first["type"] == "unexpected_keyword_argument":
        known = _field_names(cls, place[:-1])
        near = get_close_matches(str(place[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(known)}"
        return ConfigError(f"unknown field {path}", hint=hint)
    wanted = first["msg"].replace("Input should be", "it must be")
    return ConfigError(f"field {path} is {first['input']!r}", hint=wanted)


def _field_names(cls: Any, place: list[int | str]) -> list[str]:
    """Return the fields of a configuration inside another one."""
    for part in place:
        if isinstance(part, str):
            kind = get_type_hints(cls)[part]
            cls = next(inner for inner in (kind, *get_args(kind)) if is_dataclass(inner))
    return [item.name for item in fields(cls)]


@configuration
class EncoderConfig:
    """The universal encoder: an XLM-RoBERTa of any size, down to a bare token table.

    Attributes:
        kind: ``token_table`` (one vector per token, no context) or ``xlm-roberta``.
        vocabulary: number of token ids.
        dimensions: width of its output.
        transformer: the ``XLMRobertaConfig`` as a dict; empty for a token table.
    """

    kind: Literal["token_table", "xlm-roberta"]
    vocabulary: PositiveInt
    dimensions: PositiveInt
    transformer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
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


@configuration
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
    hidden: PositiveInt | None = None
    added_tokens: NonNegativeInt = 0
    position_multiple: PositiveInt = 1

    def __post_init__(self) -> None:
        if self.hidden is not None and self.kind == "identity":
            raise ConfigError("connector.hidden is set for an identity connector", hint="use kind ff")


@configuration
class LanguageModelConfig:
    """The embedding language model: a bidirectional Mistral of any depth, or a BERT.

    Attributes:
        dimensions: width of its input and output.
        layers: number of transformer layers; 0 leaves its input as it is (but for ``final_norm``).
        final_norm: whether a norm follows the last layer; always so when there are layers.
        transformer: the ``MistralConfig`` or ``BertConfig`` as a dict; empty for zero layers.
        kind: ``mistral``, or ``bert`` for an English embedding model of that kind.
    """

    dimensions: PositiveInt
    layers: NonNegativeInt = 0
    final_norm: bool = False
    transformer: dict[str, Any] = field(default_factory=dict)
    kind: Literal["mistral", "bert"] = "mistral"

    def __post_init__(self) -> None:
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


@configuration
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


@configuration
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
    repeats: Annotated[float, Field(ge=0, le=1)] = 1.0
    projection: bool = False
    prompts: Prompts = field(default_factory=Prompts)
    max_tokens: PositiveInt = 512
    folded: bool = False
    calibration: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        inner, outer = self.encoder.dimensions, self.language_model.dimensions
        if self.connector.kind == "identity" and inner != outer:
            raise ConfigError(
                f"encoder.dimensions {inner} and language_model.dimensions {outer} differ",
                hint="an identity connector needs them equal; use connector kind ff",
            )
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
        return parse(cls, {key: value for key, value in data.items() if key != "format"})


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
