"""What every caller relies on, checked on a folded toy model."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lusifer import ConfigError, Embedder, TruncationWarning
from lusifer.checkpoints.own import write_static
from lusifer.config import ModelConfig
from lusifer.embedder import DEFAULT_FOLDER, DEFAULT_MODEL, TextEmbedder, is_default, load_model, model_stamp

#: Of the model in lusifer/mini; another one is a new release, and every index is made again.
SHIPPED_FINGERPRINT = "aefeedf741d52699"

WORDS = st.lists(st.sampled_from(["river", "city", "water", "xyz", "жук", "Rain!", ""]), max_size=20)
TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=12)


def is_unit(rows: np.ndarray) -> bool:
    return bool(np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6))


def test_shapes_and_types(toy: Embedder) -> None:
    rows = toy.embed_documents(["river city", "rain"])
    assert rows.shape == (2, toy.dimensions) == (2, 24)
    assert rows.dtype == np.float32
    assert is_unit(rows)
    assert toy.embed_documents([]).shape == (0, 24)
    assert toy.embed_query([]).shape == (0, 24)
    assert (toy.name, toy.max_tokens) == ("toy", 32)


def test_a_single_question_is_a_row(toy: Embedder) -> None:
    row = toy.embed_query("river city")
    assert row.shape == (1, 24)
    np.testing.assert_array_equal(row, toy.embed_query(["river city"]))


def test_a_vector_is_the_normalised_sum_of_rows(toy: Embedder, toy_table: np.ndarray) -> None:
    ids = toy.tokenizer.encode("river water", add_special_tokens=False).ids
    expected = toy_table[ids].sum(axis=0)
    np.testing.assert_allclose(
        toy.embed_query("River WATER")[0], expected / np.linalg.norm(expected), atol=1e-6
    )


@given(TEXTS)
def test_a_vector_does_not_depend_on_the_rest_of_the_batch(toy: Embedder, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        together = toy.embed_documents(texts)
        alone = np.concatenate([toy.embed_documents([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


@given(st.lists(st.text(), max_size=8))
def test_any_text_gets_a_finite_unit_vector(toy: Embedder, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        rows = toy.embed_query(texts)
    assert rows.shape == (len(texts), 24)
    assert np.isfinite(rows).all()
    assert is_unit(rows)


def test_more_texts_than_a_block(toy: Embedder) -> None:
    texts = [f"river {'city ' * (index % 5)}" for index in range(2500)]
    rows = toy.embed_documents(texts)
    np.testing.assert_array_equal(rows[2049], toy.embed_documents([texts[2049]])[0])


def test_a_text_without_tokens_gets_the_documented_vector(toy: Embedder) -> None:
    expected = np.full(24, 1 / np.sqrt(24), np.float32)
    for text in ("", "   ", "\n\t"):
        np.testing.assert_allclose(toy.embed_query(text)[0], expected, rtol=1e-6)


def test_a_lone_surrogate_is_read_as_a_replacement_character(toy: Embedder) -> None:
    np.testing.assert_array_equal(
        toy.embed_documents(["river \ud800 city", "rain"]), toy.embed_documents(["river \ufffd city", "rain"])
    )


def test_long_texts_are_cut_with_one_warning_that_points_to_the_caller(toy: Embedder) -> None:
    long = "river " * 100
    with pytest.warns(TruncationWarning, match="2 texts were longer than 32 tokens") as caught:
        rows = toy.embed_documents([long, "rain", long])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(rows[0], toy.embed_documents(["river " * 32])[0])
    with pytest.warns(TruncationWarning, match="1 text was longer"):
        toy.embed_query(long)


def test_tokens_are_counted_before_any_cut(toy: Embedder) -> None:
    assert toy.count_tokens(["river city", "", "river " * 100]) == [2, 0, 100]
    assert len(toy.tokenizer.encode("river " * 100).ids) == 100


def test_wrong_arguments_are_refused(toy: Embedder) -> None:
    with pytest.raises(TypeError, match="takes a list of texts"):
        toy.embed_documents("river")
    with pytest.raises(TypeError, match="text 1 is NoneType"):
        toy.embed_documents(["river", None])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="takes no instruction"):
        toy.embed_query("river", instruction="Find it.")


def test_threads_may_share_a_model(toy: Embedder) -> None:
    texts = ["river city", "rain", "water book school"] * 50
    expected = toy.embed_documents(texts)
    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(toy.embed_documents, [texts] * 16):
            np.testing.assert_array_equal(rows, expected)


def test_loading_twice_gives_the_same_vectors_and_fingerprint(toy_folder: Path) -> None:
    first, second = Embedder.load(toy_folder), Embedder.load(str(toy_folder))
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 16
    np.testing.assert_array_equal(first.embed_query("river rain"), second.embed_query("river rain"))


def test_a_table_ignores_device_and_dtype(toy_folder: Path) -> None:
    loaded = Embedder.load(toy_folder, device="cuda", dtype="bfloat16")
    np.testing.assert_array_equal(loaded.embed_query("rain"), Embedder.load(toy_folder).embed_query("rain"))


def test_the_tokenizer_is_the_models_own(toy: Embedder) -> None:
    assert isinstance(toy.tokenizer, Tokenizer)
    assert toy.tokenizer.truncation is None
    assert toy.tokenizer.padding is None


@pytest.mark.parametrize(
    "module",
    ["lusifer", "lusifer.embedder", "lusifer.detection", "lusifer.static", "lusifer.checkpoints.own"],
)
def test_importing_stays_light(module: str) -> None:
    script = (
        f"import sys, {module}; from lusifer import Embedder;"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_table_is_loaded_and_used_without_torch(toy_folder: Path) -> None:
    script = (
        "import sys; from lusifer import Embedder;"
        f"Embedder.load({str(toy_folder)!r}).embed_query('river'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


#: As if the extra ``models`` was not installed.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
import lusifer
"""


def test_the_shipped_model_needs_no_extra() -> None:
    script = BLOCK + "print(lusifer.Embedder.load().embed_query('bees').shape)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 512)\n"


@pytest.mark.parametrize("kind", ["own", "published"])
def test_a_missing_extra_is_named(tmp_path: Path, toy_folder: Path, kind: str) -> None:
    folder = toy_folder
    if kind == "published":
        folder = Path(__file__).parents[1] / "data" / "golden-tiny" / "lusifer"
    else:
        path = folder / "config.json"
        path.write_text(path.read_text().replace('"folded": true', '"folded": false'))
    script = f"""{BLOCK}
try:
    lusifer.Embedder.load({str(folder)!r})
except lusifer.LusiferError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"MissingLibrary The model {folder} needs torch, which is not installed. "
        "install it with `pip install 'lusifer-search[models]'`\n"
    )


def test_the_package_says_what_it_exports() -> None:
    import lusifer

    assert all(getattr(lusifer, name) for name in lusifer.__all__)


def test_no_reference_or_its_name_means_the_shipped_model() -> None:
    assert all(map(is_default, (None, "", DEFAULT_MODEL)))
    assert not any(map(is_default, ("models/large", DEFAULT_FOLDER, "http://gpu")))
    model: TextEmbedder = load_model()
    assert model.name == DEFAULT_MODEL
    assert model.fingerprint == SHIPPED_FINGERPRINT


def test_a_folder_named_as_the_shipped_model_is_preferred(
    toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_folder.rename(toy_folder.with_name(DEFAULT_MODEL))
    monkeypatch.chdir(toy_folder.parent)
    assert load_model(DEFAULT_MODEL).name == "toy"


def test_a_models_stamp_changes_with_its_files(toy_folder: Path) -> None:
    before = model_stamp(toy_folder)
    assert model_stamp(str(toy_folder)) == before
    assert model_stamp() != before
    config = toy_folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert model_stamp(toy_folder) != before
    assert model_stamp("owner/name") == "owner/name"


def test_a_word_said_again_says_less(
    tmp_path: Path, toy_table: np.ndarray, toy_config: ModelConfig, toy_tokenizer: Tokenizer
) -> None:
    config = replace(toy_config, repeats=0.5)
    write_static(tmp_path, toy_table, toy_tokenizer, config, quantise=None)
    damped = Embedder.load(tmp_path)
    river, sea = (toy_table[toy_tokenizer.token_to_id(piece)] for piece in ("▁river", "▁sea"))
    expected = 2.0 * river + sea
    found = damped.embed_documents(["river sea river river river", "", "sea"])
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(found[2], sea / np.linalg.norm(sea), atol=1e-6)
    for row, text in zip(found, ["river sea river river river", "", "sea"], strict=True):
        np.testing.assert_array_equal(row, damped.embed_query(text)[0])
