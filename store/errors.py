"""What can go wrong in a store, as exceptions a caller can show to a person.

StoreError
├── StoreMissing         nothing has been indexed here yet
├── FingerprintMismatch  the collection was made by another model, chunker or analyser
├── StoreDamaged         the files on disk are not what was written
├── StoreUnavailable     nobody answers: the owner process or the server cannot be reached
│   └── StoreBusy        another program holds the embedded store
├── DiskFull             too little space to write safely
└── InvalidRequest       what the caller asked for makes no sense

The names say what is the matter rather than ending in "Error". Knows nothing of engines: they translate their
own exceptions into these.
"""

from __future__ import annotations


class StoreError(Exception):
    """A problem with a remedy: ``message`` says what happened to which object, ``hint`` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # The default forgets keyword arguments; errors travel from the owner process to its clients.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[StoreError], message: str, hint: str) -> StoreError:
    return kind(message, hint=hint)


class StoreMissing(StoreError):  # noqa: N818
    """Nothing has been indexed here yet."""


class FingerprintMismatch(StoreError):  # noqa: N818
    """The collection holds vectors that another model, chunker or analyser made."""


class StoreDamaged(StoreError):  # noqa: N818
    """The files on disk are not what was written."""


class StoreUnavailable(StoreError):  # noqa: N818
    """Neither the owner process nor the server answers."""


class StoreBusy(StoreUnavailable):
    """Another program holds the embedded store."""


class DiskFull(StoreError):  # noqa: N818
    """There is too little free space to write safely."""


class InvalidRequest(StoreError):  # noqa: N818
    """The caller asked for something that makes no sense."""
