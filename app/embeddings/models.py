"""Shapes of the embedding service's requests and answers: OpenAI's, and what is ours beside them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

InputType = Literal["query", "document"]
EncodingFormat = Literal["float", "base64"]


class EmbeddingsRequest(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"input": ["how do bees survive the winter?"], "input_type": "query"}]
        },
    )

    input: str | list[str] = Field(description="A text, or several.")
    model: str | None = Field(
        None, description="Name or fingerprint of the model; refused if another is served. Any if left out."
    )
    input_type: InputType = Field(
        "document", description="What the texts are: questions and passages may be embedded differently."
    )
    instruction: str = Field("", description="What the model is to do, for models whose prompt takes one.")
    encoding_format: EncodingFormat = Field(
        "float", description="Vectors as lists of numbers, or as base64 of little-endian float32."
    )
    dimensions: int | None = Field(
        None, description="Length of the vectors: the model's own only, it cannot be shortened."
    )
    user: str | None = Field(None, description="Accepted for compatibility, and neither used nor logged.")

    @field_validator("input", mode="before")
    @classmethod
    def _refuse_tokens(cls, value: object) -> object:
        """Say why token ids, which OpenAI's service accepts, are refused here.

        Raises:
            ValueError: the input is not text.
        """
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, int | list) for item in items):
            raise ValueError("token ids are not accepted, they depend on the tokenizer; send texts")
        if not all(isinstance(item, str) for item in items):
            raise ValueError("must be a text or a list of texts")
        if not items:
            raise ValueError("holds no text")
        return value

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class EmbeddingItem(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Number of the text, from 0.")
    embedding: list[float] | str = Field(description="Of length 1; in the form that was asked for.")


class Usage(BaseModel):
    """Tokens the model read, prompts not counted."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str = Field(description="The model's name.")
    fingerprint: str = Field(
        description="What made the vectors; those of different fingerprints must not mix."
    )
    truncated: list[int] = Field(description="Numbers of the texts whose ends the model did not see.")
    usage: Usage


class ServedModel(BaseModel):
    """The model, with what a client needs to use it like one of its own."""

    id: str = Field(description="The model's name.")
    object: Literal["model"] = "model"
    created: int = Field(description="When the service began, in seconds since the epoch.")
    owned_by: str = "lusifer-search"
    fingerprint: str = Field(description="What makes the vectors.")
    dimensions: int
    max_tokens: int = Field(description="Longer texts are cut at the end.")
    max_inputs: int = Field(description="Most texts in a request.")
    max_characters: int = Field(description="Longest text, in characters.")
    max_body_bytes: int = Field(description="Longest request body.")
    tokenizer: str = Field(description="Where its tokenizer.json is.")
    config: dict[str, Any] = Field(description="The model's configuration, as in its config.json.")


class ServedModels(BaseModel):
    """The models served: one."""

    object: Literal["list"] = "list"
    data: list[ServedModel]
