"""``lusifer search``: one question from the command line; needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DataOption, ModelOption, make_settings


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
    settings = make_settings(data=data, model=model)

    from search.index import limits_of, load_index_model, open_index
    from search.request import SearchRequest, check_request
    from search.service import search_once

    request = SearchRequest(
        text=query,
        languages=tuple(language or ()),
        folder=None if folder is None else folder.expanduser().absolute().resolve().as_posix(),
        limit=limit,
        offset=offset,
    )
    limits = limits_of(settings)
    check_request(request, limits)  # before a model is loaded and a store opened for nothing
    embedder = load_index_model(settings)
    store = open_index(settings, embedder)
    try:
        result = search_once(store, embedder, request, candidates=settings.candidates, limits=limits)
    finally:
        store.close()
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return

    from app.cli.terminal import print_result

    print_result(result)
