"""The owner process of an embedded store: the only one that opens the engine, and serves all others.

``python -m store.owner --data DIR``, started by ``launch`` when somebody needs the store. It ends when nobody
has been connected for a while; killed, it is started anew by its clients and nothing acknowledged is lost.
Its log holds no text of documents or questions. Knows the embedded store and the protocol. Must not know
models, files that are indexed, or HTTP.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from store.daemon.protocol import (
    CONNECTION_ERRORS,
    PROTOCOL,
    OwnerFiles,
    Request,
    accept_peer,
    listen,
    publish,
    socket_path,
)
from store.edge.stores import Embedded
from store.errors import StoreBusy, StoreDamaged, StoreError
from store.locking import FileLock
from store.points import Points
from store.types import FacetField, Filter, Query, Schema

# One thread that does one thing at a time, searches first.


_T = TypeVar("_T")
_Job = Callable[[], None]

#: Urgent jobs done in a row before one that can wait gets its turn.
URGENT_IN_A_ROW = 8


class Worker:
    """Runs jobs in its own thread. Urgent ones overtake others, but do not starve them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent: deque[_Job] = deque()
        self._patient: deque[_Job] = deque()
        self._in_a_row = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], _T], *, urgent: bool = False) -> _T:
        """Have a job done and wait for its result, or for what it raises."""
        future: Future[_T] = Future()

        def do() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # whatever it is, it belongs to the caller
                future.set_exception(error)

        with self._changed:
            if self._stopping:
                raise RuntimeError("the worker has stopped")
            (self._urgent if urgent else self._patient).append(do)
            self._changed.notify()
        return future.result()

    def stop(self) -> None:
        """Do what is waiting, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> _Job | None:
        with self._changed:
            while not (self._urgent or self._patient):
                if self._stopping:
                    return None
                self._changed.wait()
            if self._urgent and (not self._patient or self._in_a_row < URGENT_IN_A_ROW):
                self._in_a_row += 1
                return self._urgent.popleft()
            self._in_a_row = 0
            return self._patient.popleft()


IDLE_SECONDS = 60.0
#: How long to wait for a predecessor that is closing.
PREDECESSOR_SECONDS = 15.0
#: Writes are flushed when there were no more of them for so long.
FLUSH_SECONDS = 3.0
_TICK = 0.25
_LOG_BYTES = 1_000_000
_logger = logging.getLogger("store.daemon.server")


class Operations:
    """What clients can ask for, by the name of ``Request.operation``; each runs in the engine's thread."""

    #: Those that may overtake writes, because they are short and somebody is waiting.
    URGENT = frozenset(("open", "search", "facet", "count", "scroll"))
    WRITES = frozenset(("upsert", "delete_document"))

    def __init__(self, embedded: Embedded) -> None:
        self.embedded = embedded

    def open(self, schema: Schema | None, *, create: bool) -> Schema:
        return self.embedded.open(schema, create=create).schema

    def reset(self, schema: Schema, *, keep_damaged: bool) -> Schema:
        return self.embedded.reset(schema, keep_damaged=keep_damaged).schema

    def delete(self, _schema: Schema | None, *, keep_damaged: bool) -> None:
        self.embedded.delete(keep_damaged=keep_damaged)

    def stage(self, schema: Schema) -> Schema:
        return self.embedded.stage(schema).schema

    def switch(self, schema: Schema) -> None:
        self.embedded.switch(schema)

    def sweep(self, _schema: Schema | None) -> None:
        self.embedded.sweep()

    def upsert(self, schema: Schema, *, points: Points) -> None:
        self.embedded.find(schema).upsert_points(points)

    def delete_document(self, schema: Schema, *, document_id: str, except_version: str | None) -> None:
        self.embedded.find(schema).delete_document(document_id, except_version=except_version)

    def search(self, schema: Schema, *, query: Query) -> Any:
        return self.embedded.find(schema).search(query)

    def facet(self, schema: Schema, *, field: FacetField, filter: Filter) -> Any:
        return self.embedded.find(schema).facet(field, filter)

    def count(self, schema: Schema, *, filter: Filter) -> Any:
        return self.embedded.find(schema).count(filter)

    def scroll(self, schema: Schema, *, filter: Filter, limit: int, offset: int) -> Any:
        return self.embedded.find(schema).scroll(filter, limit=limit, offset=offset)

    def export_page(self, schema: Schema, *, start: str | None, size: int) -> Any:
        return self.embedded.find(schema).export_page(start, size)

    def flush(self, schema: Schema) -> None:
        self.embedded.find(schema).flush()


class Owner:
    """Serves one data folder until nobody needs it.

    Args:
        files: where its things are; the caller holds the lock and keeps it until after ``serve``.
        embedded: the store.
        idle_seconds: how long to stay without clients.
    """

    def __init__(self, files: OwnerFiles, embedded: Embedded, idle_seconds: float) -> None:
        self._files = files
        self._operations = Operations(embedded)
        self._idle_seconds = idle_seconds
        self._worker = Worker()
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._clients = 0
        self._last_seen = time.monotonic()
        self._last_write: float | None = None
        self._lock_file = files.lock.stat().st_ino
        self._address = socket_path(files.data)
        self._bind()

    def _bind(self) -> None:
        self._listener = listen(self._address)
        self._socket_file = self._address.stat().st_ino
        self._key = publish(self._files, self._address)

    def serve(self) -> None:
        """Serve until idle, told to stop, or robbed of the data folder; leave everything flushed."""
        try:
            while not self._stopping.is_set() and not self._is_idle() and self._owns_folder():
                self._rebind_if_lost()
                self._flush_if_quiet()
                if select.select([self._listener], [], [], _TICK)[0]:
                    peer, _ = self._listener.accept()
                    threading.Thread(target=self._welcome, args=(peer,), daemon=True).start()
        finally:
            # In this order: whoever comes now finds nobody, and waits for the lock.
            self._listener.close()
            if self._owns_folder():
                self._address.unlink(missing_ok=True)
            self._worker.stop()

    def stop(self) -> None:
        """Make ``serve`` return soon."""
        self._stopping.set()

    def _is_idle(self) -> bool:
        with self._changing:
            return not self._clients and time.monotonic() - self._last_seen > self._idle_seconds

    def _owns_folder(self) -> bool:
        """Whether the lock file is still the one we hold: the data folder may have been removed."""
        try:
            return self._files.lock.stat().st_ino == self._lock_file
        except OSError:
            return False

    def _rebind_if_lost(self) -> None:
        """Listen anew if somebody tidied our socket or address away."""
        try:
            lost = self._address.stat().st_ino != self._socket_file or not self._files.address.exists()
        except FileNotFoundError:
            lost = True
        if lost:
            _logger.warning("the socket is gone; listening anew")
            self._listener.close()
            self._bind()

    def _flush_if_quiet(self) -> None:
        quiet_since = self._last_write
        if quiet_since is not None and time.monotonic() - quiet_since > FLUSH_SECONDS:
            self._last_write = None
            try:
                self._worker.run(self._operations.embedded.flush)
            except StoreError as error:
                self._give_up(error)

    def _welcome(self, peer: socket.socket) -> None:
        """Serve one client, in its own thread, until it leaves or dies."""
        try:
            connection = accept_peer(peer, self._key)
        except CONNECTION_ERRORS as error:
            _logger.warning("refused a client: %s", type(error).__name__)
            return
        with self._changing:
            self._clients += 1
        try:
            with connection:
                connection.send((PROTOCOL, os.getpid()))
                while self._answer(connection, connection.recv()):
                    pass
        except CONNECTION_ERRORS:
            pass  # it left, or it died in the middle of a message; either way it is gone
        except Exception as error:
            _logger.error("dropped a client that made no sense: %s", type(error).__name__)
        finally:
            with self._changing:
                self._clients -= 1
                self._last_seen = time.monotonic()

    def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; False when the connection is over."""
        if request.operation == "retire":
            connection.send(self._retire())
            return False
        try:
            connection.send(self._perform(request))
        except StoreError as error:
            if isinstance(error, StoreDamaged):
                self._give_up(error)
            connection.send(error)
        except CONNECTION_ERRORS:
            raise
        except Exception as error:
            # A fault of ours; asking again would not help. Its message could hold text, its trace does not.
            trace = "".join(traceback.format_tb(error.__traceback__))
            _logger.error("%s failed: %s\n%s", request.operation, type(error).__name__, trace)
            connection.send(StoreError(f"The store failed at {request.operation} ({type(error).__name__})"))
        return True

    def _perform(self, request: Request) -> tuple[Any]:
        operation: Callable[..., Any] = getattr(self._operations, request.operation)
        urgent = request.operation in Operations.URGENT
        result = self._worker.run(lambda: operation(request.schema, **request.arguments), urgent=urgent)
        if request.operation in Operations.WRITES:
            self._last_write = time.monotonic()
        return (result,)

    def _give_up(self, error: StoreError) -> None:
        """Drop an engine that failed: the next request opens the files anew and is told how they are."""
        _logger.error("%s: %s", type(error).__name__, error.message)
        self._worker.run(self._operations.embedded.discard)

    def _retire(self) -> StoreError | tuple[None]:
        """Make way for another version of the program, unless somebody else is being served."""
        with self._changing:
            others = self._clients - 1
        if others:
            return StoreBusy(
                "Another version of this program is using the store", hint="Stop it, then try again."
            )
        self.stop()
        return (None,)


def main(arguments: list[str] | None = None) -> int:
    """Own the store of a data folder; 0 when done, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="store.daemon.server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--status-fd", type=int, help="where to say that it is ready, or why not")
    options = parser.parse_args(arguments)
    files = OwnerFiles(options.data)
    os.umask(0o077)
    _log_to(files.log)
    try:
        idle_seconds = float(os.environ.get("LUSIFER_OWNER_IDLE_SECONDS") or IDLE_SECONDS)
        lock = FileLock(files.lock)
        lock.acquire(seconds=PREDECESSOR_SECONDS)
        embedded = Embedded(options.data, lock)
        owner = Owner(files, embedded, idle_seconds)
    except (StoreError, OSError, ValueError) as error:
        _logger.error("cannot start: %s", error)
        _report(options.status_fd, f"error {error}")
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: owner.stop())
    _logger.info("ready, pid %d, protocol %s", os.getpid(), PROTOCOL)
    _report(options.status_fd, "ready")
    try:
        owner.serve()
        embedded.close()
    except StoreError as error:
        _logger.error("ended badly: %s", error.message)
        return 1
    _logger.info("ended")
    return 0


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _report(descriptor: int | None, line: str) -> None:
    if descriptor is not None:
        with suppress(OSError):  # whoever started us is gone; others may come
            os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
