"""The commands ``lusifer index``, ``lusifer status`` and ``lusifer remove``.

Turns arguments into calls and outcomes into text; ``app.cli.main`` prints errors and gives the exit code.
Files that cannot be read are an outcome, not an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from indexer.report import Report

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder of the index.", show_default="LUSIFER_DATA")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Files and folders; those indexed before if not given."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Index everything again, beside the present index, which is searched meanwhile."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name, folder or service of the model; with another one than before everything is indexed "
            "again, beside the present index.",
            show_default="the index's, or lusifer-mini",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda, mps.")] = None,
) -> None:
    """Bring documents into the index; only what is new or changed is read and embedded."""
    from common.settings import load_settings
    from indexer.pipeline import Indexer, Options
    from indexer.report import show_progress
    from indexer.settings import Settings

    settings = load_settings(Settings, data=data, model=model, device=device)
    options = Options(max_bytes=int(settings.max_file_megabytes * 1e6), exclude=settings.data)
    try:
        with _sole_indexer(settings.data), show_progress(quiet=as_json) as observer:
            indexer = Indexer(settings.location(), settings.choose_model, options, observer)
            report = indexer.run(paths or (), rebuild=rebuild)
    except KeyboardInterrupt as error:
        typer.echo("interrupted; what was stored is kept, run again to continue", err=True)
        raise typer.Exit(130) from error
    _print_report(report, as_json=as_json)


def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say what is indexed, in which languages, and which files are not and why."""
    from common.settings import load_settings
    from indexer.settings import Settings
    from indexer.status import describe, take_status

    settings = load_settings(Settings, data=data)
    found = take_status(settings.location(), str(settings.data))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        typer.echo("\n".join(describe(found)))


def remove(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Indexed files and folders.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take documents out of the index; their files are left alone."""
    from common.settings import load_settings
    from indexer.pipeline import Indexer
    from indexer.settings import Settings

    settings = load_settings(Settings, data=data)
    with _sole_indexer(settings.data):
        removed = Indexer(settings.location(), settings.choose_model).remove(paths)
    typer.echo(json.dumps({"removed": removed}) if as_json else f"{removed} documents removed from the index")


@contextmanager
def _sole_indexer(data: Path) -> Iterator[None]:
    """Hold the data folder's lock, which the kernel releases when its holder dies.

    Raises:
        AlreadyRunning: another indexer holds it.
        IndexerError: the data folder cannot be written.
    """
    from common.files import FileLock, LockHeld
    from indexer.errors import AlreadyRunning, IndexerError

    lock = FileLock(data / "indexer.lock")
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except OSError as error:
        raise IndexerError(
            f"the data folder {data} cannot be written: {error.strerror}", hint="choose another with --data"
        ) from error
    except LockHeld as error:
        raise AlreadyRunning(
            f"another indexer (process {lock.holder or 'unknown'}) works on the data folder {data}",
            hint="wait until it has finished, or use another folder with --data",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    from indexer.report import describe_problems

    for line in describe_problems(report.skipped, report.failed):
        typer.echo(line)
    typer.echo(report.summarise())
