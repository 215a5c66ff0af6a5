"""The shipped lusifer-small: loaded by name without torch, the same in any batch, the same as in torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lusifer import Embedder
from lusifer.embedder import SHIPPED, model_stamp
from lusifer.errors import CheckpointError, MissingLibrary, TruncationWarning
from lusifer.static import physical_cores
from lusifer.tokenization import encode

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds

FOLDER = SHIPPED["lusifer-small"]
RAIN = {
    "en": "How do I store rain water?",
    "es": "¿Cómo guardo el agua de lluvia?",
    "ru": "Как хранить дождевую воду?",
    "fr": "Comment conserver l'eau de pluie ?",
    "vi": "Làm thế nào để trữ nước mưa?",
    "fa": "چگونه آب باران را ذخیره کنم؟",
    "id": "Bagaimana cara menyimpan air hujan?",
    "ar": "كيف أخزن مياه الأمطار؟",
    "fi": "Miten varastoin sadevettä?",
    "ko": "빗물을 어떻게 저장하나요?",
    "hi": "मैं वर्षा का पानी कैसे जमा करूँ?",
    "bn": "আমি কীভাবে বৃষ্টির পানি সংরক্ষণ করব?",
    "te": "మీరు వాన నీటిని ఎలా నిల్వ చేస్తారు?",
    "sw": "Ninawezaje kuhifadhi maji ya mvua?",
}


@pytest.fixture(scope="module")
def small() -> Embedder:
    return Embedder.load("lusifer-small")


def test_it_is_found_by_name(small: Embedder) -> None:
    assert (small.name, small.dimensions, small.max_tokens) == ("lusifer-small", 384, 512)
    assert small.config.connector.kind == "ff"
    assert small.fingerprint != Embedder.load("lusifer-mini").fingerprint
    assert str(FOLDER.resolve()) in model_stamp("lusifer-small")
    assert small.count_tokens(["rain water"]) == [2]


def test_a_question_means_the_same_in_every_language(small: Embedder) -> None:
    vectors = small.embed_query(list(RAIN.values()))
    other = small.embed_query("Who won the football match last night?")
    cosines = vectors @ vectors[0]
    assert cosines.min() > 0.8, dict(zip(RAIN, cosines.round(3), strict=True))
    assert (vectors @ other[0]).max() < cosines.min()


def test_a_vector_does_not_depend_on_its_neighbours(small: Embedder) -> None:
    texts = [*RAIN.values(), "", "rain " * 300, "x"]
    together = small.embed_documents(texts)
    alone = np.concatenate([small.embed_documents([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-4
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_long_and_broken_texts_are_taken(small: Embedder) -> None:
    with pytest.warns(TruncationWarning, match="longer than 512 tokens"):
        assert small.embed_documents(["water " * 2000]).shape == (1, 384)
    odd = ["\ud800 rain", "\x00\x07", "\u200b", "雨水をどう貯めますか", "🌧️" * 5]
    assert np.isfinite(small.embed_query(odd)).all()
    assert small.embed_query([]).shape == (0, 384)


def test_torch_gives_the_same_vectors(small: Embedder) -> None:
    exact = Embedder.load("lusifer-small", dtype="float32")
    for embed in ("embed_query", "embed_documents"):
        quick, slow = (getattr(model, embed)(list(RAIN.values())) for model in (small, exact))
        cosines = (quick * slow).sum(axis=1)
        # Torch reads the same rounded weights; what differs is that activations are rounded to 8 bits here.
        assert cosines.min() > 0.985
        assert cosines.mean() > 0.99


def test_it_loads_and_answers_without_torch() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'onnx'): sys.modules[name] = None\n"
        "from lusifer import Embedder\n"
        "print(Embedder.load('lusifer-small').embed_query('rain').shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 384)", done.stderr


def test_the_shipped_files_are_small() -> None:
    sizes = {
        name: sum(path.stat().st_size for path in folder.iterdir()) / 1e6 for name, folder in SHIPPED.items()
    }
    assert sizes["lusifer-small"] <= 60
    assert sum(sizes.values()) <= 100


def test_other_scripts_and_symbols_are_read(small: Embedder) -> None:
    texts = [
        "Чайковский €45 ★ – “quoted” №5",
        "東京の雨",
        "กรุงเทพ",
        "Ελλάδα",
        "₹500 ½ ² ☂ ∑",
        "ქართული",
        "ישראל",
    ]
    unknown = small.tokenizer.token_to_id("<unk>")
    for text, encoding in zip(texts, encode(small.tokenizer, texts), strict=True):
        assert unknown not in encoding.ids, (text, encoding.tokens)


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    for path in FOLDER.iterdir():
        if path.name == "model.onnx":
            (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
        else:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(CheckpointError, match=r"model\.onnx cannot be run"):
        Embedder.load(tmp_path)


def test_a_process_of_lowered_priority_leaves_a_core_free() -> None:
    code = "import os; from lusifer.static import physical_cores as c; a = c(); os.nice(5); print(a, c())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    lowered = os.nice(0) > 0
    assert 1 <= after <= before
    assert after == (before if lowered or before == 1 else before - 1)
    assert physical_cores() <= (os.cpu_count() or 1)


def test_the_card_names_licence_and_configuration() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in card
    assert json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["name"] == "lusifer-small"


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingLibrary, match="lusifer-small needs onnxruntime") as caught:
        Embedder.load("lusifer-small")
    assert "lusifer-search[deep]" in caught.value.hint
