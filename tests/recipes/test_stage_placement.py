"""Single stages that compute elsewhere or otherwise than the rest of a painter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pinxit.api import load
from pinxit.errors import UsageError
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.stage_placement import Placing
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint

ASKED: dict[str, Any] = {"candidates": 2, "keep": None, "seed": 3}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(scope="module")
def imagen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagen") / "nano"
    save_random_imagen(folder)
    return folder


def painted(checkpoint: Path, **stages: Placing) -> Any:
    return painted_on("cpu", checkpoint, stages)


def painted_on(device: str, checkpoint: Path, stages: Mapping[str, Placing]) -> Any:
    painter: Any = load(checkpoint, device=device, stages=stages)
    upsampler = getattr(painter, "upsampler", None)
    found = painter.paint("a red square", upsampler=upsampler, **ASKED)
    ordered = sorted(found, key=lambda one: one.candidate)
    return painter, np.stack([one.picture for one in ordered])


def test_a_stage_has_a_precision_of_its_own(imagen: Path) -> None:
    painter, usual = painted(imagen)
    up, fp32, bf16 = f"up{painter.upsampler.size}", Placing(precision="fp32"), Placing(precision="bf16")
    exact_painter, exact = painted(imagen, **{"denoise": fp32, up: fp32})
    rounded_painter, rounded = painted(imagen, **{"denoise": bf16, up: fp32})
    _, large = painted(imagen, **{"denoise": fp32, up: bf16})
    assert exact.shape == usual.shape and not np.array_equal(exact, rounded) and not np.array_equal(exact, large)
    for other in (rounded, large):
        assert np.abs(exact.astype(int) - other.astype(int)).mean() < 20
    assert rounded_painter.provenance["precision"] == {"denoise": "bf16", up: "fp32"}
    assert exact_painter.provenance["precision"] == {"denoise": "fp32", up: "fp32"}
    assert "precision" not in painter.provenance


def test_the_same_said_again_changes_nothing(imagen: Path) -> None:
    _, usual = painted(imagen)
    _, said = painted(imagen, denoise=Placing(device="cpu", compile=True), embed=Placing(device="cpu"))
    assert np.array_equal(usual, said)


def test_dalles_tokens_may_be_int8(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "dalle")
    painter, found = painted(tmp_path / "dalle", tokens=Placing(precision="int8"))
    same = load(tmp_path / "dalle", device="cpu", int8=True).paint("a red square", **ASKED)
    in_order = sorted(same, key=lambda one: one.candidate)
    assert painter.int8 and np.array_equal(found, np.stack([one.picture for one in in_order]))
    wrong = [({"tokens": Placing(precision="bf16")}, "no precision bf16"), ({"pixels": Placing()}, "pixels")]
    for stages, said in (*wrong, ({"tokens": Placing(device="cpu")}, "no device")):
        with pytest.raises(UsageError, match=said):
            load(tmp_path / "dalle", device="cpu", stages=stages)


def test_what_cannot_be_set_is_said(imagen: Path) -> None:
    for stages, said in (({"denoising": Placing()}, "no stage 'denoising'.*denoise"),
                         ({"denoise": Placing(precision="int8")}, "no precision int8"),
                         ({"embed": Placing(compile=True)}, "no compile")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            load(imagen, device="cpu", stages=stages)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cannot be used here"):
            load(imagen, device="cpu", stages={"denoise": Placing(device="cuda:0")})


class Replaying(torch.nn.Module):
    """As a captured graph: every call writes its answer where the one before did."""

    def __init__(self) -> None:
        super().__init__()
        self.answer, self.how = torch.zeros(2, 6, 4, 4), dict[str, Any]()

    def compile(self, **how: Any) -> None:
        self.how = how

    def forward(self, z: Any, time: Any, conditions: Any) -> Any:
        return self.answer.add_(1)


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_on_a_gpu_a_tile_is_one_graph_whose_answers_are_taken_away() -> None:
    config = DiffusionConfig(variance="learned", steps=10)
    for device, compiled in (("cpu", True), ("cuda", False), ("cuda", True)):
        network: Any = Replaying()
        denoiser = UNetDenoiser(network, config, 4, torch.device(device), autocast=False, compiled=compiled)
        both = compiled and device == "cuda"
        assert network.how == ({"dynamic": False, "mode": "reduce-overhead"} if both else {})
        asked: Any = (torch.zeros(2, 3, 4, 4), torch.ones(2), {})
        first, before = denoiser(*asked).fraction, None
        assert first is not None
        before = first.clone()
        denoiser(*asked)
        assert torch.equal(first, before) == both


@gpu
def test_compiled_tiles_paint_what_plain_ones_do(imagen: Path) -> None:
    both = (Placing(precision="fp32", compile=compile) for compile in (False, True))
    plain, compiled = (painted_on("cuda", imagen, {"denoise": how})[1] for how in both)
    assert np.abs(plain.astype(int) - compiled.astype(int)).max() <= 2


@gpu
def test_a_stage_computes_on_another_device(imagen: Path) -> None:
    one, other = (painted_on("cpu", imagen, {"denoise": Placing(device, "fp32")})[1] for device in ("cpu", "cuda"))
    assert np.abs(one.astype(int) - other.astype(int)).mean() < 2


def test_another_clip_ranks_where_the_stage_that_embeds_is_placed(
    imagen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker, named = imagen.parent / "ranker", list[str]()

    def picked(name: str) -> torch.device:
        named.append(name)
        return torch.device("cpu")

    monkeypatch.setattr("pinxit.recipes.clip.encoder.pick_device", picked)
    for checkpoint in (imagen, ranker):
        load(checkpoint, ranker=ranker, stages={"embed": Placing(device="cpu")})
        load(checkpoint, ranker=ranker)
    assert named == ["cpu", "auto"] * 2
