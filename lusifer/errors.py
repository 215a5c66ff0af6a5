"""What can go wrong in the model library, as exceptions a caller can show to a person.

LusiferError
├── ConfigError      a configuration that cannot describe a model or a run
├── CheckpointError  a checkpoint folder that cannot be read: names the file or tensor
├── ServiceError     an embedding service that is away, refuses, or serves another model
├── DataError        training or evaluation data that cannot be read: names the file and line
└── TrainingError    a run that cannot go on
"""

from __future__ import annotations


class LusiferError(Exception):
    """A problem with a remedy: ``message`` says what happened to which object, ``hint`` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class ConfigError(LusiferError):
    """A configuration that cannot describe a model or a run."""


class CheckpointError(LusiferError):
    """A checkpoint that cannot be read or written."""


class ServiceError(LusiferError):
    """An embedding service that does not answer, refuses, or serves another model."""


class DataError(LusiferError):
    """Training or evaluation data that cannot be read."""


class TrainingError(LusiferError):
    """A training run that cannot start or go on."""
