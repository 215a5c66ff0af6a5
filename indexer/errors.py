"""What can go wrong while indexing, as exceptions a caller can show to a person.

IndexerError
├── UsageError        what was asked for cannot be done: a path that does not exist, nothing to index
├── ManifestDamaged   the record of what was indexed cannot be read
├── AlreadyRunning    another indexer works on the same data folder
└── ExtractionFailed  one file cannot be turned into text; data in the manifest, never the end of a run
"""

from __future__ import annotations


class IndexerError(Exception):
    """A problem with a remedy: ``message`` says what happened to which object, ``hint`` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class UsageError(IndexerError):
    """The arguments cannot be acted on; the command line ends with exit code 2."""


class ManifestDamaged(IndexerError):  # noqa: N818 - named for what happened
    """The manifest is not a readable database of this version."""


class AlreadyRunning(IndexerError):  # noqa: N818 - named for what happened
    """Another indexer holds the data folder's lock."""


class ExtractionFailed(IndexerError):  # noqa: N818 - named for what happened
    """A file cannot be read as text.

    Attributes:
        retry: true when the cause may pass without the file changing (permissions, a missing library), so
            that the next run tries again.
    """

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry
