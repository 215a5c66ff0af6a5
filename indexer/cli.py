"""The commands ``lusifer index``, ``lusifer status`` and ``lusifer remove``.

Turns arguments into calls and outcomes into text; exit codes are 0, 1 (error), 2 (usage), 130 (interrupted).
Files that cannot be read are an outcome, not an error. Must not hold any logic of indexing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexer.errors import IndexerError, ManifestDamaged, UsageError
from indexer.report import Report, printable
from lusifer.errors import LusiferError
from store.errors import StoreError, StoreMissing

if TYPE_CHECKING:
    from indexer.manifest import Manifest

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder of the index.", envvar="LUSIFER_DATA", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@contextmanager
def report_errors() -> Iterator[None]:
    """End the command with a message and an exit code where the libraries raise what they are allowed to."""
    try:
        yield
    except (IndexerError, LusiferError, StoreError) as error:
        typer.echo(f"error: {printable(error.message)}", err=True)
        if error.hint:
            typer.echo(f"hint: {printable(error.hint)}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    except KeyboardInterrupt as error:
        typer.echo("interrupted; what was stored is kept, run again to continue", err=True)
        raise typer.Exit(130) from error


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Files and folders; those indexed before if not given."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Throw the index away and make it anew from all its paths.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name, folder or service of the model; another one than before makes the index anew, beside "
            "the one there is.",
            show_default="the index's, or lusifer-mini",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda, mps.")] = None,
) -> None:
    """Bring documents into the index; only what is new or changed is read and embedded."""
    with report_errors():
        from indexer.lock import hold_lock
        from indexer.pipeline import Indexer, Options
        from indexer.progress import show_progress
        from indexer.wiring import choose_paths, load_settings, make_backends

        settings = load_settings(data=data, model=model, device=device)
        with (
            hold_lock(settings.data),
            _open_manifest(settings.data, anew=rebuild) as manifest,
            show_progress(quiet=as_json) as observer,
        ):
            wanted, missing = choose_paths(paths or [], manifest.roots(), everything=rebuild or not paths)
            options = Options(max_bytes=int(settings.max_file_megabytes * 1e6), exclude=settings.data)
            backends = make_backends(settings, manifest.facts().get("model", ""))
            indexer = Indexer(manifest, backends, options, observer)
            report = indexer.rebuild(wanted) if rebuild else indexer.run(wanted)
        report.skipped += missing
        _print_report(report, as_json=as_json)


def status(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say what is indexed, in which languages, and which files are not and why."""
    with report_errors():
        from indexer.manifest import Manifest
        from indexer.status import describe, take_status
        from indexer.wiring import load_settings, make_backends

        settings = load_settings(data=data)
        if not Manifest.exists(settings.data):
            raise StoreMissing(
                f"nothing is indexed in {settings.data}", hint="index a folder: lusifer index PATH"
            )
        with Manifest.open(settings.data) as manifest:
            found = take_status(settings.data, manifest, make_backends(settings).open_store)
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
    with report_errors():
        from indexer.lock import hold_lock
        from indexer.manifest import Manifest
        from indexer.pipeline import Indexer
        from indexer.wiring import load_settings, make_backends

        settings = load_settings(data=data)
        if not Manifest.exists(settings.data):
            raise StoreMissing(
                f"nothing is indexed in {settings.data}", hint="index a folder: lusifer index PATH"
            )
        with hold_lock(settings.data), Manifest.open(settings.data) as manifest:
            indexer = Indexer(manifest, make_backends(settings))
            removed = sum(indexer.remove(path) for path in paths)
        typer.echo(
            json.dumps({"removed": removed}) if as_json else f"{removed} documents removed from the index"
        )


def _open_manifest(data: Path, *, anew: bool) -> Manifest:
    """Open the manifest; a damaged one is no obstacle to making the index anew."""
    from indexer.manifest import Manifest

    try:
        return Manifest.open(data)
    except ManifestDamaged:
        if not anew:
            raise
        Manifest.delete(data)
        return Manifest.open(data)


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    from indexer.status import describe_problems

    for line in describe_problems(report.skipped, report.failed):
        typer.echo(line)
    typer.echo(report.summarise())
