"""What can go wrong while indexing.

IndexerError
├── UsageError        what was asked for cannot be done: a path that does not exist, nothing to index
├── ManifestDamaged   the record of what was indexed cannot be read
├── AlreadyRunning    another indexer works on the same data folder
└── ExtractionFailed  one file cannot be turned into text; noted in the manifest, never the end of a run
    └── Unreadable    the same, for a cause that may pass (permissions)
"""

from __future__ import annotations

from common.errors import HintedError


class IndexerError(HintedError):
    """Indexing cannot go on."""


class UsageError(IndexerError):
    """The arguments cannot be acted on; the command line ends with exit code 2."""


class ManifestDamaged(IndexerError):  # noqa: N818 - named for what happened
    """The manifest is not a readable database of this version."""


class AlreadyRunning(IndexerError):  # noqa: N818 - named for what happened
    """Another indexer holds the data folder's lock."""


class ExtractionFailed(IndexerError):  # noqa: N818 - named for what happened
    """A file cannot be read as text."""

    #: Whether the next run tries again although the file is as it was.
    retry = False


class Unreadable(ExtractionFailed):
    """A file cannot be read as text now: the cause, such as permissions, may pass."""

    retry = True
