"""Find the owner process of a data folder, or start it.

However many processes want it at once, one starts it and the others wait. Knows processes and the protocol.
Must not know the engine, which is loaded in the owner alone.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from store.errors import StoreError, StoreUnavailable
from store.locking import FileLock
from store.protocol import CONNECTION_ERRORS, PROTOCOL, OwnerFiles, Request, connect

#: How long an owner may take to come up; opening a large store happens later, when it is asked for.
START_SECONDS = 60.0
_NOBODY = (*CONNECTION_ERRORS, ValueError, KeyError)
_PAUSE = 0.05
_MODULE = ["-m", "store.owner"]


def reach(data: Path) -> tuple[Connection, int]:
    """Connect to the owner, starting it if there is none.

    Returns:
        the connection, and the owner's process id.

    Raises:
        StoreUnavailable: it cannot be started; the message holds the reason it gave.
    """
    files = OwnerFiles(data)
    found = _greet(files)
    if found is not None:
        return found
    starting = FileLock(files.starting)
    try:
        starting.acquire(seconds=START_SECONDS)
    except OSError as error:
        raise StoreUnavailable(
            f"The data folder {data} cannot be written to ({error.strerror})",
            hint="Give this user the right to write there, or choose another folder with --data.",
        ) from error
    try:
        return _greet(files) or _start(files)
    finally:
        starting.release()


def _greet(files: OwnerFiles) -> tuple[Connection, int] | None:
    """Connect to a running owner; None if there is none. One of another version is asked to make way."""
    try:
        connection = connect(files)
        protocol, pid = connection.recv()
        if protocol == PROTOCOL:
            return connection, int(pid)
        with connection:
            connection.send(Request("retire", None, {}))
            answer = connection.recv()
    except _NOBODY:
        return None
    if isinstance(answer, StoreError):
        raise answer
    return None


def _start(files: OwnerFiles) -> tuple[Connection, int]:
    deadline = time.monotonic() + START_SECONDS
    status = _spawn(files, deadline)
    if status != "ready":
        reason = (status.removeprefix("error ") or _last_words(files.log)).rstrip(".")
        raise StoreUnavailable(
            f"The store's owner process for {files.data} could not start: {reason}",
            hint=f"Its log is {files.log}.",
        )
    while time.monotonic() < deadline:
        found = _greet(files)
        if found is not None:
            return found
        time.sleep(_PAUSE)
    raise StoreUnavailable(
        f"The store's owner process for {files.data} started but does not answer",
        hint=f"Its log is {files.log}.",
    )


def _spawn(files: OwnerFiles, deadline: float) -> str:
    """Start an owner that outlives us and is nobody's child; return the line it reports, empty if it died."""
    reading, writing = os.pipe()
    try:
        with files.log.open("ab") as log:
            os.chmod(log.fileno(), 0o600)  # noqa: PTH101 - the open file, not whatever has its name
            # The shell's job is to end at once, so that the owner is adopted by init and leaves no zombie.
            command = ["/bin/sh", "-c", '"$0" "$@" &', sys.executable, "-P"]
            subprocess.run(
                [*command, *_MODULE, "--data", str(files.data), "--status-fd", str(writing)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                pass_fds=(writing,),
            )
    except (OSError, subprocess.CalledProcessError) as error:
        os.close(reading)
        raise StoreUnavailable(
            f"The store's owner process for {files.data} could not be started ({error})",
            hint="Check that the data folder can be written to.",
        ) from error
    finally:
        os.close(writing)
    try:
        return _read_line(reading, deadline)
    finally:
        os.close(reading)


def _environment() -> dict[str, str]:
    """Let the owner import the package we run, from wherever we have it."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, path] if path else [root])}


def _read_line(descriptor: int, deadline: float) -> str:
    content = b""
    while not content.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(descriptor, 4096) if ready else b""
        if not part:
            break
        content += part
    return content.decode(errors="replace").strip()


def _last_words(log: Path) -> str:
    """Give the last line a dying owner wrote: an exception's line says what it was."""
    try:
        lines = log.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return "it left no reason"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it left no reason")[:500]
