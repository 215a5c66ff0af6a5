"""What an embedding service says of its model. Must not know texts or vectors."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from tokenizers import Tokenizer

from lusifer.config import ModelConfig
from lusifer.errors import CheckpointError, ConfigError, ServiceError
from lusifer.service.client import ServiceClient
from lusifer.tokenization import load_tokenizer, parse_tokenizer


@dataclass(frozen=True, slots=True)
class Description:
    """A model as its service describes it.

    Attributes:
        config: the model's configuration.
        fingerprint: what makes its vectors.
        tokenizer: where the service has its ``tokenizer.json``.
        max_inputs: most texts in a request.
        max_characters: longest text it takes.
        max_body_bytes: longest request body it takes.
    """

    config: ModelConfig
    fingerprint: str
    tokenizer: str
    max_inputs: int
    max_characters: int
    max_body_bytes: int


def describe(client: ServiceClient, expected: str | None = None) -> Description:
    """Ask a service what it serves.

    Args:
        client: the service.
        expected: name or fingerprint of the model wanted; None takes the first.

    Raises:
        ServiceError: it does not answer, is no such service, or serves another model.
    """
    try:
        offered: list[dict[str, Any]] = client.get("/v1/models").json()["data"]
        served = [
            model for model in offered if expected is None or expected in (model["id"], model["fingerprint"])
        ]
        if not served:
            names = ", ".join(f"{model['id']} ({model['fingerprint']})" for model in offered)
            raise ServiceError(
                f"the embedding service at {client.url} serves {names or 'no model'}, not {expected}",
                hint="correct LUSIFER_MODEL or LUSIFER_EMBEDDINGS_URL, or start the service with that model",
            )
        return _read(served[0])
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise client.nonsense(f"/v1/models describes no model ({error})") from error


def _read(model: dict[str, Any]) -> Description:
    return Description(
        config=ModelConfig.from_dict(model["config"]),
        fingerprint=str(model["fingerprint"]),
        tokenizer=str(model["tokenizer"]),
        max_inputs=max(1, int(model["max_inputs"])),
        max_characters=max(1, int(model["max_characters"])),
        max_body_bytes=max(1, int(model["max_body_bytes"])),
    )


def fetch_tokenizer(client: ServiceClient, description: Description, cache: Path | None) -> Tokenizer:
    """Return the model's tokenizer: from the cache, where it is kept by fingerprint, or from the service.

    Raises:
        ServiceError: the service does not give it.
    """
    folder = cache or Path(platformdirs.user_cache_dir("lusifer-search", appauthor=False)) / "tokenizers"
    path = folder / f"{description.fingerprint}.json"
    try:
        return load_tokenizer(path)
    except CheckpointError:
        pass  # not there yet, or damaged: fetched below
    content = client.get(description.tokenizer).content
    try:
        tokenizer = parse_tokenizer(content, "its tokenizer")
    except CheckpointError as error:
        raise client.nonsense(error.message) from error
    _keep(path, content)
    return tokenizer


def _keep(path: Path, content: bytes) -> None:
    """Put a file into the cache, all at once; a cache that cannot be written is no obstacle."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
