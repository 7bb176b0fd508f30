"""Karlo paints and varies as diffusers' pipelines do, step by step, from its own folder; bad folders are refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pinxit.api import load, load_upsampler
from pinxit.cli.paint_output import folder_name
from pinxit.errors import CheckpointError, PinxitError, UsageError
from pinxit.functional.samplers import SAMPLERS
from pinxit.pipelines import denoise
from pinxit.pipelines.coroutine import run_to_end
from pinxit.pipelines.denoise import DenoiseRequest, DenoiseWorker
from pinxit.pipelines.work import Job, WorkItem
from pinxit.recipes.capabilities import abilities
from pinxit.recipes.diffusion.conditions import Noising
from pinxit.recipes.diffusion.denoiser import SwitchingDenoiser, UNetDenoiser
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.karlo.embedder import AT_ONCE, UnnormalisedClip
from pinxit.recipes.karlo.open import open_painter, open_upsampler
from pinxit.recipes.karlo.painter import KarloPainter
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.unclip import prior_sampler
from pinxit.recipes.unclip.graph import guidance_to, prior_requests, sample_prior, variations
from pinxit.recipes.unclip.settings import prior_sampling
from pinxit.types import Prompt, Ranked
from pinxit.weights.tensor_files import read_tensors, write_tensors
from tests.recipes import karlos
from tests.recipes.karlos import SEED, Karlo, Steps, drawn
from tests.weights.karlos import EMBED, LENGTH, diffusers

if TYPE_CHECKING:
    from pinxit.types import Picture


PROMPT = "a cat, a cat"
SMALL, LARGE = (1, 3, 8, 8), (1, 3, 16, 16)
ENDS = DiffusionConfig("eps", steps=1000, spread="ends")


@pytest.fixture(scope="module")
def karlo(tmp_path_factory: pytest.TempPathFactory) -> Karlo:
    return karlos.save(tmp_path_factory.mktemp("karlo") / "tiny")


@pytest.fixture(scope="module")
def painter(karlo: Karlo) -> KarloPainter:
    found = load(karlo.folder, device="cpu")
    assert isinstance(found, KarloPainter)
    return found


class Item:
    """What a stage is given."""

    def __init__(self, asked: PaintRequest, value: Any = None) -> None:
        self.job, self.value = Job([], asked), value


def given(monkeypatch: pytest.MonkeyPatch, module: Any, draws: Iterator[Tensor]) -> None:
    monkeypatch.setattr(module, "normals", lambda *where: (draw[0] for draw in draws))


def walked(drawer: Any, request: DenoiseRequest) -> list[Tensor]:
    """The sample after every step of our own machine, on the network's scale."""
    worker = DenoiseWorker(drawer.denoiser, 2)
    walk = worker.begin(WorkItem(Job([]), ("it",), 0, (0,), request))
    seen: list[Tensor] = []
    for sigma in request.sigmas[1:]:
        worker.step([walk])
        seen.append((walk.query.x if walk.drawn is None else walk.drawn) / math.hypot(1, sigma))
    assert worker.done(walk)
    return seen


def differ(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    assert len(found) == len(wanted)
    assert min(float(one.std()) for one in wanted) > 0.05  # something happens
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))


def rounded(x: Tensor) -> Tensor:
    """As eight bits a colour: pictures pass from stage to stage so."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def picture_of(x: Tensor) -> Picture:
    return ((x + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8)


def enlarged(painter: KarloPainter, picture: Picture) -> list[Tensor]:
    assert painter.upsampler is not None
    request = painter.upsampler._request(PaintRequest(Prompt("")), Ranked(picture, 0, 0, 0.0))
    assert request.guidance == 1 and request.conditions.keys() == {"low_res"}
    return walked(painter.upsampler, request)


def test_the_pipeline_equals_diffusers_after_every_step(
    karlo: Karlo, painter: KarloPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prior, decoder and both networks that enlarge, in one run of 25, 25 and 7 steps, by the same noise."""
    pipeline = karlo.paint
    prior, decoder = (
        Steps(monkeypatch, pipeline.prior_scheduler),
        Steps(monkeypatch, pipeline.decoder_scheduler, rounded),
    )
    large = Steps(monkeypatch, pipeline.super_res_scheduler)
    pipeline(PROMPT, generator=torch.Generator().manual_seed(SEED))
    assert (len(prior.seen), len(decoder.seen), len(large.seen)) == (25, 25, 7)
    draws = drawn(*[(1, EMBED)] * 25, *[SMALL] * 25, *[LARGE] * 7)  # none for a last step

    settings = painter.settled({})
    asked = PaintRequest(Prompt(PROMPT), settings=settings)
    (wanted,) = prior_requests(painter.parts, asked)
    given(monkeypatch, prior_sampler, draws)
    seen: list[Tensor] = []
    monkeypatch.setitem(SAMPLERS, "ancestral", watched(SAMPLERS["ancestral"], seen))
    request = run_to_end(sample_prior(painter.parts, Item(asked, wanted)))  # type: ignore[arg-type]
    assert differ([x[0] for x in seen], prior.seen) < 1e-5
    image = pipeline.prior.post_process_latents(prior.seen[-1])[0]
    torch.testing.assert_close(request.conditions["image"], image, atol=1e-4, rtol=0)
    monkeypatch.undo()

    given(monkeypatch, denoise, draws)
    small = walked(painter, request)
    assert request.guidance == 8 and request.thresholding.kind == "clip"
    assert differ([*small[:-1], rounded(small[-1])], decoder.seen) < 1e-4
    assert differ(enlarged(painter, picture_of(decoder.seen[-1])), large.seen) < 1e-4


def watched(method: Any, seen: list[Tensor]) -> Any:
    """A sampler that leaves what it asks and what it ends with, on the network's scale, in `seen`."""

    def run(x: Tensor, sigmas: Sequence[float], noise: Any, **options: float) -> Any:
        sampler, levels = method.run(x, sigmas, noise, **options), iter(sigmas[1:])
        query = next(sampler)
        while True:
            answer = yield query
            try:
                query = sampler.send(answer)
            except StopIteration as stop:
                seen.append(stop.value)
                return stop.value
            seen.append(query.x / math.hypot(1, next(levels)))

    return replace(method, run=run)


def test_variations_equal_diffusers_after_every_step(
    karlo: Karlo, painter: KarloPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a picture wider than high: what CLIP sees in its centre, the empty caption, and no prior."""
    pipeline = karlo.vary
    decoder = Steps(monkeypatch, pipeline.decoder_scheduler, rounded)
    large = Steps(monkeypatch, pipeline.super_res_scheduler)
    shown = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    pipeline(Image.fromarray(shown), generator=torch.Generator().manual_seed(SEED), decoder_num_inference_steps=20)
    assert (len(decoder.seen), len(large.seen)) == (20, 7)
    monkeypatch.undo()
    asked = painter.asked(Prompt(""), 1, settings={"steps": 20}, wordless=True)
    (request,) = variations(painter.parts, painter.varying(asked, shown))
    seen = pipeline._encode_image(Image.fromarray(shown), "cpu", 1)[0]
    torch.testing.assert_close(request.conditions["image"], seen, atol=1e-4, rtol=0)
    draws = drawn(*[SMALL] * 20, *[LARGE] * 7)
    given(monkeypatch, denoise, draws)
    small = walked(painter, request)
    assert differ([*small[:-1], rounded(small[-1])], decoder.seen) < 1e-4
    assert differ(enlarged(painter, picture_of(decoder.seen[-1])), large.seen) < 1e-4


def test_pictures_of_any_size_are_seen_all_but_as_transformers_sees_them(karlo: Karlo, painter: KarloPainter) -> None:
    """It resizes first and crops then, by whole pixels; the lengths of embeddings count, not their directions alone."""
    waves = [np.sin(np.linspace(0, turns, length)) for turns, length in ((3, 40), (5, 61), (2, 40), (4, 61))]
    shown = np.stack([np.add.outer(waves[0], waves[1]), np.add.outer(waves[2], waves[3]), np.outer(*waves[:2])], 2)
    picture = (127 + 60 * shown).astype(np.uint8)
    wanted = karlo.vary._encode_image(Image.fromarray(picture), "cpu", 1)[0]
    (found,) = painter.embedder.pictures([picture])
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_clip_guidance_knows_directions_alone(painter: KarloPainter) -> None:
    """Karlo's embeddings have lengths, and its coordinates are the embeddings: both sides of the cosine lose them."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    z_E = painter.embedder.pictures([picture])[0]
    found = guidance_to(z_E, painter.embedder, 0.1)
    assert found is not None and guidance_to(z_E, painter.embedder, 0.0) is None
    torch.testing.assert_close(found.target, z_E / z_E.norm())
    seen_E = found.embed(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[0]
    assert float(seen_E @ found.target) > 0.99


@pytest.mark.parametrize("steps", [*range(2, 40), 50, 67, 100, 999, 1000])
def test_steps_are_those_of_the_scheduler(steps: int) -> None:
    scheduler = diffusers.UnCLIPScheduler()
    scheduler.set_timesteps(steps)
    wanted = scheduler.alphas_cumprod.double()[scheduler.timesteps]
    sigmas = ENDS.even_sigmas(steps)
    assert sigmas[-1] == 0 and len(sigmas) == steps + 1
    torch.testing.assert_close(1 / (1 + torch.tensor(sigmas[:-1]).double().square()), wanted, atol=1e-6, rtol=1e-4)
    assert ENDS.time_of(torch.tensor(sigmas[:-1])).tolist() == scheduler.timesteps.tolist()
    assert ENDS.time_of(torch.tensor(ENDS.even_sigmas(1)[:1])).tolist() == [999]


def test_only_a_discrete_schedule_has_ends() -> None:
    with pytest.raises(UsageError, match=r"spread=ends is of a discrete schedule: set diffusion\.steps"):
        DiffusionConfig("eps", spread="ends")


def test_captions_are_read_as_diffusers_reads_them(karlo: Karlo, painter: KarloPainter) -> None:
    pooled, states, mask = karlo.paint._encode_prompt(PROMPT, "cpu", 1, True)
    for told, row in ((painter.embedder.conditions(PROMPT), 1), (painter.embedder.null_conditions, 0)):
        torch.testing.assert_close(told["pooled"], pooled[row], atol=1e-5, rtol=0)
        assert torch.equal(told["mask"], mask[row])
        torch.testing.assert_close(told["sequence"][mask[row]], states[row][mask[row]], atol=1e-5, rtol=0)
    assert torch.equal(painter.embedder.captions([PROMPT])[0], painter.embedder.conditions(PROMPT)["pooled"])
    assert painter.tokens_over_limit("cat " * 40) == 42 - LENGTH
    clip, said = UnnormalisedClip(painter.embedder), [PROMPT, "", *["a dog"] * AT_ONCE]
    assert np.array_equal(clip.texts(said[:3]), painter.embedder.captions(said[:3]).numpy())
    assert clip.texts(said).shape == (len(said), clip.width) and clip.texts([]).shape == (0, clip.width)


def test_the_last_step_is_the_last_networks_alone(karlo: Karlo, painter: KarloPainter) -> None:
    """In company of items at other steps, too: a call shows its rows to both then, and takes from each its own."""
    assert painter.upsampler is not None
    net = painter.upsampler.denoiser
    assert isinstance(net, SwitchingDenoiser)
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    told = {"low_res": torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}
    sigmas = ENDS.even_sigmas(7)
    early, late = torch.full((3,), sigmas[5]), torch.full((3,), sigmas[6])
    one, other = (net(x, level, told).x0 for level in (early, late))
    mixed = net(x, torch.tensor([sigmas[6], sigmas[5], sigmas[6]]), told).x0
    assert torch.equal(mixed[1], one[1]) and torch.equal(mixed[::2], other[::2])
    assert isinstance(painter.denoiser, UNetDenoiser)
    variance = {name: rows.expand(3, *rows.shape) for name, rows in painter.embedder.null_conditions.items()}
    small, levels = x[:, :, :8, :8], torch.tensor([sigmas[6], sigmas[5], sigmas[6]])
    both = SwitchingDenoiser(painter.denoiser, painter.denoiser, net.below)(small, levels, variance)
    alone = painter.denoiser(small, levels, variance)
    assert both.fraction is not None and alone.fraction is not None
    assert torch.equal(both.x0, alone.x0) and torch.equal(both.fraction, alone.fraction)
    swapped = SwitchingDenoiser(net.last, net.first, net.below)
    assert not torch.allclose(swapped(x, late, told).x0, other) and not torch.allclose(swapped(x, early, told).x0, one)


def test_smaller_pictures_are_enlarged_as_pillow_does_it() -> None:
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    told = Noising(way="bicubic").plain(small, 16)
    colour = Image.fromarray(small[0, 0].numpy())
    wanted = torch.from_numpy(np.array(colour.resize((16, 16), Image.Resampling.BICUBIC)))
    torch.testing.assert_close(told["low_res"][0, 0], wanted, atol=1e-5, rtol=0)


def test_it_paints_varies_blends_and_enlarges(painter: KarloPainter) -> None:
    few: dict[str, Any] = {"steps": 2, "prior_steps": 2}
    alone = painter.paint(PROMPT, candidates=1, keep=None, seed=7, **few)
    crowd = painter.paint_many([("a dog", 1), (PROMPT, 7)], candidates=2, keep=None, **few)[1]
    same = next(one for one in crowd if one.candidate == 0)
    assert np.array_equal(alone[0].picture, same.picture) and crowd[0].score >= crowd[1].score > -1
    varied = painter.vary(same.picture, count=3, seed=1, steps=2)
    assert len({one.picture.tobytes() for one in varied}) == 3 and all(-1 <= one.score <= 1 for one in varied)
    way = painter.blend(same.picture, varied[0].picture, count=2, ddim_steps=3)
    assert [one.shape for one in way] == [(8, 8, 3)] * 2
    assert painter.upsampler is not None
    large = painter.upsampler.enlarge(PROMPT, alone)
    assert large[0].picture.shape == (16, 16, 3)
    assert painter.provenance["recipe"] == "karlo" and painter.name == "tiny"
    with pytest.raises(UsageError, match="no principal components"):
        painter.reconstruct(same.picture, components=[2])
    assert painter.upsampler.defaults == {"upsampler_steps": 7, "upsampler_guidance": 1.0}


def test_its_upsampler_enlarges_anybodys_pictures(karlo: Karlo) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    alone = load_upsampler(karlo.folder, device="cpu")
    assert isinstance(alone, Upsampler) and (alone.low, alone.size) == (8, 16)
    assert alone.enlarge("", [Ranked(picture, 0, 0, 0.0)])[0].picture.shape == (16, 16, 3)
    assert load_upsampler(karlo.folder, device="cpu", reader=alone.reader).reader is alone.reader


def test_two_of_one_name_have_folders_of_their_own(karlo: Karlo, painter: KarloPainter, tmp_path: Path) -> None:
    """A prior that was trained further changes what is painted, other upsampling networks what is enlarged."""
    places = {part: without(karlo, tmp_path / part / "tiny") for part in ("prior", "super_res_last", "none")}
    for part in ("prior", "super_res_last"):
        trained_further(places[part] / part / "diffusion_pytorch_model.safetensors")
    found = {part: open_painter(place, device="cpu") for part, place in places.items()} | {"original": painter}
    assert {one.name for one in found.values()} == {"tiny"}
    painted = {part: folder_name(PROMPT, one.facts({})) for part, one in found.items()}
    assert painted["prior"] != painted["none"] == painted["super_res_last"] == painted["original"]
    enlarged = {part: one.upsampler.facts for part, one in found.items() if one.upsampler}
    assert enlarged["super_res_last"] != enlarged["none"] == enlarged["prior"] == enlarged["original"]


def trained_further(path: Path) -> None:
    """Write a file with each of its weights a little larger."""
    write_tensors(path, {name: 1.001 * tensor for name, tensor in read_tensors(path).items()}, {"format": "pt"})


def test_bf16(karlo: Karlo) -> None:
    opened = open_painter(karlo.folder, device="cpu", precision="bf16")
    assert opened.paint(PROMPT, candidates=1, steps=2, prior_steps=2)[0].picture.std() > 5


def without(karlo: Karlo, folder: Path, *parts: str) -> Path:
    shutil.copytree(karlo.folder, folder, ignore=shutil.ignore_patterns(*parts))
    return folder


def test_a_folder_that_sees_nothing_paints_and_one_without_a_prior_varies(karlo: Karlo, tmp_path: Path) -> None:
    """As Karlo's two published folders are; what either cannot do is refused before anything is computed."""
    blind = open_painter(without(karlo, tmp_path / "paint", "image_encoder", "feature_extractor"), device="cpu")
    found = blind.paint(PROMPT, candidates=2, keep=None, steps=2, prior_steps=2)
    assert [(one.candidate, one.score) for one in found] == [(0, 0.0), (1, 0.0)]
    picture = found[0].picture
    asked = blind.asked(Prompt(""), 1, wordless=True)
    attempts: list[Callable[[], Any]] = [lambda: blind.varying(asked, picture), lambda: blind.vary(picture)]
    for said in (["cat " * 100, "a dog"], ["a dog", "cat " * 100]):
        with pytest.raises(UsageError, match="tokens longer than CLIP reads: shorten it"):
            blind.embedder.captions(said, cut=False)
        assert len(blind.embedder.captions(said)) == 2
    attempts += [lambda: blind.vary(picture, eta=0.5), lambda: blind.shift(picture, "a cat", "a dog")]
    attempts += [lambda: blind.blend(picture, picture, fresh=True)]
    for attempt in attempts:
        with pytest.raises(UsageError, match="no image_encoder"):
            attempt()
    mute = open_painter(without(karlo, tmp_path / "vary", "prior", "prior_scheduler"), device="cpu")
    assert len(mute.vary(picture, count=2, steps=2)) == 2
    assert abilities(blind) == ["paint"] and abilities(mute) == ["vary", "blend"]
    choices: tuple[dict[str, Any], ...] = ({}, {"prior": "none"})
    for settings in choices:
        with pytest.raises(UsageError, match="has no prior: it can vary pictures"):
            mute.paint(PROMPT, **settings)


@pytest.mark.parametrize(
    ("scheduler", "change", "told"),
    [
        ("prior_scheduler", {"prediction_type": "epsilon"}, "prediction_type is epsilon; Karlo has sample"),
        ("prior_scheduler", {"clip_sample": False}, "clip_sample is False"),
        ("prior_scheduler", {"clip_sample_range": "far"}, "clip_sample_range is 'far'"),
        ("decoder_scheduler", {"variance_type": "fixed_small_log"}, "Karlo has learned_range"),
        ("decoder_scheduler", {"clip_sample_range": 2.0}, "clip_sample_range is 2"),
        ("super_res_scheduler", {"_class_name": "DDPMScheduler"}, "_class_name is DDPMScheduler"),
        ("super_res_scheduler", {"timestep_spacing": "leading"}, "the setting timestep_spacing"),
        ("super_res_scheduler", {"num_train_timesteps": 1}, "num_train_timesteps is 1"),
    ],
)
def test_settings_that_are_not_karlos_are_refused(
    karlo: Karlo, tmp_path: Path, scheduler: str, change: dict[str, Any], told: str
) -> None:
    folder = without(karlo, tmp_path / "karlo")
    file = folder / scheduler / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=told):
        open_painter(folder, device="cpu")


def test_a_prior_of_other_limits_and_a_shorter_schedule(karlo: Karlo, tmp_path: Path) -> None:
    folder = without(karlo, tmp_path / "karlo", "image_encoder")
    file = folder / "prior_scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"clip_sample_range": 10.0, "num_train_timesteps": 50}))
    opened = open_painter(folder, device="cpu")
    about = prior_sampling(opened.settled({"prior_steps": 50}))
    assert about.limit == 10 and opened.priors["prior"].diffusion.steps == 50
    with pytest.raises(UsageError, match="from 1 to 50"):
        opened.paint(PROMPT, candidates=1, steps=2, prior_steps=51)


def test_wrong_folders_are_refused_in_one_sentence(karlo: Karlo, tmp_path: Path) -> None:
    def lacking(part: str) -> Path:
        return without(karlo, tmp_path / f"without {part}", part)

    def mixed() -> Path:
        folder = without(karlo, tmp_path / "mixed")
        file = folder / "super_res_last" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": 32}))
        return folder

    parts = ("decoder", "text_proj", "text_encoder", "super_res_first", "prior_scheduler", "decoder_scheduler")
    attempts: list[tuple[Callable[[], Any], str]] = [
        *((lambda part=part: open_painter(lacking(part)), f"no {part}/") for part in parts),
        (lambda: open_upsampler(tmp_path), "no text_encoder/config.json"),
        (lambda: open_painter(mixed()), "must be of one shape"),
    ]
    for attempt, told in attempts:
        with pytest.raises(PinxitError, match=told) as error:
            attempt()
        assert str(error.value).endswith(".") and "\n" not in str(error.value)
