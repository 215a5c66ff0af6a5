"""A model that runs elsewhere, as a backend like any other: texts in, unit vectors out.

The service describes its model and gives its tokenizer, which is cached. Calls are cut into requests that
fit, several of them under way at a time, so that no time is lost to the network.
"""

from __future__ import annotations

import base64
import json
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from tokenizers import Tokenizer

from common.files import write_atomically
from lusifer.checkpoints.load import OpenModel
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import CheckpointError, ConfigError, ServiceError
from lusifer.service import ServiceOptions
from lusifer.service.client import ServiceClient
from lusifer.tokenization import WordTokenizer, load_tokenizer, parse_tokenizer, warn_if_cut

#: Texts in a request: enough to fill an accelerator, few enough that others get their turn.
_REQUEST_TEXTS = 256
#: Requests under way at a time for one call.
_REQUESTS = 4
#: How far a vector's length may be from 1.
_TOLERANCE = 1e-3


def open_remote(url: str, options: ServiceOptions) -> OpenModel:
    """Open the model that a service serves; errors as for ``Embedder.load``."""
    client = ServiceClient(url, options)
    try:
        described = describe(client, options.expected)
    except BaseException:
        client.close()
        raise
    # Fetched when it is first needed: searches need none.
    words = WordTokenizer(lambda: fetch_tokenizer(client, described, options.cache))
    return OpenModel(described.config, RemoteBackend(client, described), words, described.fingerprint)


def served_fingerprint(url: str, options: ServiceOptions) -> str:
    """Return the fingerprint of the model that a service serves; errors as for ``Embedder.load``."""
    client = ServiceClient(url, options)
    try:
        return describe(client, options.expected).fingerprint
    finally:
        client.close()


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
                hint="correct the model's name or the service's address, or start a service of that model",
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
    # A cache that cannot be written is no obstacle.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, content)
    return tokenizer


class RemoteBackend:
    """The model behind an embedding service. Safe for threads.

    Args:
        client: the service.
        described: the model it serves; should it serve another one later, calls fail.
    """

    def __init__(self, client: ServiceClient, described: Description) -> None:
        self._client = client
        self._described = described
        self._senders = ThreadPoolExecutor(_REQUESTS, thread_name_prefix="embedding-service")
        # The connections are closed when nobody holds the model any more.
        weakref.finalize(self, client.close)

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self._described.config.dimensions

    def embed(self, texts: Sequence[str], kind: PromptKind, instruction: str = "") -> NDArray[np.float32]:
        """Return unit vectors, ``(len(texts), dimensions)``, in the order given.

        Raises:
            ServiceError: the service is away for longer than the patience, or answers badly.
        """
        fixed = {
            "model": self._described.fingerprint,
            "input_type": kind,
            "instruction": instruction,
            "encoding_format": "base64",
        }
        result = np.empty((len(texts), self.dimensions), np.float32)
        batches = list(self._split(texts))
        send = lambda batch: self._request(batch, fixed)  # noqa: E731
        # One request needs no other thread.
        answers = map(send, batches) if len(batches) < 2 else self._senders.map(send, batches)
        start = cut = 0
        for batch, (rows, shortened) in zip(batches, answers, strict=True):
            result[start : start + len(batch)] = rows
            start, cut = start + len(batch), cut + shortened
        warn_if_cut(cut, self._described.config.max_tokens)
        return result

    def _split(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Cut a call into requests within the service's limits."""
        most = min(_REQUEST_TEXTS, self._described.max_inputs)
        # Half for the JSON around the texts and what must be escaped in them.
        room = self._described.max_body_bytes // 2
        batch: list[str] = []
        size = 0
        for text in texts:
            # The model sees less than that anyway. Lone surrogates, which UTF-8 has no place for, count as
            # U+FFFD, as they do when the model is here.
            text = text[: self._described.max_characters]
            encoded = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
            if batch and (len(batch) >= most or size + len(encoded) > room):
                yield batch
                batch, size = [], 0
            batch.append(encoded.decode())
            size += len(encoded)
        if batch:
            yield batch

    def _request(self, texts: list[str], fixed: dict[str, str]) -> tuple[NDArray[np.float32], int]:
        """Return the rows of one request, and how many of its texts were cut."""
        body = json.dumps({"input": texts, **fixed}, ensure_ascii=False).encode()
        answer = self._client.post("/v1/embeddings", body)
        try:
            content: dict[str, Any] = answer.json()
            entries = sorted(content["data"], key=lambda entry: entry["index"])
            rows = [
                np.frombuffer(base64.b64decode(entry["embedding"], validate=True), "<f4") for entry in entries
            ]
            indices = [entry["index"] for entry in entries]
            mark, truncated = content["fingerprint"], len(content["truncated"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._client.nonsense(f"its vectors cannot be read ({type(error).__name__})") from error
        if mark != self._described.fingerprint:
            raise self._client.nonsense(f"it sent vectors of the model {mark}")
        if indices != list(range(len(texts))) or any(row.shape != (self.dimensions,) for row in rows):
            raise self._client.nonsense("it sent too few vectors, or of another length")
        vectors = np.array(rows, np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        if not np.all(np.abs(norms - 1) < _TOLERANCE):
            raise self._client.nonsense("its vectors are not of length 1")
        return vectors, truncated
