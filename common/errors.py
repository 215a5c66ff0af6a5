"""The base of all errors that a person is shown: what happened, to which object, and what to do.

HintedError
├── SettingsError           a setting that cannot be used: ``common.settings``
├── LockHeld                another process holds a lock: ``common.files``
├── lusifer.errors.LusiferError
├── store.errors.StoreError
├── indexer.errors.IndexerError
├── search.errors.SearchError
└── app.problems.RefusedError
"""

from __future__ import annotations


class HintedError(Exception):
    """A problem with a remedy: ``message`` says what happened to which object, ``hint`` what to do.

    Libraries (``lusifer``, ``store``) give hints that hold wherever they are used; what names a command or an
    environment variable is added by the command line (``app.cli.hints``).
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # The default forgets keyword arguments; errors travel between processes.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[HintedError], message: str, hint: str) -> HintedError:
    return kind(message, hint=hint)
