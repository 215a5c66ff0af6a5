"""The ``lusifer`` command: all sub-commands in one place, errors as one line with a remedy.

Imports no model, web or store library: each command brings its own when it runs, so that ``lusifer --help``
and ``lusifer status`` are quick. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from app.cli.calibrate import calibrate, open_bm25
from app.cli.embed import embed
from app.cli.search import search
from app.cli.serve import serve, serve_embeddings
from app.problems import AppError, RequestError
from indexer.cli import index, remove, status
from indexer.errors import IndexerError, UsageError
from lusifer.errors import LusiferError
from lusifer.evaluate.cli import make_app as evaluate_commands
from lusifer.train.cli import app as train
from store.errors import StoreError

cli = typer.Typer(
    name="lusifer",
    help="Search documents in fourteen languages by meaning: ask in one, find passages in all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from app.version import program_version

        typer.echo(f"lusifer-search {program_version()}")
        raise typer.Exit


@cli.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Search documents in fourteen languages by meaning: ask in one, find passages in all."""


for _command in (index, search, serve, serve_embeddings, status, remove, embed):
    cli.command()(_command)
# Fusion is the search's and scores are the application's, so the model's own commands cannot bring this one.
train.command()(calibrate)
for _name, _group in (("train", train), ("evaluate", evaluate_commands({"bm25": open_bm25}))):
    cli.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line; the entry point of the package."""
    warnings.showwarning = _warn
    try:
        cli(prog_name="lusifer")
    except (AppError, StoreError, LusiferError, IndexerError) as error:
        _explain(error.message, error.hint)
        sys.exit(2 if isinstance(error, RequestError | UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as in `lusifer search … | head -1`. Python would complain again
        # when it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _warn(message: Warning | str, *_where: object, **_how: object) -> None:
    """Show a warning as one line, without the place in the code it comes from."""
    sys.stderr.write(f"warning: {message}\n")


def _explain(message: str, hint: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    if hint:
        sys.stderr.write(f"hint: {hint}\n")


if __name__ == "__main__":
    main()
