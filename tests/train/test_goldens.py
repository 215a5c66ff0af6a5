"""Losses, gradients and batches recorded from the authors' code, on a tiny checkpoint in their format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lusifer.checkpoints.published import read_published
from lusifer.model import Lusifer, TokenHead
from lusifer.train.losses import ContrastiveLoss
from lusifer.train.stages.collate import AlignmentBatch, AlignmentModel
from lusifer.train.stages.export import published_names
from lusifer.train.stages.model import add_lora
from lusifer.train.stages.settings import LoraSettings

FOLDER = Path(__file__).parents[1] / "data" / "golden-tiny"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
ALIGNMENT = pytest.mark.parametrize("case", GOLDEN["alignment_loss"]["cases"], ids=lambda case: case["name"])
CONTRAST = pytest.mark.parametrize("case", GOLDEN["contrastive_loss"]["cases"], ids=lambda case: case["name"])
#: Losses are sums of terms of about 10 and may come out next to nothing.
LOSS: dict[str, float] = {"rel": 1e-5, "abs": 1e-6}


def wrapped_model(causal: bool) -> AlignmentModel:
    """The recorded checkpoint with its LoRA updates unmerged, so that their gradients can be compared."""
    folder = FOLDER / "lusifer"
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _, config = read_published(folder, data)
    model = Lusifer(config)
    add_lora(model, LoraSettings(rank=4, alpha=12), encoder=True, language_model=True)
    head = TokenHead(config.language_model.transformer["vocab_size"], config.dimensions)
    whole = AlignmentModel(model, head, bos_id=1, causal=causal)
    tensors = load_file(folder / "model.safetensors")
    state = dict(whole.named_parameters())
    names = published_names(state)
    unused = tensors.keys() - names.values()
    assert {name for name in unused if ".pooler." not in name} == set()
    with torch.no_grad():
        for ours, theirs in names.items():
            state[ours].copy_(tensors[theirs])
    for parameter in model.connector.parameters():
        parameter.requires_grad_(True)
    return whole.eval()


def alignment_batch(case: dict[str, Any]) -> AlignmentBatch:
    inputs = {name: torch.tensor(value) for name, value in case["inputs"].items() if value is not None}
    return AlignmentBatch(
        inputs["universal_learner_input_ids"],
        inputs["universal_learner_attention_mask"],
        inputs["lm_input_ids"],
        inputs["lm_attention_mask"],
        inputs["lm_labels"] if case["lm_labels_passed"] else None,
    )


@ALIGNMENT
def test_alignment_losses_and_gradients(case: dict[str, Any]) -> None:
    model = wrapped_model(causal=False)
    total, count = model(alignment_batch(case))
    loss = total / count
    assert float(loss.detach()) == pytest.approx(case["loss"], **LOSS)
    loss.backward()
    parameters = dict(model.named_parameters())
    ours = {theirs: name for name, theirs in published_names(parameters).items()}
    assert case["grad_norms"]
    for name, norm in case["grad_norms"].items():
        gradient = parameters[ours[name]].grad
        assert gradient is not None, name
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-3, abs=1e-6), name


@ALIGNMENT
def test_the_causal_variant_of_alignment(case: dict[str, Any]) -> None:
    with torch.no_grad():
        total, count = wrapped_model(causal=True)(alignment_batch(case))
    assert float(total / count) == pytest.approx(case["loss_if_causal"], **LOSS)


def contrastive(case: dict[str, Any]) -> tuple[ContrastiveLoss, list[torch.Tensor], torch.Tensor]:
    options = case["kwargs"]
    loss = ContrastiveLoss(
        similarity="l2" if options["is_distance"] else "cosine",
        temperature=options["temperature"],
        mining=options["use_miner"],
    )
    reps = [torch.tensor(case[f"{name}_embeds"], requires_grad=True) for name in ("q", "pos", "neg")]
    return loss, reps, torch.tensor(case["q_labels"])


@CONTRAST
def test_contrastive_losses_and_gradients(case: dict[str, Any]) -> None:
    function, reps, _ = contrastive(case)
    loss = function.own(*reps)
    assert float(loss.detach()) == pytest.approx(case["loss"], **LOSS)
    loss.backward()
    for name, rep in zip(("q", "pos", "neg"), reps, strict=True):
        assert rep.grad is not None
        expected = torch.tensor(case[f"grad_{name}"])
        scale = float(expected.abs().max())
        # Its terms are about as large as 1; where they cancel, little is left but their rounding.
        torch.testing.assert_close(rep.grad, expected, rtol=1e-3, atol=1e-6 + 1e-5 * scale)


@CONTRAST
def test_contrastive_losses_with_shared_negatives(case: dict[str, Any]) -> None:
    function, reps, labels = contrastive(case)
    loss = function.shared(*reps, labels)
    assert float(loss.detach()) == pytest.approx(case["cross_batch_world1_loss"], **LOSS)
