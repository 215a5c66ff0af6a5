"""An exclusive lock on a file that dies with its process.

Knows files only. Must not know what the lock is for.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from store.errors import StoreBusy

_PAUSE = 0.02


class FileLock:
    """``flock`` on a file of its own; the kernel lets go of it when the process dies, however it dies.

    The file is never removed: whoever removed it could let two processes hold "the" lock at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self, *, seconds: float = 0.0) -> None:
        """Take the lock, waiting at most ``seconds`` for another process to let go.

        Raises:
            StoreBusy: another process still holds it.
        """
        deadline = time.monotonic() + seconds
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise StoreBusy(
                    f"Another program is using the store at {self.path.parent}",
                    hint="Wait for it to end, or give it a moment and try again.",
                )
            time.sleep(_PAUSE)

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go; harmless if not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
