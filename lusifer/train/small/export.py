"""Write a trained model as it is shipped: calibrated and quantised, with graph, tokenizer, configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from tokenizers import Tokenizer

from lusifer.batching import batches, tokenise
from lusifer.checkpoints.own import CONFIG, GRAPH, TOKENIZER, WEIGHTS
from lusifer.config import PromptKind
from lusifer.errors import TrainingError
from lusifer.model import Lusifer, pad
from lusifer.train.small.graph import GraphShape, write_graph
from lusifer.train.small.network import to_arrays
from lusifer.train.small.quantise import BLOCK, Reach, quantise, watch
from lusifer.train.small.vocabulary import save_compact

_BUDGET = 2048


def export_small(
    model: Lusifer,
    tokenizer: Tokenizer,
    texts: Sequence[tuple[PromptKind, str]],
    folder: Path,
    calibration: dict[str, object] | None = None,
) -> None:
    """Write a checkpoint folder that runs without torch.

    Args:
        model: an XLM-RoBERTa encoder, a connector or none, mean pooling.
        tokenizer: of the model's vocabulary.
        texts: questions and passages, in all languages, from which it is learnt how far activations reach.
        folder: made if missing; files of an earlier checkpoint are replaced.
        calibration: goes into the configuration.

    Raises:
        TrainingError: the model is of another make, or a parameter holds NaN or infinity.
    """
    config = model.config
    plain = config.pooling == "mean" and config.repeats == 1 and not config.projection
    if config.encoder.kind != "xlm-roberta" or config.language_model.layers or not plain:
        raise TrainingError(f"{config.name} has parts that cannot be quantised", hint="export it whole")
    parameters = to_arrays(model)
    for name, value in parameters.items():
        if not _finite(value):
            raise TrainingError(f"tensor {name} holds NaN or infinity", hint="look for a diverged run")
    tensors = quantise(parameters, calibrate(model, tokenizer, texts))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(save(tensors))
    transformer = config.encoder.transformer
    shape = GraphShape(
        layers=transformer["num_hidden_layers"],
        heads=transformer["num_attention_heads"],
        dimensions=config.dimensions,
        epsilon=transformer["layer_norm_eps"],
        block=BLOCK,
        first_position=transformer["pad_token_id"] + 1,
        connector=config.connector.kind == "ff",
    )
    write_graph(folder / GRAPH, folder / WEIGHTS, shape)
    save_compact(tokenizer, folder / TOKENIZER)
    (folder / CONFIG).write_text(replace(config, calibration=calibration).to_json(), encoding="utf-8")


def _finite(value: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(value).all())


@torch.inference_mode()
def calibrate(
    model: Lusifer, tokenizer: Tokenizer, texts: Sequence[tuple[PromptKind, str]]
) -> dict[str, Reach]:
    """Run texts through the model in float32 and return what each of its linear layers read."""
    model.eval()
    rows = [tokenise(tokenizer, model.config, [text], kind)[0] for kind, text in texts]
    mask: list[torch.Tensor] = [torch.empty(0)]
    with watch(model, mask) as seen:
        for batch in batches(rows, _BUDGET):
            ids, mask[0] = pad([rows[index] for index in batch], model.encoder.pad_id)
            model(ids, mask[0])
    return seen
