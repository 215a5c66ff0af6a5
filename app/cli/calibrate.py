"""``lusifer train calibrate``: fit fusion and scores of a model and write them into its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    data: Annotated[Path, typer.Argument(help="Folder with sib200.jsonl and mlqa/, as for evaluate.")],
    model: Annotated[Path, typer.Option(help="Model folder; its config.json is rewritten.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what comes out and write nothing.")
    ] = False,
) -> None:
    """Fit how words weigh against vectors and what a score means, on questions with known answers."""
    import json

    from lusifer.checkpoints.own import read_config
    from lusifer.embedder import Embedder
    from lusifer.errors import needs_extra
    from lusifer.evaluate.datasets import read_parallel, read_questions
    from search.calibration.pools import gather_pools

    with needs_extra("train", "calibrating a model"):
        from search.calibration.fit import calibrate as fit
        from search.calibration.fit import write_calibration
        from search.calibration.report import measure, to_markdown

    read_config(model)  # before minutes of work for a folder that cannot take the result
    sentences, questions = read_parallel(data / "sib200.jsonl"), read_questions(data / "mlqa")
    typer.echo("asking the questions", err=True)
    pools = gather_pools(Embedder.load(model), questions, sentences)
    typer.echo("fitting", err=True)
    found = fit(pools)
    typer.echo(to_markdown(measure(pools, found)))
    if dry_run:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        return
    write_calibration(model, found)
    typer.echo(f"wrote {model / 'config.json'}", err=True)
