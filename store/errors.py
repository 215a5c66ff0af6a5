"""What can go wrong in a store, as exceptions a caller can show to a person.

StoreError
├── StoreMissing         nothing has been indexed here yet
│   └── StoreOutdated    what is here was made by a former version of this program
├── FingerprintMismatch  the collection was made by another model, chunker or analyser
├── StoreDamaged         the files on disk are not what was written
├── StoreShared          other data folders keep documents in the collection
├── StoreUnavailable     nobody answers: the daemon or the server cannot be reached
│   └── StoreBusy        another program holds the embedded store
├── DiskFull             too little space to write safely
└── InvalidRequest       what the caller asked for makes no sense

The names say what is the matter rather than ending in "Error". Engines translate their own exceptions into
these. Hints hold wherever the library is used; the command line adds the command to give.
"""

from __future__ import annotations

from common.errors import HintedError


class StoreError(HintedError):
    """A problem with a store, with a remedy."""


class StoreMissing(StoreError):  # noqa: N818
    """Nothing has been indexed here yet."""


class StoreOutdated(StoreMissing):
    """What is here was made by a former version of this program."""


class FingerprintMismatch(StoreError):  # noqa: N818
    """The collection holds vectors that another model, chunker or analyser made."""


class StoreDamaged(StoreError):  # noqa: N818
    """The files on disk are not what was written."""


class StoreShared(StoreError):  # noqa: N818
    """Other data folders keep documents in the collection, so that it cannot be replaced."""


class StoreUnavailable(StoreError):  # noqa: N818
    """Neither the daemon nor the server answers."""


class StoreBusy(StoreUnavailable):
    """Another program holds the embedded store."""


class DiskFull(StoreError):  # noqa: N818
    """There is too little free space to write safely."""


class InvalidRequest(StoreError):  # noqa: N818
    """The caller asked for something that makes no sense."""
