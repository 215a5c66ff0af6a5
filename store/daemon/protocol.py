"""How clients and the owner process of an embedded store find, trust and talk to each other.

The owner listens on a Unix socket that only its user can reach and authenticates both sides with a random
key in a file only that user can read; pickles are read after that alone. Knows files and sockets. Must not
know the engine.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import stat
import struct
import tempfile
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from store.errors import StoreUnavailable
from store.lexical.analyser import ANALYSER_VERSION
from store.types import Schema

#: Clients and owner must agree on this; raise it when messages or stored points change.
PROTOCOL = f"2/{ANALYSER_VERSION}"
#: Longest address of a Unix socket that every system accepts, with room to spare.
MAX_ADDRESS_BYTES = 100
#: How long either side may take to prove that it knows the key.
HANDSHAKE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class OwnerFiles:
    """Where the owner process of a data folder keeps its things."""

    data: Path

    @property
    def lock(self) -> Path:
        """Held by whoever has the engine open."""
        return self.data / "owner.lock"

    @property
    def starting(self) -> Path:
        """Held by the client that starts an owner."""
        return self.data / "owner.starting"

    @property
    def key(self) -> Path:
        return self.data / "owner.key"

    @property
    def address(self) -> Path:
        """Says where the owner listens."""
        return self.data / "owner.json"

    @property
    def log(self) -> Path:
        return self.data / "owner.log"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants.

    Attributes:
        operation: name of the owner's operation.
        schema: what the client takes the collection to be; None if it takes it as it is.
        arguments: the operation's arguments, by name.
    """

    operation: str
    schema: Schema | None
    arguments: dict[str, Any]


def socket_path(data: Path) -> Path:
    """Choose where the owner listens: in the data folder, or in a private folder if that path is too long.

    Raises:
        StoreUnavailable: the private folder belongs to someone else.
    """
    path = data / "owner.sock"
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        return path
    name = hashlib.blake2b(os.fsencode(data), digest_size=8).hexdigest()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    for parent in (Path(runtime), Path("/tmp")):  # noqa: S108 - private folder, checked below
        folder = parent / f"lusifer-{os.getuid()}"
        if len(os.fsencode(folder / f"{name}.sock")) <= MAX_ADDRESS_BYTES and parent.is_dir():
            break
    _make_private(folder)
    return folder / f"{name}.sock"


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.getuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise StoreUnavailable(
            f"{folder} is not a private folder of this user",
            hint="Remove it, or choose a data folder with a shorter path.",
        )


def publish(files: OwnerFiles, address: Path) -> bytes:
    """Write a new key and then the address, each at once and for this user's eyes only; return the key."""
    key = secrets.token_bytes(32)
    _write_private(files.key, key)
    content = {"address": str(address), "pid": os.getpid(), "protocol": PROTOCOL}
    _write_private(files.address, json.dumps(content).encode())
    return key


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def listen(address: Path) -> socket.socket:
    """Listen at an address that nobody else can be using: the caller holds the lock."""
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(address))
        finally:
            os.umask(before)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def accept_peer(peer: socket.socket, key: bytes) -> Connection:
    """Make a connection of a socket whose other end knows the key.

    Raises:
        AuthenticationError, OSError, EOFError: it does not, or it took too long; the socket is closed.
    """
    return _authenticate(peer, key, asking_first=True)


def connect(files: OwnerFiles) -> Connection:
    """Connect to the owner that has published its address.

    Raises:
        AuthenticationError, OSError, EOFError, ValueError: there is none, or it does not know the key.
    """
    address = json.loads(files.address.read_bytes())["address"]
    key = files.key.read_bytes()
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.connect(address)
    except BaseException:
        peer.close()
        raise
    return _authenticate(peer, key, asking_first=False)


def _authenticate(peer: socket.socket, key: bytes, *, asking_first: bool) -> Connection:
    _set_timeout(peer, HANDSHAKE_SECONDS)
    # The connection shares the socket's settings through its file descriptor.
    connection = Connection(os.dup(peer.fileno()))
    try:
        if asking_first:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
        else:
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
        _set_timeout(peer, 0.0)
    except BaseException:
        connection.close()
        raise
    finally:
        peer.close()
    return connection


def _set_timeout(peer: socket.socket, seconds: float) -> None:
    """Limit how long a read or write may wait; ``settimeout`` would make the descriptor non-blocking."""
    value = struct.pack("ll", int(seconds), 0)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


#: What goes wrong when the other side is not there, not trusted, or dies.
CONNECTION_ERRORS = (OSError, EOFError, AuthenticationError)
