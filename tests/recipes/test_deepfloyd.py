"""DeepFloyd IF paints as diffusers' pipelines do, step by step, from their own folders; bad folders are refused."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.api import load_upsampler
from pinxit.cli.paint_output import folder_name
from pinxit.errors import CheckpointError, PinxitError, UsageError
from pinxit.functional.samplers import FROM_NOISE
from pinxit.pipelines import denoise
from pinxit.pipelines.denoise import DenoiseRequest, DenoiseWorker
from pinxit.pipelines.work import Job, WorkItem
from pinxit.recipes.deepfloyd.captions import clean_caption
from pinxit.recipes.deepfloyd.open import StageFolder, _text_folders, open_painter, open_upsampler
from pinxit.recipes.diffusion import upsampler as upsampling
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.imagen.graph import requests
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.painting import Painter
from pinxit.recipes.requests import PaintRequest
from pinxit.text import encoders
from pinxit.text.encoders import open_text_encoder
from pinxit.types import Prompt, Ranked
from pinxit.weights.tensor_files import read_tensors, write_tensors
from tests.text.tiny_models import save_tiny
from tests.weights.test_deepfloyd import STAGE_1, STAGE_2, peer

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

PROMPT = "a red cat on the very small house"
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
STEPS = COSINE | {"variance_type": "learned_range", "thresholding": True, "dynamic_thresholding_ratio": 0.95}
NOISE_LEVEL, SEED = 250, 3
TINY = {"encoder_hid_dim": 32, "block_out_channels": (32, 64)}  # two levels, and the text's width
BASE = STAGE_1 | TINY
BASE |= {"layers_per_block": 1, "down_block_types": STAGE_1["down_block_types"][:2]}
BASE |= {"up_block_types": STAGE_1["up_block_types"][1:]}
LARGE = STAGE_2 | TINY
LARGE |= {"layers_per_block": (1, 2), "down_block_types": STAGE_2["down_block_types"][1:]}
LARGE |= {"up_block_types": STAGE_2["up_block_types"][:2]}


@dataclass(frozen=True)
class Folders:
    """Both stages as diffusers saves them, and its pipelines over the same networks."""

    base: Path
    large: Path
    paint: Any
    enlarge: Any


def calm(net: Any) -> Any:
    """Answers of about a picture's size: wilder ones make rounding grow from step to step, within diffusers itself."""
    net.conv_out.weight.mul_(0.5)
    return net


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    place = tmp_path_factory.mktemp("deepfloyd")
    text = save_tiny(place / "text", "t5")
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "text")
    shared = {"text_encoder": text, "tokenizer": tokenizer}
    shared |= dict.fromkeys(("safety_checker", "feature_extractor", "watermarker"))
    paint = diffusers.IFPipeline(
        unet=calm(peer(BASE, 1)),
        scheduler=diffusers.DDPMScheduler(sample_max_value=1.5, **STEPS),
        requires_safety_checker=False,
        **shared,
    )
    enlarge = diffusers.IFSuperResolutionPipeline(
        unet=calm(peer(LARGE, 2)),
        scheduler=diffusers.DDPMScheduler(sample_max_value=1.0, **STEPS),
        image_noising_scheduler=diffusers.DDPMScheduler(**COSINE),
        requires_safety_checker=False,
        **shared,
    )
    for pipeline, name in ((paint, "IF-I"), (enlarge, "IF-II")):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(place / name)
    return Folders(place / "IF-I", place / "IF-II", paint, enlarge)


@pytest.fixture(scope="module")
def painter(folders: Folders) -> ImagenPainter:
    return open_painter(folders.base, upsampler=folders.large, device="cpu")


@pytest.fixture(scope="module")
def upsampler(folders: Folders) -> Upsampler:
    return open_upsampler(folders.large, text=folders.base, device="cpu")


def noises(side: int) -> Iterator[Tensor]:
    """What diffusers draws from a generator seeded with SEED, one after the other."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        yield torch.randn(1, 3, side, side, generator=generator)[0]


def theirs(pipeline: Any, **more: Any) -> list[Tensor]:
    """The picture after every step of a diffusers pipeline, [3, H, W] each."""
    seen: list[Tensor] = []
    prompt, null = pipeline.encode_prompt(PROMPT, clean_caption=False)
    pipeline(
        prompt_embeds=prompt,
        negative_prompt_embeds=null,
        generator=torch.Generator().manual_seed(SEED),
        output_type="pt",
        callback=lambda step, t, picture: seen.append(picture[0].clone()),
        **more,
    )
    return seen


def ours(drawer: Any, request: DenoiseRequest) -> list[Tensor]:
    """The picture after every step of our own machine, on the network's scale."""
    worker = DenoiseWorker(drawer.denoiser, 2)
    walk = worker.begin(WorkItem(Job([]), ("it",), 0, (0,), request))
    seen: list[Tensor] = []
    for sigma in request.sigmas[1:]:
        assert not worker.done(walk)
        worker.step([walk])
        seen.append((walk.query.x if walk.drawn is None else walk.drawn) / math.hypot(1, sigma))
    assert worker.done(walk)
    return seen


def differ(found: list[Tensor], expected: list[Tensor]) -> float:
    assert len(found) == len(expected)
    assert min(float(one.std()) for one in expected) > 0.05  # something happens
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


def given(monkeypatch: pytest.MonkeyPatch, draws: Iterator[Tensor]) -> None:
    for module in (denoise, upsampling):
        monkeypatch.setattr(module, "normals", lambda *where: draws)


WALKS: dict[str, tuple[dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "50": ({"steps": 50}, lambda: {"num_inference_steps": 50}),
    "100": ({}, lambda: {"num_inference_steps": 100}),
    "27, no divisor": ({"steps": 27}, lambda: {"num_inference_steps": 27}),
    **{
        name: ({"spacing": name}, lambda name=name: {"timesteps": named(name)})  # type: ignore[misc]
        for name in ("fast27", "smart27", "smart100")
    },
}


def named(name: str) -> list[int]:
    timesteps: list[int] = getattr(
        pytest.importorskip("diffusers.pipelines.deepfloyd_if.timesteps"), f"{name}_timesteps"
    )
    return timesteps


USUAL = ("50", "100", "27, no divisor", "smart27")  # the lists of the others are compared in `test_respacing`


@pytest.mark.parametrize("walk", [one if one in USUAL else pytest.param(one, marks=pytest.mark.slow) for one in WALKS])
def test_stage_1_equals_diffusers_after_every_step(
    folders: Folders, painter: ImagenPainter, monkeypatch: pytest.MonkeyPatch, walk: str
) -> None:
    settings, told = WALKS[walk]
    request = requests(painter.parts, PaintRequest(Prompt(PROMPT), settings=painter.defaults | settings))[0]
    assert request.guidance == 7
    assert (request.thresholding.percentile, request.thresholding.max_threshold) == (0.95, 1.5)
    given(monkeypatch, noises(16))
    expected = theirs(folders.paint, guidance_scale=7.0, **told())
    assert differ(ours(painter, request), expected) < 1e-4


@pytest.mark.parametrize("walk", ["50", "smart27"])
def test_stage_2_equals_diffusers_after_every_step(
    folders: Folders, upsampler: Upsampler, monkeypatch: pytest.MonkeyPatch, walk: str
) -> None:
    settings, told = WALKS[walk]
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    draws = noises(32)
    first, low_noise = next(draws), next(draws)
    given(monkeypatch, iter([low_noise]))
    request = upsampler._request(PaintRequest(Prompt(PROMPT)), Ranked(picture, 0, 0, 0.0))
    assert (request.guidance, request.thresholding.max_threshold) == (4, 1)
    assert float(request.conditions["augmentation"]) == NOISE_LEVEL
    if "spacing" in settings:
        request = replace(request, sigmas=tuple(upsampler.config.diffusion.spaced_sigmas(settings["spacing"])))
    given(monkeypatch, (one for group in ([first], draws) for one in group))
    small = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = theirs(folders.enlarge, image=small, guidance_scale=4.0, noise_level=NOISE_LEVEL, **told())
    assert differ(ours(upsampler, request), expected) < 1e-4


def test_captions_are_read_as_diffusers_reads_them(folders: Folders, painter: ImagenPainter) -> None:
    prompt, null = folders.paint.encode_prompt(PROMPT, clean_caption=False)
    told, empty = painter.captions(PROMPT.upper())
    assert told["sequence"].shape == (77, 32)
    torch.testing.assert_close(told["sequence"], prompt[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(empty["sequence"], null[0], atol=1e-5, rtol=0)
    assert painter.tokens_over_limit("A cat! " * 200) == 601 - 77  # three a time, and the end
    with pytest.raises(UsageError, match="English"):
        painter.captions("三个绿色的三角形")
    for same in painter.captions(""):  # as variations, which have no caption, are enlarged
        torch.testing.assert_close(same["sequence"], null[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampler", FROM_NOISE)
def test_every_sampler_paints(painter: ImagenPainter, sampler: str) -> None:
    one = painter.paint(PROMPT, candidates=1, sampler=sampler, steps=3, guidance=2.0)[0]
    assert one.picture.shape == (16, 16, 3)
    assert one.picture.std() > 5


def test_same_seed_same_picture_alone_or_in_company(painter: ImagenPainter) -> None:
    settings: dict[str, Any] = {"steps": 5, "guidance": 3.0}
    alone = painter.paint(PROMPT, candidates=1, keep=None, seed=7, **settings)
    crowd = painter.paint_many([("a dog", 1), (PROMPT, 7)], candidates=3, keep=None, **settings)[1]
    assert [one.candidate for one in crowd] == [0, 1, 2]  # nobody ranks: as drawn
    assert np.array_equal(alone[0].picture, crowd[0].picture)
    assert not np.array_equal(crowd[0].picture, crowd[1].picture)
    assert painter.upsampler is not None
    painter.upsampler.sampling = replace(painter.upsampler.sampling, upsampler_steps=3)
    large = painter.upsampler.enlarge(PROMPT, crowd)
    assert large[0].picture.shape == (32, 32, 3)
    assert np.array_equal(painter.upsampler.enlarge(PROMPT, alone)[0].picture, large[0].picture)


def test_stage_2_takes_the_text_encoder_of_stage_1(folders: Folders, painter: ImagenPainter, tmp_path: Path) -> None:
    """Where its folder has the same one, or none; a reader that is run in another way does not do."""
    bare = tmp_path / "bare"
    shutil.copytree(folders.large, bare, ignore=shutil.ignore_patterns("text_encoder", "tokenizer"))
    for folder in (folders.large, bare):
        assert load_upsampler(folder, device="cpu", reader=painter.reader).reader is painter.reader
    for reader in (None, open_text_encoder(folders.base, length=77)):
        with pytest.raises(CheckpointError, match="no text_encoder"):
            load_upsampler(bare, device="cpu", reader=reader)


def test_two_of_one_name_have_folders_of_their_own(folders: Folders, painter: ImagenPainter, tmp_path: Path) -> None:
    """Whether the network or its text encoder is another; and so it is with stage II."""
    original, net = folder_name(PROMPT, painter.facts({})), "unet/diffusion_pytorch_model.safetensors"
    for number, part in enumerate((None, net, "text_encoder/model.safetensors")):
        copies = [tmp_path / str(number) / stage.name for stage in (folders.base, folders.large)]
        for stage, copied in zip((folders.base, folders.large), copies, strict=True):
            shutil.copytree(stage, copied)
            if part is not None:
                bent = {name: 1.001 * tensor for name, tensor in read_tensors(copied / part).items()}
                write_tensors(copied / part, bent, {"format": "pt"})
        opened = open_painter(copies[0], upsampler=copies[1], device="cpu")
        assert opened.name == painter.name and opened.upsampler and painter.upsampler
        assert (folder_name(PROMPT, opened.facts({})) == original) == (part is None)
        both = opened.upsampler.facts["upsampler_hash"], painter.upsampler.facts["upsampler_hash"]
        assert (both[0] == both[1]) == (part is None)
        alone = load_upsampler(copies[1], device="cpu")
        assert alone.facts == opened.upsampler.facts


def test_the_hash_covers_a_text_encoder_of_the_hub_and_a_tokenizer_beside(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, found = StageFolder.read(folders.base, 3), set()
    for name in ("one", "two"):
        (tmp_path / name / "text_encoder").mkdir(parents=True)
        (tmp_path / name / "tokenizer").mkdir()
        (tmp_path / name / "tokenizer/tokenizer.json").write_text(name)
        found.add(stage.hash(_text_folders(folders.base, tmp_path / name / "text_encoder")))
        monkeypatch.setattr(encoders, "fetch", lambda spec, archives, name=name: tmp_path / name)
        found.add(stage.hash(_text_folders(folders.base, "hub:some/t5")))
    assert len(found) == 2 and stage.hash([]) not in found


def test_metadata_tell_of_steps_or_of_a_spacing(painter: ImagenPainter) -> None:
    own = painter.defaults | {"seed": 1}
    assert painter.recorded(own) == {name: value for name, value in own.items() if name != "spacing"}
    told = painter.recorded(own | {"spacing": "smart50"})
    assert "steps" not in told and (told["spacing"], told["seed"]) == ("smart50", 1)
    assert painter.upsampler is not None
    facts = painter.upsampler.facts
    assert (facts["upsampler"], facts["upsampler_guidance"], facts["augmentation"]) == ("IF-II", 4.0, 0.25)


def test_it_is_a_painter(painter: ImagenPainter) -> None:
    served: Painter = painter
    assert (served.name, served.size, served.text_tokens) == ("IF-I", 16, 77)
    known = {
        "guidance": 7.0,
        "steps": 100,
        "sampler": "ancestral",
        "percentile": 0.95,
        "clip_guidance": 0.0,
        "agreement": 0.0,
        "spacing": "",
    }
    assert served.defaults == known
    assert served.provenance["recipe"] == "deepfloyd"
    for settings, told in (
        ({"steps": 1001}, "1000"),
        ({"spacing": "smart28"}, "smart28"),
        ({"spacing": "smart50", "steps": 3}, "give steps or spacing, but not both"),
        ({"guidance": -1.0}, "guidance"),
        ({"temperature": 1.0}, "temperature"),
    ):
        with pytest.raises(UsageError, match=told):
            served.paint(PROMPT, candidates=1, **settings)
    settled = served.settled({"spacing": "smart50", "guidance": 2, "steps": None})
    assert settled == known | {"spacing": "smart50", "guidance": 2.0} and isinstance(settled["guidance"], float)
    assert served.settled(settled) == settled, "all its own settings may be given, too"


def test_bf16(folders: Folders) -> None:
    opened = open_painter(folders.base, device="cpu", precision="bf16")
    assert isinstance(opened.denoiser, UNetDenoiser)
    assert next(opened.denoiser.unet.parameters()).dtype == torch.bfloat16
    assert opened.paint(PROMPT, candidates=1, steps=2)[0].picture.std() > 5


def test_a_clip_may_rank(folders: Folders) -> None:
    opened = open_painter(folders.base, clip="tiny", device="cpu")
    ranked = opened.paint(PROMPT, candidates=2, steps=2)
    assert ranked[0].score > ranked[1].score


def changed(folder: Path, target: Path, file: str, **change: Any) -> Path:
    """A copy of `folder` with a JSON file of it changed; None takes a setting away."""
    shutil.copytree(folder, target)
    told = json.loads((target / file).read_text()) | change
    (target / file).write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    return target


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"_class_name": "DDIMScheduler"}, "_class_name is DDIMScheduler"),
        ({"beta_schedule": None}, "beta_schedule is linear"),
        ({"variance_type": "fixed_small"}, "learned_range"),
        ({"prediction_type": "v_prediction"}, "prediction_type"),
        ({"timestep_spacing": "trailing"}, "timestep_spacing"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"thresholding": False, "clip_sample": False}, "thresholding"),
        ({"dynamic_thresholding_ratio": 95}, "dynamic_thresholding_ratio is 95"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps"),
        ({"use_karras_sigmas": True}, "the setting use_karras_sigmas"),
    ],
)
def test_unknown_scheduler_settings_are_refused(
    folders: Folders, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    folder = changed(folders.base, tmp_path / "changed", "scheduler/scheduler_config.json", **change)
    with pytest.raises(CheckpointError, match=told):
        open_painter(folder, device="cpu")


def test_a_shorter_schedule_has_fewer_steps(folders: Folders, tmp_path: Path) -> None:
    file = "scheduler/scheduler_config.json"
    folder = changed(folders.base, tmp_path / "short", file, num_train_timesteps=100, thresholding=False)
    opened = open_painter(folder, device="cpu")
    assert opened.defaults["percentile"] == 0
    with pytest.raises(UsageError, match="from 1 to 100"):
        opened.paint(PROMPT, candidates=1, steps=101)
    assert opened.paint(PROMPT, candidates=1, steps=2)


def test_wrong_folders_are_refused_in_one_sentence(folders: Folders, tmp_path: Path) -> None:
    def lacking(folder: Path, part: str) -> Path:
        target = tmp_path / f"{folder.name} without {part}"
        shutil.copytree(folder, target, ignore=shutil.ignore_patterns(part))
        return target

    wide, small = tmp_path / "wide", changed(folders.base, tmp_path / "small", "unet/config.json", sample_size=4)
    save_tiny(wide, "t5", d_model=16)
    opening: list[tuple[Callable[[], Any], str]] = [
        (lambda: open_painter(tmp_path / "nowhere"), "unet/config.json"),
        (lambda: open_painter(lacking(folders.base, "unet")), "no unet/config.json"),
        (lambda: open_painter(folders.large), "stage II"),
        (lambda: open_upsampler(folders.base), "stage I "),
        (lambda: open_painter(folders.base, upsampler=folders.base), "stage I "),
        (
            lambda: open_painter(small, upsampler=folders.large),
            "at least 8 px and less than 32, and .*small draws them of 4: give",
        ),
        (lambda: open_painter(lacking(folders.base, "text_encoder")), "no text_encoder"),
        (lambda: open_painter(lacking(folders.base, "scheduler")), "no scheduler/scheduler_config.json"),
        (lambda: open_upsampler(lacking(folders.large, "image_noising_scheduler")), "no image_noising_scheduler"),
        (lambda: open_painter(folders.base, text=wide), "gives 16"),
        (
            lambda: open_painter(changed(folders.base, tmp_path / "fixed", "unet/config.json", out_channels=3)),
            "out_channels is 3",
        ),
    ]
    for place, size in enumerate((None, "64", 2, 0, -8, 15, 16.0)):
        folder = changed(folders.base, tmp_path / f"size {place}", "unet/config.json", sample_size=size)
        opening.append((partial(open_painter, folder), f"sample_size is {size}; it must be"))
    for attempt, told in opening:
        with pytest.raises(PinxitError, match=told) as error:
            attempt()
        assert str(error.value).endswith(".")
        assert "\n" not in str(error.value)


CAPTIONS = {
    "A Photo of a CAT": "a photo of a cat",
    "a%20cat+and+a+dog": "a cat and a dog",
    "see https://www.example.com/cats/1.html now": "see html now",
    "a <b>bold</b> <person> &amp; a dog": "a bold person a dog",
    "“quoted” cat": '"quoted" cat',
    '"a quoted cat"': "a quoted cat",
    "it’s a cat — on a mat": "it's a cat - on a mat",
    "a cat by @painter123": "a cat by",
    "this-is-my-cute-cat": "this is my cute cat",
    "a half-blue cat": "a half-blue cat",
    "cat.jpg": "",
    "cat 三只猫 dog": "cat dog",
    "a cat #123 ***SALE***, 192.168.0.1": "a cat sale",
    "poster 640x480 free shipping": "poster",
    "item jc6640 by maker a1b2c3": "item by maker",
    "cats,dogs and birds": "cats, dogs and birds",
    "wait... what : this": "wait what: this",
    'a sign that says "very deep learning"': 'a sign that says "very deep learning"',
    "a cat &amp;amp; a dog": "a cat ; a dog",
    "12345678 cats on page 3": "cats on",
    "- a cat -": "a cat",
    "free download of a cat png images": "of a cat",
}


@pytest.mark.parametrize("caption", CAPTIONS)
def test_captions_are_cleaned(caption: str) -> None:
    assert clean_caption(caption) == CAPTIONS[caption]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_cleaning_equals_diffusers(caption: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With plain stand-ins for the two packages that it wants: what they do beyond has tests of its own."""
    module = pytest.importorskip("diffusers.pipelines.deepfloyd_if.pipeline_if")
    monkeypatch.setattr(module, "ftfy", SimpleNamespace(fix_text=lambda text: text), raising=False)
    monkeypatch.setattr(module, "BeautifulSoup", _Soup, raising=False)
    pipeline = module.IFPipeline
    assert clean_caption(caption) == pipeline._clean_caption(pipeline, pipeline._clean_caption(pipeline, caption))


class _Soup:
    def __init__(self, text: str, features: str) -> None:
        self.text = html.unescape(re.sub(r"</?\w+>", "", text))
