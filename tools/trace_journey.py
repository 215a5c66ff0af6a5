"""Trace which of our files and functions two real commands enter, over all their processes.

    python tools/trace_journey.py [--output benchmarks/results/journeys.txt] [--functions]

The journeys: ``lusifer index ONE.md`` into an empty data folder, and one ``GET /?q=…`` of a ready server.
A hook in ``sitecustomize`` puts ``sys.setprofile`` into every process the commands start, the daemon too.
What runs while a module is imported is not counted: a table built at import is no step of a journey.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "common", "indexer", "lusifer", "search", "store")
DOCUMENT = ROOT / "samples" / "health" / "hand-washing.md"
QUESTION = "How should I wash my hands?"

# Runs in every process, before the program. SIGUSR2 starts a new section of the trace.
HOOK = """
import os, signal, sys, threading

ROOT, FOLDER = os.environ["TRACE_ROOT"] + os.sep, os.environ["TRACE_FOLDER"]
OURS = tuple(ROOT + name + os.sep for name in os.environ["TRACE_PACKAGES"].split())
seen, section = set(), 0


def is_importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(OURS):
            return frame.f_globals.get("__name__") != "__main__"
        frame = frame.f_back
    return False


def note(frame, event, argument):
    code = frame.f_code
    if event != "call" or code in seen or not code.co_filename.startswith(OURS):
        return
    if not code.co_flags & 1 or is_importing(frame):  # 1: a function, no body of a class or module
        return
    seen.add(code)
    line = f"{code.co_filename[len(ROOT):]}\\t{code.co_qualname}\\n"
    with open(f"{FOLDER}/{os.getpid()}.{section}", "a") as file:
        file.write(line)


def begin(*_):
    global section
    seen.clear()
    section += 1
    open(f"{FOLDER}/{os.getpid()}.{section}", "a").close()


signal.signal(signal.SIGUSR2, begin)
with open(f"{FOLDER}/{os.getpid()}.argv", "w") as file:
    file.write(" ".join(sys.orig_argv))
threading.setprofile(note)
sys.setprofile(note)
"""


class Tracer:
    """Runs commands with the hook and reads what they noted."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes"
        self.notes.mkdir()
        hook = folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(hook), str(ROOT)]),
            "TRACE_ROOT": str(ROOT),
            "TRACE_FOLDER": str(self.notes),
            "TRACE_PACKAGES": " ".join(PACKAGES),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from app.cli.main import main; main()", *arguments]

    def run(self, *arguments: str) -> None:
        done = subprocess.run(self.command(*arguments), env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)

    def processes(self) -> list[int]:
        """The traced processes that are alive."""
        pids = sorted(int(path.stem) for path in self.notes.glob("*.argv"))
        return [pid for pid in pids if _is_alive(pid)]

    def begin_section(self, number: int) -> None:
        """Start a section in every living process; come back when all have."""
        for pid in self.processes():
            os.kill(pid, signal.SIGUSR2)
            _wait_for(lambda pid=pid: (self.notes / f"{pid}.{number}").exists() or not _is_alive(pid))

    def read(self, section: int) -> dict[str, list[tuple[str, str]]]:
        """For each role, the (file, function) pairs of a section."""
        roles: dict[str, list[tuple[str, str]]] = {}
        for path in sorted(self.notes.glob(f"*.{section}")):
            argv = (self.notes / f"{path.stem}.argv").read_text(encoding="utf-8")
            lines = path.read_text(encoding="utf-8").splitlines()
            if lines:
                role = roles.setdefault("daemon" if "store.daemon" in argv else "command", [])
                role.extend(tuple(line.split("\t")) for line in lines)  # type: ignore[misc]
        return roles

    def stop(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGTERM)


def trace_indexing(tracer: Tracer, data: Path) -> dict[str, list[tuple[str, str]]]:
    """One Markdown file into an empty folder."""
    tracer.run("index", str(DOCUMENT), "--data", str(data))
    return tracer.read(0)


def trace_query(tracer: Tracer, data: Path) -> list[dict[str, list[tuple[str, str]]]]:
    """The first page query of a ready server, and a later one."""
    with _server(tracer, data) as address:
        journeys = []
        for number in (1, 2):
            tracer.begin_section(number)
            urllib.request.urlopen(f"{address}/?q={urllib.parse.quote(QUESTION)}", timeout=60).read()  # noqa: S310
            time.sleep(0.5)  # the log's line and the daemon's last words come after the answer
            journeys.append(tracer.read(number))
        return journeys


@contextmanager
def _server(tracer: Tracer, data: Path) -> Iterator[str]:
    command = tracer.command("serve", "--data", str(data), "--port", "0")
    with subprocess.Popen(command, env=tracer.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise SystemExit("the server did not start")
        _wait_for(lambda: _is_ready(found[0]))
        yield found[0]
        process.terminate()


def _is_ready(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"{address}/readyz", timeout=60).status == 200  # noqa: S310
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_for(condition) -> None:  # noqa: ANN001
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited a minute for nothing")
        time.sleep(0.05)


def render(title: str, roles: dict[str, list[tuple[str, str]]], functions: bool) -> str:
    """A table of one journey: for each process its files with the number of functions entered."""
    pairs = {role: sorted(set(found)) for role, found in sorted(roles.items())}
    files = {file for found in pairs.values() for file, _ in found}
    lines = [
        title,
        f"  {len(files)} files, {sum(map(len, pairs.values()))} functions in {len(pairs)} processes",
    ]
    for role, found in pairs.items():
        counts = Counter(file for file, _ in found)
        lines.append(f"\n  {role}: {len(found)} functions in {len(counts)} files")
        for file, count in sorted(counts.items()):
            lines.append(f"    {count:4}  {file}")
            if functions:
                lines += [f"            {name}" for other, name in found if other == file]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    parser.add_argument("--functions", action="store_true", help="name the functions, not only the files")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="journey-"))
    tracer = Tracer(folder)
    try:
        indexing = trace_indexing(tracer, folder / "data")
        first, later = trace_query(tracer, folder / "data")
    finally:
        tracer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    tables = [
        render(
            f"lusifer index {DOCUMENT.relative_to(ROOT)}   (an empty data folder)",
            indexing,
            options.functions,
        ),
        render("GET /?q=…   (the first query of a ready server)", first, options.functions),
        render("GET /?q=…   (a later query)", later, options.functions),
    ]
    text = "python tools/trace_journey.py\n\n" + "\n".join(tables)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
