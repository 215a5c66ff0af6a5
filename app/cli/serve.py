"""``lusifer serve``: the search page and the API; ``lusifer serve-embeddings``: a model for elsewhere."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import DeviceOption, ModelOption
from common.errors import HintedError
from indexer.cli import DataOption

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.settings import Settings

HostOption = Annotated[
    str | None,
    typer.Option(
        help="Address to listen on; any but loopback needs LUSIFER_API_KEY.", show_default="127.0.0.1"
    ),
]
PortOption = Annotated[
    int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000")
]
LogFormatOption = Annotated[
    str | None, typer.Option("--log-format", help="text or json.", metavar="FORMAT", show_default="text")
]


def serve(
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    log_format: LogFormatOption = None,
    model: ModelOption = None,
) -> None:
    """Serve the search page and the JSON API."""
    from app.log import configure_logging
    from app.security import check_binding
    from app.settings import Settings
    from common.settings import load_settings

    settings = load_settings(Settings, data=data, host=host, port=port, log_format=log_format, model=model)
    check_binding(settings)  # before much is loaded for nothing
    configure_logging(settings.log_format)

    from app.main import create_app

    index = settings.search_index()
    index.load_model()  # before anything is served: a wrong name ends the command with a clear message
    run_app(create_app(settings, index), settings)


def serve_embeddings(
    host: HostOption = None,
    port: PortOption = None,
    log_format: LogFormatOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
) -> None:
    """Serve a model's vectors at /v1/embeddings, without an index."""
    import warnings

    from app.log import configure_logging
    from app.security import check_binding
    from app.settings import Settings
    from common.settings import load_settings
    from lusifer import TruncationWarning

    settings = load_settings(
        Settings, host=host, port=port, log_format=log_format, model=model, device=device
    )
    check_binding(settings)
    configure_logging(settings.log_format)

    from app.main import create_embedding_app

    # Each answer says which texts were cut; whose they are is not for the log.
    warnings.simplefilter("ignore", TruncationWarning)
    run_app(create_embedding_app(settings, settings.load_model()), settings)


def run_app(app: FastAPI, settings: Settings) -> None:
    """Serve an application until interrupted.

    Raises:
        HintedError: the address cannot be listened on.
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
        raise HintedError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}",
            hint="Choose another with --port, or 0 for any free one.",
        ) from None
    return listener


def _announce(settings: Settings, listener: socket.socket) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logging.getLogger("lusifer.serve").info("serving at http://%s:%d", host, listener.getsockname()[1])
