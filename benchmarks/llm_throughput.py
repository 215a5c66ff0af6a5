"""Measure how many tokens per second a LUSIFER of a given size embeds, and what share of the device that is.

Usage: python benchmarks/llm_throughput.py [--size 7b|small] [--device cuda] [--batches N...] [--lengths N...]

Weights are random: speed does not depend on them. ``7b`` has the sizes of the published model (XLM-R-large,
a two-layer connector, Mistral-7B without its embeddings and head) and is the default on a GPU; ``small`` has
the same parts and is the default on a CPU. Texts are random ids of equal length, so no padding hides in the
figures. Work is counted as 2 operations for each weight of a linear layer and token, and 4 x length x width
for each attention layer and token. It is compared with the fastest large matrix product the same device does
in the same number format, and with the vendor's figure (dense) where that is known.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lusifer.config import ConnectorConfig, EncoderConfig, LanguageModelConfig, ModelConfig
from lusifer.model import Lusifer
from lusifer.torch_backend import choose_device, choose_dtype

SEED = 0
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "7b": {
        "encoder": {
            "vocab_size": 250002,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
        "language_model": {
            "vocab_size": 32768,
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
        },
    },
    "small": {
        "encoder": {
            "vocab_size": 8192,
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
        "language_model": {
            "vocab_size": 8192,
            "hidden_size": 512,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "intermediate_size": 1792,
            "max_position_embeddings": 4096,
        },
    },
}
BATCHES = {"cuda": (1, 4, 16, 64, 256), "cpu": (1, 8)}
LENGTHS = {"cuda": (32, 128, 256, 512), "cpu": (32, 128, 256)}
#: Dense bfloat16 tera-operations per second from NVIDIA's data sheets, by a part of the device's name.
VENDOR_TERA = {
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.1,
    "NVIDIA L4": 121.0,
}


def build(size: str, device: torch.device, dtype: torch.dtype) -> Lusifer:
    """Make the model on the device, with random weights."""
    parts = SIZES[size]
    config = ModelConfig(
        name=f"random-{size}",
        encoder=EncoderConfig.xlm_roberta(parts["encoder"]),
        language_model=LanguageModelConfig.mistral(parts["language_model"]),
        connector=ConnectorConfig(kind="ff"),
        projection=True,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return Lusifer(config).eval()
    finally:
        torch.set_default_dtype(before)


def linear_weights(module: nn.Module | None) -> int:
    """Count the weights of the linear layers of a module."""
    if module is None:
        return 0
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def operations(model: Lusifer, size: str, batch: int, length: int) -> float:
    """Count the operations of one forward pass."""
    per_token = 2.0 * sum(map(linear_weights, (model.encoder, model.connector, model.language_model)))
    for part in SIZES[size].values():
        heads = part["num_attention_heads"]
        width = heads * part.get("head_dim", part["hidden_size"] // heads)
        per_token += 4.0 * length * width * part["num_hidden_layers"]
    return batch * (length * per_token + 2.0 * linear_weights(model.projection))


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_seconds(call: Callable[[], object], device: torch.device, budget: float) -> float:
    """Time a call after one that does not count: the best of 3 to 20, within so many seconds."""
    call()
    synchronise(device)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < budget and len(times) < 20):
        began = clock(device)
        call()
        synchronise(device)
        times.append(clock(device) - began)
    return min(times)


def clock(device: torch.device) -> float:
    """Read the time; one thread on a CPU counts its own seconds only, so that other programs do not."""
    return time.process_time() if counts_own_time(device) else time.perf_counter()


def counts_own_time(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() == 1


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the most operations per second of a product of square matrices."""
    sides = (4096, 8192, 16384) if device.type == "cuda" else (512, 1024, 2048)
    found = 0.0
    for side in sides:
        left = torch.randn(side, side, device=device, dtype=dtype)
        right = torch.randn(side, side, device=device, dtype=dtype)
        seconds = best_seconds(lambda left=left, right=right: left @ right, device, 1.0)
        found = max(found, 2.0 * side**3 / seconds)
    return found


def vendor_peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """Look up the vendor's figure in operations per second; None if it is not known."""
    if device.type != "cuda" or dtype is torch.float32:
        return None
    name = torch.cuda.get_device_name(device)
    return next((tera * 1e12 for part, tera in VENDOR_TERA.items() if part in name), None)


@torch.inference_mode()
def measure(
    model: Lusifer, size: str, batch: int, length: int, device: torch.device, peaks: dict[str, float | None]
) -> dict[str, Any]:
    """Time one batch size and length; a batch that does not fit into memory says so."""
    row: dict[str, Any] = {"batch": batch, "length": length}
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(5, SIZES[size]["encoder"]["vocab_size"], (batch, length), generator=generator).to(
        device
    )
    mask = torch.ones_like(ids)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        seconds = best_seconds(lambda: model(ids, mask), device, 2.0)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return row | {"tokens_per_second": "out of memory"}
    achieved = operations(model, size, batch, length) / seconds
    row |= {
        "tokens_per_second": round(batch * length / seconds),
        "texts_per_second": round(batch / seconds, 1),
        "milliseconds": round(seconds * 1000, 2),
        "tera_operations_per_second": round(achieved / 1e12, 4),
    }
    row |= {f"share_of_{name}_peak": round(achieved / peak, 3) for name, peak in peaks.items() if peak}
    if device.type == "cuda":
        row["memory_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    return row


def describe_machine(device: torch.device) -> str:
    where = f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, "
    where += f"torch {torch.__version__}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {where}"
    return f"CPU, {torch.get_num_threads()} of {where}"


def to_markdown(report: dict[str, Any]) -> str:
    rows = report["results"]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    peaks = ", ".join(f"{name} {tera:,} tera-operations/s" for name, tera in report["peaks_tera"].items())
    lines = [
        "# Throughput of a language-model embedder",
        "",
        f"`{report['command']}`, seed {SEED}, {report['machine']}.",
        "",
        f"Model `{report['size']}`: random weights, {report['weights_millions']:,} million in linear layers, "
        f"{report['dtype']}. Peaks: {peaks}. Load average before the run, by other programs: "
        f"{report['load_average']:.1f}; seconds are {report['seconds']}.",
        "",
        *([report["note"], ""] if report["note"] else []),
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(str(row.get(name, '')) for name in columns)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    load_average = os.getloadavg()[0]
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    size = arguments.size or ("7b" if device.type == "cuda" else "small")
    torch.manual_seed(SEED)
    peaks = {"matrix": matrix_peak(device, dtype), "vendor": vendor_peak(device, dtype)}
    model = build(size, device, dtype)
    kind = "cuda" if device.type == "cuda" else "cpu"
    rows = [
        measure(model, size, batch, length, device, peaks)
        for length in arguments.lengths or LENGTHS[kind]
        for batch in arguments.batches or BATCHES[kind]
    ]
    note = (
        ""
        if device.type == "cuda"
        else "No GPU was at hand: these are figures of the same script with the small model on a CPU. They "
        "check the method and say nothing about the published size; on a machine with a GPU the command does."
    )
    weights = linear_weights(model)
    return {
        "command": "python benchmarks/llm_throughput.py" + (f" --size {size}" if arguments.size else ""),
        "machine": describe_machine(device),
        "seed": SEED,
        "load_average": load_average,
        "size": size,
        "dtype": str(dtype).removeprefix("torch."),
        "weights_millions": round(weights / 1e6, 1),
        "peaks_tera": {name: round(peak / 1e12, 3) for name, peak in peaks.items() if peak},
        "seconds": "those of the process" if counts_own_time(device) else "those of the clock",
        "note": note,
        "results": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--lengths", type=int, nargs="+")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    report = run(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "llm_throughput.json").write_text(json.dumps(report, indent=1) + "\n")
    markdown = to_markdown(report)
    (arguments.output / "llm_throughput.md").write_text(markdown, encoding="utf-8")
    print(markdown)


if __name__ == "__main__":
    main()
