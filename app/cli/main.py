"""The ``lusifer`` command: all sub-commands in one place, and the one printer of errors.

Imports no model, web or store library: each command brings its own when it runs, so that ``lusifer --help``
and ``lusifer status`` are quick. Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.calibrate import calibrate
from app.cli.embed import embed
from app.cli.hints import remedy
from app.cli.search import search
from app.cli.serve import serve, serve_embeddings
from common.errors import HintedError
from common.settings import SettingsError
from indexer.cli import index, remove, status
from indexer.errors import UsageError
from indexer.report import printable
from lusifer.evaluate.cli import app as evaluate
from lusifer.evaluate.cli import selftest
from lusifer.train.cli import align, finetune, mini, small, toy
from search.errors import RequestError

if TYPE_CHECKING:
    from search.calibration.pools import Bm25

cli = typer.Typer(
    name="lusifer",
    help="Search documents in fourteen languages by meaning: ask in one, find passages in all.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train models.", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from app import program_version

        typer.echo(f"lusifer-search {program_version()}")
        raise typer.Exit


@cli.callback()
def _main(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Search documents in fourteen languages by meaning: ask in one, find passages in all."""
    # What ``lusifer evaluate`` can measure besides models.
    context.obj = {"bm25": _bm25}


def _bm25() -> Bm25:
    from search.calibration.pools import Bm25

    return Bm25()


for _command in (index, search, serve, serve_embeddings, status, remove, embed, selftest):
    cli.command()(_command)
for _training in (mini, small, align, finetune, toy, calibrate):
    train.command()(_training)
cli.add_typer(train, name="train")
cli.add_typer(evaluate, name="evaluate")


def main() -> None:
    """Run the command line; the entry point of the package."""
    warnings.showwarning = _warn
    try:
        cli(prog_name="lusifer")
    except HintedError as error:
        sys.stderr.write(f"error: {printable(error.message)}\n")
        if hint := remedy(error):
            sys.stderr.write(f"hint: {printable(hint)}\n")
        # The store's refusal is told by its name: its library is not imported here.
        is_usage = isinstance(error, SettingsError | RequestError | UsageError)
        sys.exit(2 if is_usage or type(error).__name__ == "InvalidRequest" else 1)
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


if __name__ == "__main__":
    main()
