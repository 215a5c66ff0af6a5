"""The daemon: started once, found by all, killed without harm, gone when idle."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from pathlib import Path

import pytest
from store_corpus import (
    daemon_pid,
    end_daemon,
    make_chunks,
    make_vectors,
    open_first,
    wait_until_free,
)

import store.daemon.client
import store.daemon.protocol
from common.files import FileLock
from store import (
    DiskFull,
    Filter,
    InvalidRequest,
    Query,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreUnavailable,
    open_location,
)
from store.daemon.client import RemoteStore
from store.daemon.protocol import DaemonFiles, connect, receive, send

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds

CHUNKS = make_chunks(10)
VECTORS = make_vectors(len(CHUNKS))

_CLIENT = """
import sys, pathlib
sys.path[:0] = {path!r}
from store import open_location
from store_corpus import *
store = open_first(open_location(pathlib.Path({data!r})))
"""


def client_process(data: Path, code: str) -> subprocess.Popen[str]:
    """Run code in a process of its own that has opened the store."""
    path = [str(Path(__file__).parent), str(Path(store.__file__).parent.parent)]
    script = _CLIENT.format(path=path, data=str(data)) + code
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def opened(data: Path) -> RemoteStore:
    found = open_first(open_location(data))
    assert isinstance(found, RemoteStore)
    return found


def socket_of(data: Path) -> Path:
    return Path(json.loads(DaemonFiles(data).address.read_text())["address"])


def is_reachable(data: Path) -> bool:
    try:
        connect(DaemonFiles(data)).close()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def written_points(opened: RemoteStore) -> int:
    (path,) = Path(opened.daemon.data).glob(f"{opened.info.name}/store/store.json")
    return int(json.loads(path.read_text())["points"])


def starts(data: Path) -> int:
    return DaemonFiles(data).log.read_text().count(" ready, ")


@pytest.mark.slow
def test_ten_processes_at_once_start_one_daemon(data: Path) -> None:
    code = (
        "chunk = make_chunks(1, 1, first={n})\nstore.upsert(chunk, make_vectors(1))\nprint(store.daemon.pid)"
    )
    clients = [client_process(data, code.format(n=n)) for n in range(10)]
    results = [client.communicate(timeout=120) for client in clients]
    assert [error for _, error in results] == [""] * 10
    assert {int(output) for output, _ in results} == {daemon_pid(data)}
    assert starts(data) == 1
    with_all = opened(data)
    assert with_all.count() == 10
    with_all.close()


def test_threads_share_a_store(data: Path) -> None:
    shared = opened(data)
    shared.upsert(CHUNKS, VECTORS)

    def work(number: int) -> int:
        if number % 4 == 0:
            shared.upsert(CHUNKS, VECTORS)
        return shared.search(Query(VECTORS[number], "library")).total

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(30))) == {10}
    shared.close()


@pytest.mark.slow
def test_killed_daemons_lose_nothing_acknowledged(data: Path) -> None:
    """Five kills at odd moments while three clients write; what was acknowledged is there afterwards."""
    writing = opened(data)
    stop = threading.Event()

    def write(lane: int) -> list[str]:
        done: list[str] = []
        number = lane
        while not stop.is_set():
            chunks = make_chunks(4, 3, first=number)
            writing.upsert(chunks, make_vectors(12))
            done += [chunk.id for chunk in chunks]
            writing.delete_document(chunks[0].document_id)
            done = done[:-12] + done[-9:]
            number += 40
            if number % 3 == 0:
                writing.flush()
        return done

    with ThreadPoolExecutor(3) as pool:
        lanes = [pool.submit(write, lane * 10) for lane in range(3)]
        for pause in (0.31, 0.07, 0.53, 0.0, 0.19):
            time.sleep(pause)
            os.kill(writing.daemon.pid, signal.SIGKILL)
            before = writing.daemon.pid
            deadline = time.monotonic() + 60
            while writing.daemon.pid == before and time.monotonic() < deadline:
                time.sleep(0.02)
        time.sleep(0.2)
        stop.set()
        acknowledged = {id for lane in lanes for id in lane.result(timeout=120)}
    os.kill(writing.daemon.pid, signal.SIGKILL)
    found = {chunk.id: chunk for chunk in writing.scroll(limit=1_000_000)}
    assert set(found) == acknowledged
    assert starts(data) == 7
    writing.close()


@pytest.mark.slow
def test_killed_clients_do_not_disturb_others(data: Path) -> None:
    steady = opened(data)
    steady.upsert(CHUNKS, VECTORS)
    busy = """
print("on", flush=True)
while True:
    store.upsert(make_chunks(50, first=100), make_vectors(150, 50))
"""
    for pause in (0.0, 0.11, 0.23):
        client = client_process(data, busy)
        assert client.stdout is not None
        assert client.stdout.readline() == "on\n"
        time.sleep(pause)
        client.kill()
        client.communicate(timeout=30)
        assert steady.search(Query(VECTORS[0], "")).documents[0].chunks[0].chunk == CHUNKS[0]
    assert steady.count(Filter(document_ids=(CHUNKS[0].document_id,))) == 3
    assert starts(data) == 1
    steady.close()


def test_client_that_dies_inside_a_message(data: Path) -> None:
    steady = opened(data)
    half = connect(DaemonFiles(data))
    receive(half)
    os.write(half.fileno(), b"\x00\x10\x00\x00" + b"x" * 100)  # promises a megabyte
    assert steady.count() == 0
    half.close()
    stalled = connect(DaemonFiles(data))
    os.write(stalled.fileno(), b"\x00\x10")
    assert steady.count() == 0
    stalled.close()
    assert starts(data) == 1
    steady.close()


def test_client_that_talks_nonsense(data: Path) -> None:
    steady = opened(data)
    odd = connect(DaemonFiles(data))
    receive(odd)
    send(odd, ["nonsense"])
    with pytest.raises((EOFError, OSError)):
        odd.recv()
    odd.close()
    assert steady.count() == 0
    log = DaemonFiles(data).log
    deadline = time.monotonic() + 10  # the daemon hangs up first and writes it down then
    while "made no sense" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "made no sense" in log.read_text()
    steady.close()


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["BOMB"],)


@pytest.fixture
def bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A pickle that makes a folder when it is read with trust; in the end there must be none."""
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    yield pickle.dumps(_Bomb())
    assert not (tmp_path / "exploded").exists()


def test_strangers_are_refused_before_anything_is_read(data: Path, tmp_path: Path, bomb: bytes) -> None:
    steady = opened(data)
    content = json.loads(DaemonFiles(data).address.read_text())
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(content["address"])
        stranger.sendall(len(bomb).to_bytes(4, "big") + bomb)
        stranger.settimeout(10)
        received = b""
        while part := stranger.recv(1000):
            received += part
    assert b"#CHALLENGE#" in received
    assert b"#WELCOME#" not in received
    (tmp_path / "daemon.json").write_text(json.dumps(content | {"key": "00" * 32}))
    with pytest.raises((AuthenticationError, OSError, EOFError)):
        connect(DaemonFiles(tmp_path))
    assert steady.count() == 0
    steady.close()


def test_no_side_runs_code_of_the_other(data: Path, bomb: bytes) -> None:
    steady = opened(data)
    trusted = connect(DaemonFiles(data))
    receive(trusted)
    trusted.send_bytes(bomb)
    with pytest.raises((EOFError, OSError)):
        receive(trusted)
    near, far = multiprocessing.Pipe()
    far.send_bytes(bomb)
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        receive(near)
    assert steady.count() == 0
    steady.close()


@pytest.mark.parametrize("operation", ["_forget", "close", "__init__", "discard", "nonsense"])
def test_only_what_is_offered_is_done(data: Path, operation: str) -> None:
    steady = opened(data)
    for collection in (steady.info, None):
        with pytest.raises(InvalidRequest, match=operation):
            steady.daemon.call(operation, collection)
    assert steady.count() == 0
    steady.close()


@pytest.mark.parametrize(
    "value",
    [
        (None, True, 3, 2.5, "ö\ud800", b"x", [1], {"a": (1, 2)}),
        Query(VECTORS[0], "library", Filter(languages=("ko",), owner="x")),
        StoreDamaged("it is broken", hint="mend it"),
        DiskFull("full"),
        make_chunks(2),
    ],
)
def test_values_arrive_as_they_were_sent(value: object) -> None:
    near, far = multiprocessing.Pipe()
    send(near, value)
    found = receive(far)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_what_the_system_refuses_is_told_once(data: Path) -> None:
    steady = opened(data)
    end_daemon(data)
    state = data / steady.info.name / "store" / "unflushed"
    state.unlink(missing_ok=True)
    state.symlink_to(data / "nowhere" / "file")
    with pytest.raises(
        StoreUnavailable, match=r"failed at upsert_points \(No such file.*unflushed"
    ) as caught:
        steady.upsert(CHUNKS, VECTORS)
    assert caught.value.hint
    assert starts(data) == 2
    log = DaemonFiles(data).log.read_text()
    assert log.count("failed") == 1
    state.unlink()
    steady.upsert(CHUNKS, VECTORS)
    assert steady.count() == len(CHUNKS)
    steady.close()


def test_only_the_user_can_reach_the_daemon(data: Path) -> None:
    steady = opened(data)
    files = DaemonFiles(data)
    for path in (
        socket_of(data),
        socket_of(data).parent,
        files.address,
        files.lock,
        files.log,
        data / steady.info.name / "store" / "store.json",
    ):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    steady.close()


@pytest.mark.parametrize("name", ["long-" * 30, "ünïcödé 데이터 " * 6])
def test_the_socket_is_in_a_private_folder_whatever_the_data_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    if len(os.fsencode(runtime)) > 60:
        runtime = Path("/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    data = tmp_path / name
    steady = opened(data)
    address = socket_of(data)
    assert address.parent == runtime / f"lusifer-{os.getuid()}"
    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    steady.upsert(CHUNKS, VECTORS)
    assert steady.count() == len(CHUNKS)
    steady.close()
    end_daemon(data)
    assert not address.exists()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only place for sockets, with a short path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_a_folder_that_others_can_reach_is_passed_over(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = f"lusifer-{os.getuid()}"
    occupants = {
        "open": lambda path: (path.mkdir(), path.chmod(0o755)),
        "file": lambda path: path.write_text(""),
        "dangling": lambda path: path.symlink_to("nowhere"),
        "nowhere": lambda path: path.parent.rmdir(),
    }
    for name, occupy in occupants.items():
        place = runtime / name
        place.mkdir()
        occupy(place / usual)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
        found = store.daemon.protocol.socket_path(tmp_path)
        assert found.parent == runtime / usual, name
        assert store.daemon.protocol.is_private(found.parent)


def test_with_nowhere_usual_left_the_daemon_makes_a_private_folder(
    data: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.daemon.client, "SERVER", ["-c", _NOWHERE_USUAL])
    steady = opened(data)
    folder = socket_of(data).parent
    assert folder.parent == runtime
    assert store.daemon.protocol.is_private(folder)
    assert steady.count() == 0
    steady.close()
    end_daemon(data)
    assert not folder.exists()


_NOWHERE_USUAL = """
import store.daemon.protocol, store.daemon.server, sys
store.daemon.protocol.SHARED_FOLDER = "no/{}"
sys.exit(store.daemon.server.main())
"""


def test_clients_go_only_where_nobody_else_can(data: Path, runtime: Path) -> None:
    steady = opened(data)
    folder = socket_of(data).parent
    folder.chmod(0o777)
    with pytest.raises(AuthenticationError, match="not private"):
        connect(DaemonFiles(data))
    deadline = time.monotonic() + 30  # the daemon notices, and moves
    while socket_of(data).parent == folder and time.monotonic() < deadline:
        time.sleep(0.05)
    assert socket_of(data).parent != folder
    connect(DaemonFiles(data)).close()
    assert steady.count() == 0
    steady.close()


def test_clients_of_a_stopped_daemon_are_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = opened(data)
    monkeypatch.setattr(store.daemon.protocol, "CONNECT_SECONDS", 0.2)
    os.kill(steady.daemon.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=f"process {steady.daemon.pid}, does not answer") as caught:
            opened(data)
        assert caught.value.hint
    finally:
        os.kill(steady.daemon.pid, signal.SIGCONT)
    assert steady.count() == 0
    steady.close()


def test_those_who_never_introduce_themselves_keep_nobody_out(data: Path) -> None:
    steady = opened(data)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    for one in silent:
        one.connect(str(socket_of(data)))
    other = opened(data)
    assert other.daemon.pid == steady.daemon.pid
    assert other.count() == 0
    for one in silent:
        one.close()
    other.close()
    steady.close()


def test_idle_daemons_end_and_are_started_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSIFER_DAEMON_IDLE_SECONDS", "0.3")
    first = opened(data)
    first.upsert(CHUNKS, VECTORS)
    time.sleep(1.0)
    assert daemon_pid(data) == first.daemon.pid, "a connected client keeps it"
    first.close()
    wait_until_free(data)
    assert not socket_of(data).exists()
    assert written_points(first) == len(CHUNKS), "it flushed"
    second = opened(data)
    assert second.count() == len(CHUNKS)
    second.close()


def test_writes_are_flushed_when_it_is_quiet(data: Path) -> None:
    steady = opened(data)
    steady.upsert(CHUNKS, VECTORS)
    deadline = time.monotonic() + 30
    while written_points(steady) < len(CHUNKS) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert written_points(steady) == len(CHUNKS)
    steady.close()


@pytest.mark.parametrize("victim", ["socket", "address", "{}", "[1]", "[" * 200_000])
def test_daemon_listens_again_when_its_socket_or_address_is_tidied_away(data: Path, victim: str) -> None:
    steady = opened(data)
    if victim in ("socket", "address"):
        (socket_of(data) if victim == "socket" else DaemonFiles(data).address).unlink()
    else:
        DaemonFiles(data).address.write_text(victim)
    deadline = time.monotonic() + 30
    while not is_reachable(data) and time.monotonic() < deadline:
        time.sleep(0.05)
    other = opened(data)
    assert other.daemon.pid == steady.daemon.pid
    assert starts(data) == 1
    assert other.count() == steady.count() == 0
    steady.close()
    other.close()


def test_daemon_leaves_when_the_data_folder_is_gone(data: Path) -> None:
    import shutil

    steady = opened(data)
    pid = steady.daemon.pid
    shutil.rmtree(data)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    fresh = opened(data)
    assert fresh.count() == 0
    steady.close()
    fresh.close()


@pytest.mark.parametrize("seconds", ["soon", "-5", "nan", "inf"])
def test_a_time_that_is_none_is_told_by_its_name(
    data: Path, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("LUSIFER_DAEMON_IDLE_SECONDS", seconds)
    with pytest.raises(InvalidRequest, match=f"LUSIFER_DAEMON_IDLE_SECONDS is '{seconds}'") as caught:
        opened(data)
    assert "60" in caught.value.hint


def test_the_reason_is_told_when_it_cannot_start(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        store.daemon.client, "SERVER", ["-m", "store.daemon.server", "--idle-seconds", "soon"]
    )
    monkeypatch.delenv("LUSIFER_DAEMON_IDLE_SECONDS")
    with pytest.raises(StoreUnavailable, match="could not convert string to float: 'soon'") as caught:
        opened(data)
    assert str(DaemonFiles(data).log) in caught.value.hint


def test_a_daemon_that_ends_at_once_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.daemon.client, "SERVER", ["-c", "print('ready')"])
    with pytest.raises(StoreUnavailable, match="could not start: it came up, and could not be reached"):
        opened(data)


def test_the_reason_is_told_when_it_dies_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "regex.py").write_text("raise ImportError('regex is broken here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with pytest.raises(StoreUnavailable, match="regex is broken here"):
        opened(data)


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(data: Path) -> None:
    data.chmod(0o500)
    with pytest.raises(StoreUnavailable, match=str(data)):
        opened(data)
    data.chmod(0o700)


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        opened(tmp_path / "file")


def test_while_another_program_holds_the_lock_the_reason_is_told(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = FileLock(DaemonFiles(data).lock)
    lock.acquire()
    # The process that is started reads its own constant, so it is told through its command.
    monkeypatch.setattr(store.daemon.client, "SERVER", ["-c", _IMPATIENT])
    with pytest.raises(StoreUnavailable, match="Another program"):
        opened(data)
    lock.release()


_IMPATIENT = (
    "import store.daemon.server as server, sys; server.PREDECESSOR_SECONDS = 0.1; sys.exit(server.main())"
)


def test_daemon_of_another_version_makes_way(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = opened(data)
    old.upsert(CHUNKS, VECTORS)
    old.close()
    monkeypatch.setattr(store.daemon.client, "PROTOCOL", "next")
    monkeypatch.setattr(store.daemon.client, "SERVER", ["-c", _NEXT])
    new = opened(data)
    assert new.daemon.pid != old.daemon.pid
    assert new.count() == len(CHUNKS)
    monkeypatch.undo()
    with pytest.raises(StoreBusy, match="Another version"):
        opened(data)
    new.close()


_NEXT = "import store.daemon.server as s, sys; s.PROTOCOL = 'next'; sys.exit(s.main())"


def test_nothing_is_started_where_nothing_is_indexed(data: Path) -> None:
    location = open_location(data)
    with pytest.raises(StoreMissing, match="Nothing is indexed") as caught:
        location.open()
    assert caught.value.hint
    location.sweep()
    location.delete()
    assert list(data.iterdir()) == []


def test_closed_stores_say_so(data: Path) -> None:
    closed = opened(data)
    closed.close()
    with pytest.raises(StoreError, match="closed"):
        closed.count()


def test_no_text_reaches_the_log(data: Path) -> None:
    steady = opened(data)
    steady.upsert(CHUNKS, VECTORS)
    steady.search(Query(VECTORS[0], "kirjasto"))
    with pytest.raises(InvalidRequest):
        steady.scroll(limit=-1)
    steady.close()
    end_daemon(data)
    log = DaemonFiles(data).log.read_text()
    assert "ready" in log
    assert "kirjasto" not in log
    assert not any(chunk.text in log or chunk.path in log for chunk in CHUNKS)


def test_importing_the_store_loads_no_engine() -> None:
    code = (
        "import sys, store; heavy = {'qdrant_client', 'qdrant_edge', 'torch', 'transformers', 'grpc'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
