"""``lusifer search``: one question from the command line; needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import ModelOption
from indexer.cli import DataOption


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question, in any of the languages.")],
    data: DataOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result object of the API instead.")
    ] = False,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", "-l", help="Only passages in this language; repeat it for several."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Most documents shown.")] = 10,
    offset: Annotated[int, typer.Option(help="Documents to leave out first.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Only documents in this folder and below.", show_default=False)
    ] = None,
    model: ModelOption = None,
) -> None:
    """Find the documents that answer a question."""
    from app.settings import Settings
    from common.settings import load_settings
    from search.request import SearchRequest

    settings = load_settings(Settings, data=data, model=model)
    request = SearchRequest(
        text=query,
        languages=tuple(language or ()),
        folder=None if folder is None else folder.expanduser().absolute().resolve().as_posix(),
        limit=limit,
        offset=offset,
    )
    index = settings.search_index()
    try:
        result = index.search(request)
    finally:
        index.close()
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return

    from app.cli.terminal import print_result

    print_result(result)
