"""Files that are locked by one process, or replaced as a whole."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from common.errors import HintedError

_PAUSE = 0.02


class LockHeld(HintedError):  # noqa: N818 - named for what happened
    """Another process holds the lock."""


class FileLock:
    """``flock`` on a file of its own; the kernel lets go of it when the process dies, however it dies.

    The file is never removed: whoever removed it could let two processes hold "the" lock at once. In it
    stands the process that holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    @property
    def holder(self) -> str:
        """The process that took the lock last, as it named itself; empty if it did not."""
        try:
            return self.path.read_bytes()[:32].decode("ascii", "replace").strip()
        except OSError:
            return ""

    def acquire(self, *, seconds: float = 0.0) -> None:
        """Take the lock, waiting at most ``seconds`` for another process to let go.

        Raises:
            LockHeld: another process still holds it.
        """
        deadline = time.monotonic() + seconds
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"Another program (process {self.holder or 'unknown'}) holds {self.path}",
                    hint="Wait for it to end, then try again.",
                )
            time.sleep(_PAUSE)

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
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


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file as a whole, at once and for good: written aside, synced, renamed, the folder synced.

    Raises:
        OSError: it cannot be written; the former content is untouched.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def point_link(link: Path, target: str) -> None:
    """Let a symbolic link name another target, at once and for good."""
    draft = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
    sync_folder(link.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
