"""Measure how much memory loading a checkpoint in the published layout takes beside its size on disk.

Usage: python benchmarks/loading_memory.py [--megabytes N] [--output FOLDER]
Writes a checkpoint of random weights (Mistral layers of width 1,024 in bfloat16 with LoRA of rank 16 in
float32, as the published one), loads it in bfloat16 in a fresh process and reports that process's peak.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TINY = Path(__file__).parents[1] / "tests" / "data" / "golden-tiny"
WIDTH, INNER, HEADS, KEY_HEADS, HEAD, RANK = 1024, 4096, 8, 2, 128, 16
LAYER_MEGABYTES = 30.3
LOAD = """
import json, pathlib, re, sys, time
import lusifer.torch_backend, transformers.models.mistral.modeling_mistral
import transformers.models.xlm_roberta.modeling_xlm_roberta
from lusifer import Embedder
def peak():  # not getrusage, whose maximum a child inherits from its parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
before = peak()
started = time.perf_counter()
embedder = Embedder.load(sys.argv[1], device="cpu", dtype="bfloat16")
seconds = time.perf_counter() - started
after = peak()
print(json.dumps({"before": before / 1024, "after": after / 1024, "seconds": seconds}))
"""


def wrapped(tensors: dict[str, torch.Tensor], name: str, rows: int, columns: int) -> None:
    tensors[f"{name}.base_layer.weight"] = (torch.randn(rows, columns) * 0.02).bfloat16()
    tensors[f"{name}.lora_A.encoder_lora.weight"] = torch.randn(RANK, columns) * 0.01
    tensors[f"{name}.lora_B.encoder_lora.weight"] = torch.randn(rows, RANK) * 0.01


def write_checkpoint(folder: Path, layers: int) -> None:
    """Write the tiny checkpoint's encoder with a large language model behind it."""
    shutil.copytree(TINY / "backbones", folder / "backbones")
    config = json.loads((TINY / "lusifer" / "config.json").read_text())
    config |= {"loar_r": RANK, "lora_alpha": 2 * RANK, "num_added_tokens": 0}
    (folder / "config.json").write_text(json.dumps(config))
    path = folder / "backbones" / "tiny-mistral" / "config.json"
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD,
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    tensors = {
        name: torch.randn(*(RANK if side == 4 else side for side in tensor.shape)) * 0.01
        if "lora" in name
        else tensor
        for name, tensor in load_file(TINY / "lusifer" / "model.safetensors").items()
        if name.startswith("universal_learner.")
    }
    small = tensors["universal_learner.base_model.model.embeddings.LayerNorm.weight"].shape[0]
    for part, rows, columns in (
        ("connection_module.ff.0", small, small),
        ("connection_module.ff.2", WIDTH, small),
        ("output_projection.0", WIDTH, WIDTH),
        ("output_projection.2", WIDTH, WIDTH),
    ):
        tensors[f"{part}.weight"], tensors[f"{part}.bias"] = torch.randn(rows, columns), torch.randn(rows)
    base = "encoder.base_model.model.model"
    tensors[f"{base}.norm.weight"] = torch.ones(WIDTH)
    for layer in range(layers):
        name = f"{base}.layers.{layer}"
        for part in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{name}.{part}.weight"] = torch.ones(WIDTH)
        wrapped(tensors, f"{name}.self_attn.q_proj", HEADS * HEAD, WIDTH)
        wrapped(tensors, f"{name}.self_attn.k_proj", KEY_HEADS * HEAD, WIDTH)
        wrapped(tensors, f"{name}.self_attn.v_proj", KEY_HEADS * HEAD, WIDTH)
        wrapped(tensors, f"{name}.self_attn.o_proj", WIDTH, HEADS * HEAD)
        wrapped(tensors, f"{name}.mlp.gate_proj", INNER, WIDTH)
        wrapped(tensors, f"{name}.mlp.up_proj", INNER, WIDTH)
        wrapped(tensors, f"{name}.mlp.down_proj", WIDTH, INNER)
    save_file(tensors, folder / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), max(1, round(arguments.megabytes / LAYER_MEGABYTES)))
        size = (Path(folder) / "model.safetensors").stat().st_size / 2**20
        done = subprocess.run(
            [sys.executable, "-c", LOAD, folder], capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout)
    report = {
        "command": f"python benchmarks/loading_memory.py --megabytes {arguments.megabytes}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}",
        "checkpoint_megabytes": round(size),
        "interpreter_and_libraries_megabytes": round(found["before"]),
        "peak_megabytes": round(found["after"]),
        "peak_above_libraries_over_size": round((found["after"] - found["before"]) / size, 3),
        "peak_over_size": round(found["after"] / size, 3),
        "seconds": round(found["seconds"], 1),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "loading_memory.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = ["# Memory for loading a checkpoint in the published layout", "", "| | |", "|---|---|"]
    markdown = "\n".join(lines + [f"| {key} | {value} |" for key, value in report.items()]) + "\n"
    (arguments.output / "loading_memory.md").write_text(markdown)
    print(markdown)


if __name__ == "__main__":
    main()
