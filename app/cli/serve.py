"""``lusifer serve-embeddings``: the model alone, for indexers and applications on other machines."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataOption, ModelOption, make_settings

# ``lusifer serve``: the search page and the API.


if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.settings import Settings


def serve(
    data: DataOption = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; any but loopback needs LUSIFER_API_KEY.", show_default="127.0.0.1"
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", help="text or json.", metavar="FORMAT", show_default="text")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Serve the search page and the JSON API."""
    settings = make_settings(data=data, host=host, port=port, log_format=log_format, model=model)
    run_server(settings)


def run_server(settings: Settings) -> None:
    """Serve until interrupted.

    The model is loaded before anything is served, so that a wrong name ends the command with a clear message.

    Raises:
        ConfigurationError: the address may not or cannot be listened on.
        LusiferError: the model cannot be loaded.
    """
    from app.log import configure_logging
    from app.main import create_app
    from app.security import check_binding
    from search.index import load_index_model

    check_binding(settings)
    configure_logging(settings.log_format)
    model = load_index_model(settings)
    run_app(create_app(settings, load=lambda _: model), settings)


def run_app(app: FastAPI, settings: Settings) -> None:
    """Serve an application until interrupted.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    import uvicorn

    listener = _listen(settings)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=10
    )
    _announce(settings, listener)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    """Bind the socket here: the server itself would end the process with a traceback.

    The protocol is named because asyncio switches off Nagle's algorithm only where it is, and an answer would
    take 40 ms longer with it.
    """
    from app.problems import ConfigurationError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host,
            settings.port,
            type=socket.SOCK_STREAM,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_PASSIVE,
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}",
            hint="Choose another with --port, or 0 for any free one.",
        ) from None
    return listener


def _announce(settings: Settings, listener: socket.socket) -> None:
    import logging

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logging.getLogger("lusifer.serve").info("serving at http://%s:%d", host, listener.getsockname()[1])


def serve_embeddings(
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; any but loopback needs LUSIFER_API_KEY.", show_default="127.0.0.1"
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", help="text or json.", metavar="FORMAT", show_default="text")
    ] = None,
    model: ModelOption = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda, mps.")] = None,
) -> None:
    """Serve a model's vectors at /v1/embeddings, without an index."""
    settings = make_settings(host=host, port=port, log_format=log_format, model=model, device=device)

    import warnings

    from app.embeddings.main import create_embedding_app
    from app.log import configure_logging
    from app.security import check_binding
    from lusifer import TruncationWarning
    from search.index import load_model

    check_binding(settings)  # before a large model is loaded for nothing
    configure_logging(settings.log_format)
    # Each answer says which texts were cut; whose they are is not for the log.
    warnings.simplefilter("ignore", TruncationWarning)
    run_app(create_embedding_app(settings, load_model(settings)), settings)
