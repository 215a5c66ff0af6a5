"""Load a model by name, folder or address; texts in, unit vectors out.

``load_model`` is the way in for everything that embeds; ``TextEmbedder`` is all that others ask of a model.
Importing this module is cheap: numpy, tokenizers, torch and an HTTP client are imported by models that need
them, when they are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lusifer.errors import ConfigError
from lusifer.service import ServiceOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from lusifer.checkpoints.load import OpenModel
    from lusifer.config import ModelConfig, PromptKind

#: The models that come with the package, by name, and the one that is taken when none is named.
SHIPPED = {"lusifer-mini": Path(__file__).parent / "mini", "lusifer-small": Path(__file__).parent / "small"}
DEFAULT_MODEL = "lusifer-mini"
DEFAULT_FOLDER = SHIPPED[DEFAULT_MODEL]


def load_model(
    reference: str | Path = "",
    *,
    device: str | None = None,
    service: ServiceOptions | None = None,
) -> Embedder:
    """Load a model by a reference, as settings and indexes name one.

    Args:
        reference: the address of an embedding service, a checkpoint folder or a hub id; empty or
            ``DEFAULT_MODEL`` for the default model, ``lusifer-small`` for the other that is shipped.
        device: where it runs; see ``Embedder.load``.
        service: how to use an embedding service; not read for other models.

    Raises:
        LusiferError: it cannot be loaded; see ``Embedder.load``.
    """
    return Embedder.load(reference, device, service=service)


def model_stamp(reference: str | Path = "", *, service: ServiceOptions | None = None) -> str:
    """Return a sign that changes when the model does, without loading it or reading its weights.

    Compare it with an earlier one: only where they differ is it worth loading the model for its fingerprint.

    Raises:
        LusiferError: the model is behind an embedding service, which does not answer.
    """
    if is_service(reference):
        from lusifer.service.backend import served_fingerprint

        return f"{reference}\n{served_fingerprint(str(reference), service or ServiceOptions())}"
    folder = Path(_resolve(reference))
    if not folder.is_dir():
        return str(reference)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stamps = [f"{path.name}:{(status := path.stat()).st_size}:{status.st_mtime_ns}" for path in files]
    return "\n".join((str(folder.resolve()), *stamps))


def is_service(reference: object) -> bool:
    """Tell whether a reference is the address of an embedding service."""
    return isinstance(reference, str) and reference.lower().startswith(("http://", "https://"))


def is_default(reference: str | Path | None) -> bool:
    """Tell whether a reference means the shipped model; a folder of that name in reach is preferred."""
    return not reference or (reference == DEFAULT_MODEL and not Path(DEFAULT_MODEL).is_dir())


def _resolve(reference: str | Path | None) -> str | Path:
    """Return the folder that a shipped model's name means; any other reference as it is."""
    if not reference:
        return DEFAULT_FOLDER
    if isinstance(reference, str) and reference in SHIPPED and not Path(reference).is_dir():
        return SHIPPED[reference]
    return reference


class TextEmbedder(Protocol):
    """Something that embeds: text in, unit vectors out, each text's independent of its neighbours.

    ``Embedder`` is one; tests bring a smaller one.
    """

    @property
    def name(self) -> str:
        """What people call the model."""

    @property
    def dimensions(self) -> int:
        """Width of a vector."""

    @property
    def max_tokens(self) -> int:
        """Longest text the model sees, in its own tokens; the rest of a longer one is cut."""

    @property
    def fingerprint(self) -> str:
        """What makes the vectors; those of different fingerprints must not mix."""

    @property
    def config(self) -> ModelConfig:
        """What the model is made of."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens, without truncation."""

    def embed_documents(self, texts: Sequence[str], instruction: str = "") -> NDArray[np.float32]:
        """Return the vectors of passages, ``(len(texts), dimensions)``."""

    def embed_query(self, texts: str | Sequence[str], instruction: str = "") -> NDArray[np.float32]:
        """Return the vectors of one question or several, ``(n, dimensions)``."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, before any cut and without the prompt around it."""


class Embedder:
    """A loaded model.

    Made by :meth:`load`. Vectors are float32 rows of unit length, so a dot product is a cosine; the vector of
    a text does not depend on what else is in the call.

    Attributes:
        name: the model's name.
        max_tokens: longer texts are cut at the end, with a ``TruncationWarning``.
        fingerprint: short hash of all that makes the vectors; vectors of different fingerprints must not mix.
    """

    def __init__(self, model: OpenModel) -> None:
        self.config = model.config
        self.name = model.config.name
        self.max_tokens = model.config.max_tokens
        self.fingerprint = model.fingerprint
        self._words = model.words
        self._backend = model.backend

    @classmethod
    def load(
        cls,
        name_or_path: str | Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        *,
        projected: bool = True,
        service: ServiceOptions | None = None,
    ) -> Embedder:
        """Load a model.

        Args:
            name_or_path: a checkpoint folder, in our format or the published one; the hub id of such a
                checkpoint, ``Hieuman/LUSIFER`` for one; the address of an embedding service; ``lusifer-mini``
                or ``lusifer-small`` for a model that comes with the package; None or empty for the default.
            device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the best there is. A folded table runs
                on the CPU always; a quantised model runs in 8 bits on the CPU unless a device or a dtype is
                asked for, which needs torch.
            dtype: ``float32``, ``bfloat16`` or ``float16``; None for float32 on a CPU, bfloat16 elsewhere.
            projected: False leaves the output projection out; the published model's vectors were made so
                until March 2025, and which of the two the paper used is unknown.
            service: key and patience for an embedding service, which chooses device and dtype itself.

        Raises:
            CheckpointError: the folder is missing or damaged.
            ConfigError: its configuration does not describe a model, or there is no such device or dtype.
            ServiceError: the service does not answer, or serves another model than is expected.
        """
        if is_service(name_or_path):
            from lusifer.service.backend import open_remote

            return cls(open_remote(str(name_or_path), service or ServiceOptions()))
        from lusifer.checkpoints.load import open_model

        return cls(open_model(_resolve(name_or_path), device, dtype, projected=projected))

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, without truncation."""
        return self._words.tokenizer

    @property
    def dimensions(self) -> int:
        """Width of a vector."""
        return self._backend.dimensions

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Numbers that turn similarities into scores, as whoever calibrated the model wrote them."""
        return self.config.calibration

    def embed_documents(self, texts: Sequence[str], instruction: str = "") -> NDArray[np.float32]:
        """Return the vectors of passages, ``(len(texts), dimensions)``, in the order given.

        Args:
            texts: the passages; an empty one is allowed.
            instruction: what the model is asked to do, for models whose prompt takes one.

        Raises:
            ConfigError: an instruction was given to a model that takes none.
            TypeError: ``texts`` is a single string, or holds something that is none.
        """
        if isinstance(texts, str):
            raise TypeError("embed_documents takes a list of texts, not a single str")
        return self._embed(texts, "document", instruction)

    def embed_query(self, texts: str | Sequence[str], instruction: str = "") -> NDArray[np.float32]:
        """Return the vectors of one question or several, ``(n, dimensions)``; raises as for documents."""
        return self._embed([texts] if isinstance(texts, str) else texts, "query", instruction)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, before any cut and without the prompt around it."""
        return [len(ids) for ids in self._words(_checked(texts))]

    def _embed(self, texts: Sequence[str], kind: PromptKind, instruction: str) -> NDArray[np.float32]:
        if instruction and not self.config.prompts.takes_instruction(kind):
            raise ConfigError(
                f"the {kind} prompt of {self.name} takes no instruction", hint="leave the instruction out"
            )
        return self._backend.embed(_checked(texts), kind, instruction)


def _checked(texts: Sequence[str]) -> list[str]:
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position} is {type(text).__name__}, not str")
    return texts
