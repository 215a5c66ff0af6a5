"""A store that lives in another process: the embedded store as everybody but its owner sees it.

Texts are analysed here, so that the owner stays free to answer. Every operation may be done twice without
harm, so when the owner dies the same request goes to its successor. Knows the protocol. Must not know the
engine.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from store.collection import BATCH, check_query
from store.daemon.protocol import CONNECTION_ERRORS, PROTOCOL, OwnerFiles, Request, connect
from store.engine import EVERYTHING
from store.errors import StoreError, StoreUnavailable
from store.locking import FileLock
from store.points import prepare
from store.types import Answer, Chunk, FacetField, Filter, Query, Schema, Vector

# Find the owner process of a data folder, or start it.


#: How long an owner may take to come up; opening a large store happens later, when it is asked for.
START_SECONDS = 60.0
_NOBODY = (*CONNECTION_ERRORS, ValueError, KeyError)
_PAUSE = 0.05
_MODULE = ["-m", "store.daemon.server"]


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
    root = str(Path(__file__).resolve().parents[2])
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


#: How often a request is sent while owners die under it.
ATTEMPTS = 5
#: How long an answer may take: opening a large store after a crash replays its log.
ANSWER_SECONDS = 600.0
_RETRY_PAUSE = 0.05


class RemoteStore:
    """The embedded store of a data folder, through its owner process. Safe for threads.

    Use ``open``, ``stage`` or ``reset``.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._schema = Schema(0, "")
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        #: Process id of the owner last connected to.
        self.owner_pid = 0

    @classmethod
    def open(cls, data: Path, schema: Schema | None, *, create: bool = False) -> RemoteStore:
        """Open the store, with any schema if that is None, or make it if ``create`` and there is none."""
        return cls(data)._begin("open", schema, create=create)

    @classmethod
    def reset(cls, data: Path, schema: Schema, *, keep_damaged: bool) -> RemoteStore:
        """Begin anew with an empty store."""
        return cls(data)._begin("reset", schema, keep_damaged=keep_damaged)

    @classmethod
    def stage(cls, data: Path, schema: Schema) -> RemoteStore:
        """Open the store that is to follow the current one, or make it."""
        return cls(data)._begin("stage", schema)

    @classmethod
    def switch(cls, data: Path, schema: Schema) -> None:
        """Put the staged store in the place of the current one."""
        cls(data)._once("switch", schema)

    @classmethod
    def sweep(cls, data: Path) -> None:
        """Remove the stores that were followed by others."""
        cls(data)._once("sweep", None)

    @classmethod
    def delete(cls, data: Path, *, keep_damaged: bool) -> None:
        """Remove the store."""
        cls(data)._once("delete", None, keep_damaged=keep_damaged)

    def _once(self, operation: str, schema: Schema | None, **arguments: Any) -> None:
        try:
            self._call(operation, schema, **arguments)
        finally:
            self.close()

    def _begin(self, operation: str, schema: Schema | None, **arguments: Any) -> RemoteStore:
        try:
            self._schema = self._call(operation, schema, **arguments)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def schema(self) -> Schema:
        return self._schema

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        if len(chunks) != len(vectors):
            prepare(chunks, vectors, self._schema)  # says what is wrong, before anything is written
        # The next batch is analysed while the owner stores the last.
        with ThreadPoolExecutor(1) as sender:
            sent: Future[None] | None = None
            for start in range(0, len(chunks), BATCH):
                part = slice(start, start + BATCH)
                points = prepare(chunks[part], vectors[part], self._schema)
                if sent is not None:
                    sent.result()
                sent = sender.submit(self._call, "upsert", self._schema, points=points)
            if sent is not None:
                sent.result()

    def delete_document(self, document_id: str, *, except_version: str | None = None) -> None:
        self._call("delete_document", self._schema, document_id=document_id, except_version=except_version)

    def search(self, query: Query) -> Answer:
        check_query(query, self._schema)
        return cast("Answer", self._call("search", self._schema, query=query))

    def facet(self, field: FacetField, filter: Filter = EVERYTHING) -> dict[str, int]:
        return cast("dict[str, int]", self._call("facet", self._schema, field=field, filter=filter))

    def count(self, filter: Filter = EVERYTHING) -> int:
        return cast("int", self._call("count", self._schema, filter=filter))

    def scroll(self, filter: Filter = EVERYTHING, *, limit: int = 1000, offset: int = 0) -> list[Chunk]:
        found = self._call("scroll", self._schema, filter=filter, limit=limit, offset=offset)
        return cast("list[Chunk]", found)

    def export(self, *, batch: int = 1000) -> Iterator[tuple[list[Chunk], Vector]]:
        start: str | None = None
        while True:
            chunks, vectors, start = self._call("export_page", self._schema, start=start, size=batch)
            if chunks:
                yield chunks, vectors
            if start is None:
                return

    def flush(self) -> None:
        self._call("flush", self._schema)

    def close(self) -> None:
        """Say goodbye to the owner; it flushes when it is quiet and ends when nobody needs it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _call(self, operation: str, schema: Schema | None, **arguments: Any) -> Any:
        request = Request(operation, schema, arguments)
        for attempt in range(ATTEMPTS):
            connection = self._take()
            try:
                connection.send(request)
                if not connection.poll(ANSWER_SECONDS):
                    raise TimeoutError
                answer = connection.recv()
            except CONNECTION_ERRORS:
                connection.close()
                self._forget()
                time.sleep(_RETRY_PAUSE * attempt)
                continue
            except BaseException:
                # An answer may still come; nobody must take it for that to another question.
                connection.close()
                raise
            self._give(connection)
            if isinstance(answer, StoreError):
                raise answer
            return answer[0]
        raise StoreUnavailable(
            f"The owner process of the store at {self._data} died {ATTEMPTS} times over one request",
            hint=f"Its log, {OwnerFiles(self._data).log}, may say why.",
        )

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreError("The store is closed", hint="Open it again.")
            if self._process != os.getpid():
                # After a fork the connections are our parent's.
                self._process, self._idle = os.getpid(), []
            if self._idle:
                return self._idle.pop()
        connection, self.owner_pid = reach(self._data)
        return connection

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _forget(self) -> None:
        """Close the idle connections: they lead to an owner that is dead."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
