"""A store that lives in another process: the embedded store as everybody but its owner sees it.

Texts are analysed here, so that the owner stays free to answer. Every operation may be done twice without
harm, so when the owner dies the same request goes to its successor. Knows the protocol. Must not know the
engine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from store.base import Answer, Chunk, FacetField, Filter, Query, Schema, Vector
from store.collection import BATCH, check_query
from store.engine import EVERYTHING
from store.errors import StoreError, StoreUnavailable
from store.launch import reach
from store.points import prepare
from store.protocol import CONNECTION_ERRORS, OwnerFiles, Request

#: How often a request is sent while owners die under it.
ATTEMPTS = 5
#: How long an answer may take: opening a large store after a crash replays its log.
ANSWER_SECONDS = 600.0
_PAUSE = 0.05


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
                time.sleep(_PAUSE * attempt)
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
