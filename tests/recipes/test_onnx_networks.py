"""What `pinxit export --to onnx` writes answers as the networks do, for any number of rows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pinxit.errors import CheckpointError, PinxitError, UsageError
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.models.unet import UNet, UNetConfig
from pinxit.recipes import onnx_networks
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.schedule import DiffusionConfig, Variance
from pinxit.recipes.onnx_networks import export_onnx, step_of
from pinxit.text.clip_tokenizer import ClipTokenizer
from pinxit.weights import onnx_files
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.onnx_files import Network, WrittenNetwork, check_installed, write_onnx
from tests.cli.helpers import Cli
from tests.cli.helpers import cli as cli
from tests.models.test_torch_defaults import in_double
from tests.recipes.imagens import WIDTH, save_random_imagen, talking
from tests.recipes.painters import save_random_checkpoint

runtime = pytest.importorskip("onnxruntime", reason="pinxit[onnx] is not installed")
pytest.importorskip("onnxscript", reason="pinxit[onnx] is not installed")
ROWS = 4  # neither what is exported nor what export checks


def answers(path: Path, **inputs: torch.Tensor) -> list[Any]:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def dalle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("dalle")
    save_random_checkpoint(folder / "checkpoint")
    with in_double(), torch.device("meta"), torch.autocast("cpu", torch.bfloat16):  # what a program may have set
        export_onnx(folder / "checkpoint", str(folder / "onnx"))
    return folder / "checkpoint", folder / "onnx"


def test_towers_and_decoder_answer_as_the_networks(dalle: tuple[Path, Path]) -> None:
    checkpoint, out = dalle
    clip, generator = ClipEncoder.open(checkpoint), torch.Generator().manual_seed(3)
    pictures = torch.rand(ROWS, 3, clip.size, clip.size, generator=generator)
    (found,) = answers(out / "clip-image.onnx", pictures=pictures)
    np.testing.assert_allclose(found, clip.fitted(pictures), atol=1e-5)
    ids = torch.from_numpy(clip.tokenize(["a red square", "two blue stars and a cat", "a", "a dog"], True))
    (found,) = answers(out / "clip-text.onnx", ids=ids)
    np.testing.assert_allclose(found, clip.tokens(ids), atol=1e-5)
    opened = open_checkpoint(checkpoint)
    dvae = DVAE(opened.config("dvae", DVAEConfig))
    opened.load_into("dvae", dvae)
    codes = torch.randint(0, dvae.config.codes, (ROWS, dvae.grid, dvae.grid), generator=generator)
    (found,) = answers(out / "dvae-decoder.onnx", codes=codes)
    np.testing.assert_allclose(found, dvae.decode_codes(codes).numpy(), atol=1e-5)


def test_the_description_names_inputs_and_no_place_on_this_machine(dalle: tuple[Path, Path]) -> None:
    checkpoint, out = dalle
    told = json.loads((out / "onnx.json").read_text())
    assert told["hash"] == open_checkpoint(checkpoint).hash
    assert [one["file"] for one in told["networks"]] == ["dvae-decoder.onnx", "clip-image.onnx", "clip-text.onnx"]
    for one in told["networks"]:
        (inputs,) = one["inputs"].values()
        assert inputs[0] == "batch" and one["difference"] < 1e-5
        assert str(Path(onnx_files.__file__).parents[1]).encode() not in (out / one["file"]).read_bytes()
    assert (out / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()


def test_the_tokenizer_of_a_published_clip_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ClipTokenizer([("a", "b")]).save(tmp_path / "clip")
    checkpoint = SimpleNamespace(folder=tmp_path / "clip", hash="0")
    written = WrittenNetwork("clip-text.onnx", {}, ("vector",), 0.0, {})
    monkeypatch.setattr(onnx_networks, "_networks", lambda name: (checkpoint, [None]))
    monkeypatch.setattr(onnx_networks, "write_onnx", lambda network, folder: written)
    export_onnx("clip", tmp_path / "onnx")
    for name in ("merges.txt", "vocab.json"):
        assert (tmp_path / "onnx" / name).read_bytes() == (tmp_path / "clip" / name).read_bytes()


def test_the_tokenizer_of_weights_of_others_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a folder names it in another way, or not at all: whoever runs the towers needs ids."""
    merged = ClipTokenizer([("a", "b")])
    text = CLIPTextConfig(vocab=merged.vocab_size, tokens=8, width=64, layers=1, heads=1, eot=merged.eot)
    model = CLIP(
        CLIPConfig(8, CLIPVisionConfig(size=8, patch=8, width=64, layers=1, heads=1), text, "gelu")
    ).requires_grad_(False)
    (tmp_path / "hf").mkdir()
    words = {"model": {"merges": ["a b"]}}
    (tmp_path / "hf/tokenizer.json").write_text(json.dumps(words))
    made: list[Network] = []

    def write(network: Network, folder: Path) -> WrittenNetwork:
        made.append(network)
        return WrittenNetwork(network.name, {}, ("vector",), 0.0, {})

    monkeypatch.setattr(ClipEncoder, "open", lambda name, device: SimpleNamespace(model=model))
    monkeypatch.setattr(onnx_networks, "write_onnx", write)
    export_onnx(tmp_path / "hf", tmp_path / "onnx")
    assert [one.name for one in made] == ["clip-image", "clip-text"]
    assert json.loads((tmp_path / "onnx/onnx.json").read_text())["hash"] is None
    assert ClipTokenizer.open(tmp_path / "onnx", merged.vocab_size).encode(["ab"], 8).tolist() == (
        merged.encode(["ab"], 8).tolist()
    )
    assert not (tmp_path / "onnx/tokenizer.json").exists() and (tmp_path / "onnx/vocab.json").is_file()


@pytest.mark.parametrize("variance", ["fixed", pytest.param("learned", marks=pytest.mark.slow)])
def test_a_step_of_a_network_that_denoises(variance: Variance, tmp_path: Path) -> None:
    outputs, steps = (6, 100) if variance == "learned" else (3, 0)
    unet = UNetConfig((8,), (1,), (True,), outputs=outputs, text=WIDTH, middle=False, head=8)
    config = StageConfig(8, unet, DiffusionConfig("eps", variance=variance, steps=steps))
    net = UNet(unet)
    net.load_state_dict(talking(lambda: UNet(unet), 0, "base"))
    written = write_onnx(step_of("base", net.eval(), config), tmp_path)
    assert written.inputs["sequence"] == ["batch", "length", WIDTH] and written.inputs["sigma"] == ["batch"]
    compared(tmp_path / "base.onnx", net, config, length=3)


@pytest.mark.slow
def test_a_step_of_every_network_of_a_cascade(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save_random_imagen(tmp_path / "imagen"))
    export_onnx(checkpoint.folder, tmp_path / "onnx")
    for part, length in (("base", 1), ("upsampler", 9)):
        config = checkpoint.config(part, StageConfig)
        unet = UNet(config.unet)
        checkpoint.load_into(part, unet)
        compared(tmp_path / "onnx" / f"{part}.onnx", unet.eval(), config, length)


@torch.inference_mode()
def compared(path: Path, unet: UNet, config: StageConfig, length: int) -> None:
    generator, side = torch.Generator().manual_seed(3), config.size
    told = {"sequence": torch.randn(ROWS, length, WIDTH, generator=generator)}
    told["mask"] = torch.arange(length) < torch.tensor([0, 1, length, length])[:, None]
    if config.low:
        told["low_res"] = torch.rand(ROWS, 3, side, side, generator=generator)
        told["augmentation"] = torch.tensor([0.0, 100.0, 300.0, 1000.0])
    x, sigma = torch.randn(ROWS, 3, side, side, generator=generator), torch.tensor([0.01, 0.3, 2.0, 20.0])
    found = answers(path, x=x, sigma=sigma, **told)
    expected = UNetDenoiser(unet, config.diffusion, side, torch.device("cpu"), autocast=False)(x, sigma, told)
    np.testing.assert_allclose(found[0], expected.x0.numpy(), atol=1e-4)
    assert np.abs(found[0][2] - found[0][3]).max() > 0.01, "an answer that depends on nothing proves nothing"
    if expected.fraction is not None:
        np.testing.assert_allclose(found[1], expected.fraction.numpy(), atol=1e-4)


def test_an_answer_too_far_away_is_refused_and_nothing_is_left(
    dalle: tuple[Path, Path], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "TOLERANCE", 0.0)
    done = cli("export", dalle[0], "--to", "onnx", "--out", tmp_path / "out")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "away from the network" in done.err and "nothing is written" in done.err
    assert not [*tmp_path.iterdir()]
    (tmp_path / "mine.txt").write_text("mine")
    done = cli("export", dalle[0], "--to", "onnx", "--out", tmp_path)
    assert (done.code, done.err) == (2, f"pinxit: {tmp_path} is not empty: export into another folder.\n")


def test_what_holds_no_such_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="judge holds no network that becomes ONNX"):
        export_onnx("judge", tmp_path / "out")
    with pytest.raises(PinxitError, match="there is no CLIP"):
        export_onnx(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/onnx.json").write_text("mine")
    with pytest.raises(UsageError, match="mine is not empty: export into another folder"):
        export_onnx("tiny", tmp_path / "mine")
    assert not (tmp_path / "out").exists()


def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(UsageError, match=r'needs no_such_package: pip install .* "\.\[onnx\]"'):
        check_installed()
