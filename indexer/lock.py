"""One indexer at a time for a data folder. The operating system lets go of the lock when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import AlreadyRunning, IndexerError

FILE = "indexer.lock"


@contextmanager
def hold_lock(data: Path) -> Iterator[None]:
    """Hold the data folder's indexer lock.

    Raises:
        AlreadyRunning: another indexer holds it.
        IndexerError: the data folder cannot be written.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(data / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IndexerError(
            f"the data folder {data} cannot be written: {error.strerror}", hint="choose another with --data"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise AlreadyRunning(
                f"another indexer (process {holder or 'unknown'}) works on the data folder {data}",
                hint="wait until it has finished, or use another folder with --data",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
