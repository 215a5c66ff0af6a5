"""A model that runs elsewhere, as a backend like any other: texts in, unit vectors out.

Cuts calls into requests the service takes and keeps several under way, so that it need not wait for the
network. Must not know who asks.
"""

from __future__ import annotations

import base64
import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lusifer.checkpoints.load import OpenModel
from lusifer.config import PromptKind
from lusifer.service.client import ServiceClient
from lusifer.service.description import Description, describe, fetch_tokenizer
from lusifer.service.options import ServiceOptions
from lusifer.static import Ids, WordTokenizer
from lusifer.tokenization import warn_if_cut

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
    words = FetchedWords(lambda: fetch_tokenizer(client, described, options.cache))
    return OpenModel(described.config, RemoteBackend(client, described), words, described.fingerprint)


def served_fingerprint(url: str, options: ServiceOptions) -> str:
    """Return the fingerprint of the model that a service serves; errors as for ``Embedder.load``."""
    client = ServiceClient(url, options)
    try:
        return describe(client, options.expected).fingerprint
    finally:
        client.close()


class FetchedWords:
    """Texts to token ids, with a tokenizer that is had when it is first needed: searches need none.

    Args:
        fetch: gets the tokenizer.
    """

    def __init__(self, fetch: Callable[[], Tokenizer]) -> None:
        self._fetch = fetch

    @cached_property
    def _words(self) -> WordTokenizer:
        return WordTokenizer(self._fetch())

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, without truncation."""
        return self._words.tokenizer

    def __call__(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, int32."""
        return self._words(texts)


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
        # Whoever drops the model need not know that it holds connections.
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
