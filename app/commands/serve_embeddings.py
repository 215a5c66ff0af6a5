"""``lusifer serve-embeddings``: the model alone, for indexers and applications on other machines."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.options import ModelOption, make_settings


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

    from app.commands.serve import run_app
    from app.logging import configure_logging
    from app.opening import load_model
    from app.security import check_binding
    from app.serving.main import create_embedding_app
    from lusifer import TruncationWarning

    check_binding(settings)  # before a large model is loaded for nothing
    configure_logging(settings.log_format)
    # Each answer says which texts were cut; whose they are is not for the log.
    warnings.simplefilter("ignore", TruncationWarning)
    run_app(create_embedding_app(settings, load_model(settings)), settings)
