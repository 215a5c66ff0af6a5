"""What can go wrong in the model library, as exceptions a caller can show to a person.

LusiferError (a ``HintedError``: each has a message and a hint)
├── ConfigError      a configuration that cannot describe a model or a run
├── CheckpointError  a checkpoint folder that cannot be read: names the file or tensor
│   └── CheckpointMissing  there is none of that name
├── ServiceError     an embedding service that is away, refuses, or serves another model
├── DataError        training or evaluation data that cannot be read: names the file and line
├── TrainingError    a run that cannot go on
└── MissingLibrary   something needs a library that is not part of the base installation
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import HintedError


class LusiferError(HintedError):
    """A problem of the model library."""


class ConfigError(LusiferError):
    """A configuration that cannot describe a model or a run."""


class CheckpointError(LusiferError):
    """A checkpoint that cannot be read or written."""


class CheckpointMissing(CheckpointError):  # noqa: N818 - named for what happened
    """There is no checkpoint of a name, here or on the hub."""


class ServiceError(LusiferError):
    """An embedding service that does not answer, refuses, or serves another model."""


class DataError(LusiferError):
    """Training or evaluation data that cannot be read."""


class TrainingError(LusiferError):
    """A training run that cannot start or go on."""


class MissingLibrary(LusiferError):  # noqa: N818 - named for what happened
    """A library of an optional extra is not installed."""


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Import what an extra of the package installs; say how to install it where it is missing.

    Args:
        extra: ``models`` (torch, transformers), ``train`` or ``evaluate``.
        what: what needs it, as the subject of the message.

    Raises:
        MissingLibrary: a library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f"{what} needs {error.name}, which is not installed",
            hint=f"install it with `pip install 'lusifer-search[{extra}]'`",
        ) from error


class TruncationWarning(UserWarning):
    """Texts were longer than the model reads; their ends did not count."""
