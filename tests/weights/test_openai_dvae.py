"""OpenAI's discrete VAE: parity with what the `DALL-E` package answered, and with pickled modules like its own."""

from __future__ import annotations

import io
import logging
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import CheckpointError
from pinxit.functional.laplace import phi, unphi
from pinxit.weights.openai_dvae import load_openai_dvae
from pinxit.weights.torch_archive import read_torch_archive
from tests.weights import answers

HID, INIT, CODES = 8, 12, 40


class LookAlikeConv(nn.Module):
    """Has OpenAI's parameter names; attributes of every kind that the published pickles carry."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.kw, self.device, self.use_float16 = kernel, torch.device("cpu"), True
        self.w = nn.Parameter(torch.randn(n_out, n_in, kernel, kernel) / (n_in * kernel**2) ** 0.5, False)
        self.b = nn.Parameter(torch.randn(n_out) * 0.1, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.w, self.b, padding=self.kw // 2)


class LookAlikeBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.id_path = LookAlikeConv(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        widths = [n_in, *[n_out // 4] * 3, n_out]
        layers: list[tuple[str, nn.Module]] = []
        for i, kernel in enumerate(kernels):
            layers += [(f"relu_{i + 1}", nn.ReLU()), (f"conv_{i + 1}", LookAlikeConv(widths[i], widths[i + 1], kernel))]
        self.res_path = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.id_path(x) + self.res_path(x) / 64
        return out


class LookAlike(nn.Module):
    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


def _group(first: int, width: int, kernels: tuple[int, ...], last: tuple[str, nn.Module] | None) -> nn.Sequential:
    blocks = [("block_1", LookAlikeBlock(first, width, kernels)), ("block_2", LookAlikeBlock(width, width, kernels))]
    return nn.Sequential(OrderedDict([*blocks, *([last] if last else [])]))


def _assemble(widths: list[int], kernels: tuple[int, ...], between: tuple[str, nn.Module], ends: Any) -> LookAlike:
    groups = [
        (f"group_{i}", _group(widths[i - 1], widths[i], kernels, between if i < 4 else None)) for i in range(1, 5)
    ]
    head = nn.Sequential(OrderedDict([("relu", nn.ReLU()), ("conv", ends[1])]))
    return LookAlike(nn.Sequential(OrderedDict([("input", ends[0]), *groups, ("output", head)])))


def look_alikes() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    encoder = _assemble(
        [HID, HID, 2 * HID, 4 * HID, 8 * HID],
        (3, 3, 3, 1),
        ("pool", nn.MaxPool2d(kernel_size=2)),
        (LookAlikeConv(3, HID, 7), LookAlikeConv(8 * HID, CODES, 1)),
    )
    decoder = _assemble(
        [INIT, 8 * HID, 4 * HID, 2 * HID, HID],
        (1, 3, 3, 3),
        ("upsample", nn.Upsample(scale_factor=2, mode="nearest")),
        (LookAlikeConv(CODES, INIT, 1), LookAlikeConv(HID, 6, 1)),
    )
    return encoder, decoder


def _names_of_the_release(path: Path) -> None:
    """Rename the look-alike's classes in the pickle to ones that only the DALL-E package could import."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            renamed = data.replace(__name__.encode() + b"\n", b"dall_e.encoder\n") if name.endswith(".pkl") else data
            archive.writestr(name, renamed)


def test_pickled_modules_give_their_own_outputs(tmp_path: Path) -> None:
    encoder, decoder = look_alikes()
    for name, module in (("encoder", encoder), ("decoder", decoder)):
        torch.save(module, tmp_path / f"{name}.pkl")
        _names_of_the_release(tmp_path / f"{name}.pkl")
    model = load_openai_dvae(tmp_path, size=32)
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = encoder(phi(pictures))
        torch.testing.assert_close(model.encoder(phi(pictures)), logits, atol=1e-5, rtol=1e-5)
        codes = logits.argmax(1)
        assert torch.equal(model.encode_codes(pictures), codes)
        moments = decoder(F.one_hot(codes, logits.shape[1]).permute(0, 3, 1, 2).float())
        painted = unphi(torch.sigmoid(moments[:, :3]))
    assert painted.std() > 0.005
    torch.testing.assert_close(model.decode_codes(codes), painted, atol=1e-5, rtol=1e-5)


def test_outputs_equal_the_dall_e_package(tmp_path: Path) -> None:
    """Its own names and shapes of weights; its answers are stored."""
    told = answers.stored("dall_e")
    for half, shapes in told["shapes"].items():
        save_file(answers.weights(shapes), tmp_path / f"{half}.safetensors")
    model = load_openai_dvae(str(tmp_path), size=32)
    pictures = answers.pictures(3, 32)
    logits = model.encoder(phi(pictures))[:, ::32]
    torch.testing.assert_close(logits, torch.tensor(told["logits"]), atol=1e-4, rtol=1e-4)
    codes = torch.tensor(told["codes"])
    assert torch.equal(model.encode_codes(pictures), codes)
    painted = model.decode_codes(codes)[:, :, ::5, ::5]
    torch.testing.assert_close(painted, torch.tensor(told["painted"]), atol=1e-5, rtol=1e-5)


def test_plain_state_dicts_are_read_and_one_line_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder, decoder = look_alikes()
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    save_file(decoder.state_dict(), tmp_path / "decoder.safetensors")
    with caplog.at_level(logging.INFO, "pinxit"):
        model = load_openai_dvae(tmp_path, size=64)
    assert len(caplog.records) == 1
    assert "40 codes, 1 per 8 x 8 pixels, 4 groups of 2 blocks" in caplog.text
    assert model.grid == 8
    assert torch.equal(model.encoder.input.weight, encoder.state_dict()["blocks.input.w"])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda s: s.pop("blocks.group_2.block_1.id_path.w"), "lacks blocks.group_2.block_1.id_path.w"),
        (lambda s: s.update(extra=torch.ones(1)), "has unknown extra"),
        (lambda s: s.update({"blocks.output.conv.b": torch.ones(1)}), "wrongly shaped blocks.output.conv.b"),
        (lambda s: s.pop("blocks.input.w"), "holds no OpenAI discrete VAE"),
    ],
)
def test_every_key_is_accounted_for(spoil: Callable[[dict[str, Tensor]], Any], complaint: str, tmp_path: Path) -> None:
    encoder, decoder = look_alikes()
    state = encoder.state_dict()
    spoil(state)
    torch.save(state, tmp_path / "encoder.pkl")
    torch.save(decoder.state_dict(), tmp_path / "decoder.pkl")
    with pytest.raises(CheckpointError, match=complaint):
        load_openai_dvae(tmp_path)


def test_a_missing_half_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"encoder\.pkl"):
        load_openai_dvae(tmp_path)


class Hostile:
    def __init__(self, call: Any, argument: str) -> None:
        self.call, self.argument = call, argument

    def __reduce__(self) -> Any:
        return self.call, (self.argument,)


@pytest.mark.parametrize("call", [os.system, eval, exec, __import__, getattr, io.open])
def test_hostile_pickles_are_refused_and_not_run(call: Any, tmp_path: Path) -> None:
    """A file that runs a command on load, as torch.load(weights_only=False) or pickle.load would."""
    trace = tmp_path / "trace"
    argument = f"touch {trace}" if call is os.system else f"open({str(trace)!r}, 'w')"
    for half in ("encoder", "decoder"):
        torch.save({"w": torch.ones(2), "x": Hostile(call, argument)}, tmp_path / f"{half}.pkl")
    with pytest.raises(CheckpointError, match="asks for"):
        load_openai_dvae(tmp_path)
    assert not trace.exists()
    if call is os.system:  # the trap itself works
        torch.load(tmp_path / "encoder.pkl", weights_only=False)
        assert trace.exists()


def _archive(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_damaged_archives_are_one_sentence(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save({"w": torch.arange(100.0)}, good)
    whole = good.read_bytes()
    with zipfile.ZipFile(good) as archive:
        members = {e.filename: archive.read(e) for e in archive.infolist()}
    short = {n: d[:40] if n.endswith("data/0") else d for n, d in members.items()}
    lost = {n: d for n, d in members.items() if not n.endswith("data/0")}
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    cases = [
        (tmp_path / "absent.pt", "not a readable torch archive"),
        (tmp_path / "cut.pt", "not a readable torch archive"),
        (_archive(tmp_path / "short.pt", short), "40 bytes instead of 400"),
        (_archive(tmp_path / "lost.pt", lost), "data/0 is missing"),
        (_archive(tmp_path / "none.pt", {"readme": b""}), "no single data.pkl"),
        (_archive(tmp_path / "bomb.pt", members, zipfile.ZIP_DEFLATED), "compressed"),
        (_archive(tmp_path / "junk.pt", {"a/data.pkl": b"\x80\x02junk"}), "cannot be read"),
        (_archive(tmp_path / "empty.pt", {"a/data.pkl": pickle.dumps({}, 2)}), "holds no tensors"),
    ]
    for path, complaint in cases:
        with pytest.raises(CheckpointError, match=complaint) as caught:
            read_torch_archive(path)
        assert path.name in str(caught.value)
    assert torch.equal(read_torch_archive(good)["w"], torch.arange(100.0))


def test_views_keep_their_strides_and_halves_their_type(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float16).view(4, 6)
    torch.save({"turned": base.t()[1:], "nested": {"row": base[2]}}, tmp_path / "x.pt")
    tensors = read_torch_archive(tmp_path / "x.pt")
    assert torch.equal(tensors["turned"], base.t()[1:])
    assert torch.equal(tensors["nested.row"], base[2])
    assert tensors["turned"].dtype == torch.float16
