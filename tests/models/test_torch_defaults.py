"""Settings of a program for all of torch: they neither reach pinxit nor are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pinxit
from pinxit.evaluation.evaluators import patchwork
from pinxit.functional.draws import OneStream, RowStreams
from pinxit.models.torch_defaults import torch_defaults, torch_defaults_for_loading
from pinxit.recipes.judge.judge import Judge
from pinxit.text.encoders import open_text_encoder
from pinxit.types import Prompt
from tests.recipes.painters import save_random_checkpoint

SHOWN = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)


@contextmanager
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "a default dtype": in_double,
    "a default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[object]]:
    return SETTINGS[request.param]


def painted(folder: Path) -> Any:
    painter = pinxit.load(folder, device="cpu")
    kept = painter.paint("a red square", candidates=2)
    again = painter.rank(Prompt("a red square"), [one.picture for one in kept])
    return [one.picture for one in kept], [one.score for one in (*kept, *again)]


def manipulated(folder: Path) -> Any:
    painter = pinxit.load(folder, device="cpu", recipe="unclip")  # whose methods mypy knows
    drawn = painter.paint("a red square", candidates=1, steps=2, tries=1, upsampler=painter.upsampler)
    (latent,) = painter.invert([SHOWN], ddim_steps=2)
    views = painter.reconstruct(SHOWN, components=[2], steps=2)
    way = painter.blend(SHOWN, SHOWN[::-1], count=2, fresh=True)
    return drawn[0].picture, latent.embedding, latent.noise, views, way


def compared(clip: Path) -> Any:
    encoder = pinxit.load_clip(clip, device="cpu").encoder
    return encoder.fingerprint, encoder.pictures([SHOWN]), encoder.texts(["a cat"])


def read(folder: Path) -> Any:
    encoded = open_text_encoder(folder).encode(["a cat"])
    return encoded.sequence, encoded.pooled, encoded.mask


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize("use", [painted, compared, read])
def test_a_checkpoint_is_used_as_if_nothing_were_set(use: Any, settings: Any, tmp_path: Path) -> None:
    """Once float64 as torch's default, or a default device, failed inside of torch, or drew other pictures."""
    save_random_checkpoint(tmp_path)
    expected = use(tmp_path)
    with settings():
        assert alike(use(tmp_path), expected)


def test_so_are_diffusion_and_what_starts_from_a_picture(settings: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.recipes.unclips import save_random_unclip

    folder = save_random_unclip(tmp_path / "nano")
    expected = manipulated(folder)
    with settings():
        assert alike(manipulated(folder), expected)


def test_so_are_judges(settings: Any) -> None:
    expected = Judge.open("judge", device="cpu").detect([SHOWN])
    with settings():
        assert Judge.open("judge", device="cpu").detect([SHOWN]) == expected


def test_so_are_the_worn_pictures_that_judges_are_tried_on_and_all_draws(settings: Any) -> None:
    expected = patchwork([SHOWN, SHOWN[::-1]], 3)
    with settings():
        assert alike(patchwork([SHOWN, SHOWN[::-1]], 3), expected)
        for draws in (OneStream(torch.Generator().manual_seed(3)), RowStreams([1, 2], hashed=False)):
            assert draws.uniform(2, 3).dtype == draws.normal(2, 3).dtype == torch.float32


def test_what_was_set_is_found_again() -> None:
    with in_double(), torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ArithmeticError), torch_defaults_for_loading(), torch_defaults():
            assert torch.empty(1).device.type == "cpu" and torch.empty(1).dtype == torch.float32
            assert not torch.is_autocast_enabled("cpu")
            raise ArithmeticError
        assert torch.empty(1).device.type == "meta" and torch.empty(1).dtype == torch.float64
        assert torch.is_autocast_enabled("cpu")


def test_what_is_loaded_in_inference_mode_takes_gradients(tmp_path: Path) -> None:
    """CLIP guidance needs them, and torch takes none through tensors that were made there."""
    save_random_checkpoint(tmp_path)
    with torch.inference_mode():
        encoder = pinxit.load_clip(tmp_path, device="cpu").encoder
        assert not any(weights.is_inference() for weights in encoder.model.state_dict().values())
        assert torch.is_inference_mode_enabled()


def test_the_last_of_several_threads_gives_the_type_back() -> None:
    with in_double():
        one, other = torch_defaults(), torch_defaults()
        one.__enter__(), other.__enter__()
        one.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32
        other.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float64


def test_neither_opening_nor_painting_draws_from_the_programs_generator(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path)
    before = torch.get_rng_state()
    painted(tmp_path)
    compared(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
