"""The ``lusifer`` command: one module for each sub-command that belongs to the application."""

from __future__ import annotations

from typing import Annotated

import typer

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model name or folder.", show_default="LUSIFER_MODEL, or the shipped one"),
]
DeviceOption = Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda, mps.")]
