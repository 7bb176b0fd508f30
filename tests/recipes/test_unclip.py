"""`pinxit train unclip` from pictures to checkpoint, stopped and resumed, and what each of its networks is told."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pinxit.config import override
from pinxit.data.embeddings import Embeddings
from pinxit.data.sheet import sheet
from pinxit.data.vectors import Vectors
from pinxit.errors import CheckpointError, DataError, UsageError
from pinxit.functional.bsr import gaussian_blur
from pinxit.functional.vectors import norms
from pinxit.models.prior import TokenPrior, build_prior
from pinxit.models.prior_decoder import PriorDecoder
from pinxit.models.unet import UNet
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.conditions import Noising, texts
from pinxit.recipes.diffusion.config import Stage
from pinxit.recipes.diffusion.inputs import signed
from pinxit.recipes.diffusion.task import DiffusionTask, ImageRows
from pinxit.recipes.unclip.config import PriorSampling, UnclipConfig
from pinxit.recipes.unclip.open import open_painter, open_space
from pinxit.recipes.unclip.paper import paper
from pinxit.recipes.unclip.presets import changed, nano, tiny, with_models
from pinxit.recipes.unclip.prior_sampler import PriorSampler
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.unclip.settings import prior_sampling
from pinxit.recipes.unclip.stages import train
from pinxit.recipes.unclip.task import PriorTask, first_dots
from pinxit.text.encoders import open_text_encoder
from pinxit.training import state as states
from pinxit.training.loop import fit
from pinxit.training.plan import Plan
from pinxit.training.rows import all_rows
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.zoo import find
from pinxit.world.world import World

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.unclips import planned, tiny_config

NETWORKS = ("prior", "components", "decoder", "upsampler")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> UnclipConfig:
    return tiny_config(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="module")
def run(config: UnclipConfig, tmp_path_factory: pytest.TempPathFactory) -> UnclipRun:
    """Straight through."""
    made = UnclipRun(tmp_path_factory.mktemp("run") / "run", config, "cpu", progress=False)
    assert train(made).finished == made.stages
    return made


def weights(run: UnclipRun, name: str) -> dict[str, Tensor]:
    return states.read_weights(run.path(name), name)


def test_all_stages_leave_a_checkpoint_that_imagines(run: UnclipRun) -> None:
    assert run.stages == ("pictures", "texts", "vectors", "space", *NETWORKS, "checkpoint")
    kept = open_checkpoint(run.path("checkpoint"), "unclip")
    assert list(kept.parts) == ["space", *NETWORKS] and set(kept.provenance["stages"]) == set(NETWORKS)
    assert kept.settings["sight"] == run.clip.fingerprint and kept.settings["reader"] == run.reader.fingerprint
    stored = open_space(kept).state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in run.space.state_dict().items()), "to the bit"
    card = (run.path("checkpoint") / "README.md").read_text(encoding="utf-8")
    assert "'prior' (diffusion) and 'components' (autoregressive)" in card and "pinxit train unclip" in card
    painter = open_painter(kept, name="run", device="cpu")
    assert tuple(painter.priors) == ("prior", "components")
    for imagine in painter.priors.values():
        asked = painter.embedder.conditions("a red square on the left"), prior_sampling(painter.defaults)
        found = imagine(*asked)
        torch.testing.assert_close(norms(found[None]), torch.ones(1, 1))
        assert torch.equal(found, imagine(*asked)) and not torch.equal(found, imagine(*asked, seed=1))


@pytest.mark.parametrize("after", NETWORKS)
def test_stopped_and_resumed_is_straight_through(run: UnclipRun, tmp_path: Path, after: str) -> None:
    """A network is stopped half-way by its plan; the same command, given the whole plan, ends with the same weights."""
    names = ("run.json", "pictures", "seen", "upsampler-pictures", "texts", "vectors", "space")
    halfway = UnclipRun(tmp_path / "run", run.config, "cpu", progress=False)
    for name in names:
        place = run.folder / name
        if place.is_dir():
            shutil.copytree(place, halfway.folder / name)
        elif place.exists():
            halfway.folder.mkdir(exist_ok=True)
            shutil.copy(place, halfway.folder / name)
    task = halfway.task(after)
    plan = halfway.plan(after)
    fit(task, plan, halfway.path(after), "cpu", progress=False, stop_after=16)
    assert states.read_progress(halfway.path(after)).images == 16
    train(halfway, [after])
    straight, resumed = weights(run, after), weights(halfway, after)
    assert straight.keys() == resumed.keys() and all(torch.equal(straight[k], resumed[k]) for k in straight)


def test_vectors_are_of_the_same_pictures_and_captions(run: UnclipRun) -> None:
    vectors, bank = run.vectors, run.bank()
    assert run.clip_pictures == "seen" and run.clip.size != run.config.decoder.size
    assert [vectors.text(row, 0) in bank.captions[row] for row in range(8)] == [True] * 8
    own = torch.from_numpy(run.clip.texts([vectors.text(3, 0)], cut=True))
    torch.testing.assert_close(vectors.text_embeddings([3], [0]), own, atol=5e-4, rtol=0)
    pairs = run.pairs
    y = pairs.coordinates(range(8))
    assert y.shape == (8, 6) and y.var(0).mean().item() == pytest.approx(1, abs=0.02)
    assert isinstance(pairs.stored, Embeddings) and pairs.stored.text(3, 0) == vectors.text(3, 0)


def test_tokens_read_as_training_goes_are_those_that_were_stored(run: UnclipRun) -> None:
    pairs, rows = run.pairs, [0, 5, 2]
    stored, read = pairs.conditions(rows, [0] * 3), replace(pairs, stored=None).conditions(rows, [0] * 3)
    assert torch.equal(stored["mask"], read["mask"]) and torch.equal(stored["pooled"], read["pooled"])
    apart = (stored["sequence"] - read["sequence"])[stored["mask"]]
    assert apart.abs().max() < 0.02, "float16 and the batch's rounding alone"


class Many:
    """Shares of what is dropped, over many batches."""

    def __init__(self, task: PriorTask | DiffusionTask, batches: int) -> None:
        found = [task.batch(all_rows(64 * k, 64)) for k in range(batches)]
        self.rows = 64 * batches
        self.captions = float(torch.cat([~batch["mask"].any(1) for batch in found]).float().mean())
        images = [batch["image"] for batch in found if "image" in batch]
        self.gone = torch.cat([~image.any(1) for image in images]) if images else torch.zeros(1, dtype=torch.bool)
        self.untold = torch.cat([~batch["mask"].any(1) for batch in found])


def test_captions_and_embeddings_are_dropped_as_often_as_they_should_be(run: UnclipRun) -> None:
    """Priors: a tenth of the captions. Decoder: half of the captions and a tenth of the embeddings, independently."""
    for name in ("prior", "components"):
        assert Many(run.prior_task(name), 150).captions == pytest.approx(0.1, abs=0.01)
    seen = Many(run.decoder_task(), 150)
    assert seen.captions == pytest.approx(0.5, abs=0.02)
    assert float(seen.gone.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((seen.gone & seen.untold).float().mean()) == pytest.approx(0.05, abs=0.01)


def test_the_decoder_is_told_the_embedding_of_the_very_picture(run: UnclipRun) -> None:
    task, bank, expected = run.decoder_task(), run.bank(), run.pairs.coordinates(range(8))
    batch = task.batch(all_rows(0, 8))
    for picture, image in zip(batch["pictures"].numpy(), batch["image"], strict=True):
        row = next(row for row in range(8) if np.array_equal(picture, bank.pictures[row]))
        assert torch.equal(image, expected[row]) or not image.any()
    again = with_embeddings(task, lambda rows: torch.zeros(len(rows), 6)).batch(all_rows(0, 8))
    assert torch.equal(again["pictures"], batch["pictures"]) and torch.equal(again["mask"], batch["mask"])
    with pytest.raises(UsageError, match=r"unet\.image=6 wants embeddings, and none are here"):
        with_embeddings(task, None).batch(all_rows(0, 8))


def with_embeddings(task: DiffusionTask, image_rows: ImageRows | None) -> DiffusionTask:
    settings = (task.name, task.config, task.seed, task.text_shape, task.bank, task.reader, task.drop)
    return DiffusionTask(
        *settings, stored=task.stored, script=task.script, image_rows=image_rows, drop_image=task.drop_image
    )


def test_a_decoders_preview_is_of_embeddings_alone(run: UnclipRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With captions told it would look well and the decoder might be blind; the true pictures stand below."""
    task, told = run.decoder_task(), list[str]()
    task.unet.load_state_dict(weights(run, "decoder"))
    read = task._read
    monkeypatch.setattr(task, "_read", lambda captions: told.extend(captions) or read(captions))  # type: ignore[func-returns-value]
    with torch.no_grad():
        shown = task.preview()
    assert shown is not None and told == [""] * 8
    other = with_embeddings(task, lambda rows: -run.pairs.coordinates(rows))
    other.unet.load_state_dict(weights(run, "decoder"))
    with torch.no_grad():
        turned = other.preview()
    assert turned is not None and turned.shape == shown.shape and not np.array_equal(turned, shown)
    true = sheet([*run.bank().pictures[:8]] * 2, None, columns=8)
    assert shown.shape == true.shape and np.array_equal(shown[len(true) // 2 :], true[len(true) // 2 :])


def test_holes_of_training_hide_what_is_to_be_painted(run: UnclipRun) -> None:
    """The fourth channel is 1 where nothing of the picture is settings, and the rest is the picture itself."""
    plain = run.decoder_task()
    unet = replace(run.config.decoder.unet, masked=4)
    holed = replace(run.config, decoder=replace(run.config.decoder, unet=unet))
    task = replace(run, config=holed).decoder_task()
    told: list[Tensor] = []
    task.unet.register_forward_hook(lambda _, given, answer: told.append(given[2]["masked"]))
    batch = task.batch(all_rows(0, 8))
    loss = task.loss(batch, all_rows(0, 8))[0]
    x0, (masked,) = batch["pictures"].permute(0, 3, 1, 2) / 127.5 - 1, told
    paint = masked[:, 3].bool()[:, None]
    assert paint.any() and not paint.all() and set(masked[:, 3].flatten().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(masked[:, :3], x0.masked_fill(paint, 0.0))
    assert torch.equal(batch["pictures"], plain.batch(all_rows(0, 8))["pictures"])
    torch.testing.assert_close(
        loss, plain.loss(batch, all_rows(0, 8))[0]
    )  # at first the base's answer: what is new is zero
    assert not torch.equal(task.loss(batch, all_rows(8, 8))[0], loss)


@pytest.mark.parametrize("name", ["prior", "components"])
def test_eight_pairs_are_learnt_by_heart(run: UnclipRun, tmp_path: Path, name: str) -> None:
    """And drawn again: from each caption an embedding nearest to its own picture's."""
    about = run.config.prior(name)
    plan = Plan(images=8 * 250, batch=8, lr=3e-3, warmup=80, ema=0.95, precision="fp32", clip=1.0)
    task = PriorTask(replace(about, plan=plan, drop=0.0), 0, run.pairs)
    batch = task.batch(all_rows(0, 8))
    with torch.no_grad():
        before = float(task.loss(batch, all_rows(0, 8))[0])
    fit(task, plan, tmp_path, "cpu", progress=False)
    with torch.no_grad():
        after = float(torch.stack([task.loss(batch, all_rows(position, 8))[0] for position in range(0, 64, 8)]).mean())
    assert after < 0.2 * before
    found, expected, space = drawn(run, task), run.vectors.image_embeddings(range(8)), run.space
    if about.network.buckets:
        expected = space.decode(space.buckets.values(space.buckets.quantise(space.encode(expected))))
        assert int(((found - expected).abs().amax(1) < 1e-5).sum()) >= 7, "every component is the right one"
    else:
        assert int(((found @ expected.T).argmax(1) == torch.arange(8)).sum()) >= 7


@torch.no_grad()
def drawn(run: UnclipRun, task: PriorTask) -> Tensor:
    """Of each picture's caption an embedding; of components the likeliest, for as much likeness as the picture has."""
    told, space, prior = run.pairs.conditions(range(8), [0] * 8), run.space, task.prior.eval()
    if isinstance(prior, TokenPrior):
        decoder = PriorDecoder(prior, told, space.dots(first_dots(run.vectors, range(8))))
        codes = [decoder.logits.argmax(1)]
        while len(codes) < 6:
            codes.append(decoder.step(codes[-1]).argmax(1))
        return space.decode(space.buckets.values(torch.stack(codes, 1)))
    sampler = PriorSampler(prior, space, task.config.diffusion, torch.device("cpu"))
    rows = [{name: tensor[row] for name, tensor in told.items()} for row in range(8)]
    return torch.stack([sampler(row, PriorSampling(steps=10)) for row in rows])


def test_a_prior_starts_as_the_mean_and_its_loss_is_the_variance(run: UnclipRun) -> None:
    """x0 = 0 is answered at first, so that the loss is the mean square of the coordinates, and the tokens' ln Q."""
    task, tokens = run.prior_task("prior"), run.prior_task("components")
    batch = task.batch(all_rows(0, 8))
    with torch.no_grad():
        losses = (
            float(task.loss(batch, all_rows(0, 8))[0]),
            float(tokens.loss(tokens.batch(all_rows(0, 8)), all_rows(0, 8))[0]),
        )
    assert losses[0] == pytest.approx(float(batch["embedding"].square().mean()), rel=1e-5)
    assert losses[1] == pytest.approx(np.log(4), rel=1e-5)


def test_a_reader_of_another_width_is_told_before_anything_is_trained(run: UnclipRun) -> None:
    """Which any network may expect, not only the one whose turn it is."""
    for place in ("priors.components.network.text", "decoder.unet.text", "upsamplers.upsampler.unet.text"):
        work = replace(run, config=override(run.config, [f"{place}=64"]))
        with pytest.raises(UsageError, match=rf"gives vectors of width 32, and {re.escape(place)}=64; set"):
            work.task("prior")


def test_another_clip_or_reader_is_refused(run: UnclipRun) -> None:
    kept = open_checkpoint(run.path("checkpoint"))
    foreign = replace(run)
    foreign.__dict__["clip"] = _Other(run)
    with pytest.raises(DataError, match="do not fit: fingerprint is"):
        _ = foreign.vectors
    with pytest.raises(DataError, match="was fitted on embeddings of CLIP"):
        _ = foreign.space
    wrong = replace(kept, settings=dict(kept.settings) | {"sight": "0" * 16})
    with pytest.raises(CheckpointError, match="trained with another CLIP"):
        open_painter(wrong, name="run", device="cpu")
    wrong = replace(kept, settings=dict(kept.settings) | {"reader": "0" * 16})
    with pytest.raises(CheckpointError, match="trained with another text encoder"):
        open_painter(wrong, name="run", device="cpu")


def test_a_clip_may_be_called_otherwise_and_not_be_another(run: UnclipRun, tmp_path: Path) -> None:
    """A run that was begun with a folder ends in a checkpoint that names what has been made of it since."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    moved = shutil.copytree(run.config.clip, tmp_path / "moved")
    save_random_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match=r"was started with clip=.*, not .*other"):
        train(UnclipRun(folder, replace(run.config, clip=str(tmp_path / "other")), "cpu", progress=False))
    again = UnclipRun(folder, replace(run.config, clip=str(moved)), "cpu", progress=False)
    assert train(again).finished == again.stages
    assert open_checkpoint(folder / "checkpoint").settings["clip"] == str(moved)


class _Other:
    """A CLIP of other weights."""

    def __init__(self, run: UnclipRun) -> None:
        self.name, self.width, self.size, self.fingerprint = "other", run.clip.width, run.clip.size, "f" * 16


def test_a_base_of_imagen_becomes_the_decoder(config: UnclipConfig, tmp_path: Path) -> None:
    """Its weights are taken, its reader too, and what the embedding needs is grown; then all goes its way."""
    imagen = open_checkpoint(save_random_imagen(tmp_path / "imagen"))
    started = with_models(config, imagen)
    assert started.decoder.unet.image == 6 and started.text.length == 12 and started.text.drop == 0.5
    begun = planned(started, images=0)
    begun = replace(begun, priors=planned(started, images=8).priors[:1])
    made = UnclipRun(tmp_path / "run", begun, "cpu", progress=False, init=imagen)
    assert train(made).finished == made.stages
    found, base = weights(made, "decoder"), imagen.state("base")
    assert set(base) < set(found) and all(torch.equal(found[name], base[name].float()) for name in base)
    grown = {name.split(".")[1] for name in found.keys() - base.keys()}
    assert grown == {"image"}
    again = UnclipRun(tmp_path / "again", with_models(config, open_checkpoint(made.path("checkpoint"))), "cpu", False)
    again = replace(again, init=open_checkpoint(made.path("checkpoint")))
    assert train(again, ["pictures", "texts", "vectors", "space"]).finished
    assert torch.equal(again.space.basis, made.space.basis)


def test_a_decoder_begins_as_the_shipped_base() -> None:
    """At the same noise of the same pictures it errs exactly as the base does, but for the embedding's tokens.

    These cost it a hundredth where there are captions.
    """
    imagen, rows = open_checkpoint(find("imagen-tiny")), all_rows(0, 8)
    grown = with_models(tiny(), imagen)
    unet = grown.decoder.unet
    plain = replace(grown.decoder, unet=replace(unet, image=0, image_hidden=0, masked=0))
    tokenless = replace(grown.decoder, unet=replace(unet, image_tokens=0))
    reader = open_text_encoder(grown.text.encoder, "cpu", grown.text.length, spell=grown.text.spell)
    shown = [World("small", size=64)[index] for index in range(8)]
    batch: dict[str, Any] = {"pictures": torch.from_numpy(np.stack([one.picture for one in shown]))}
    batch |= texts(reader, [one.captions[0] for one in shown], 8)
    embedding = {"image": torch.randn(8, grown.space.components, generator=torch.Generator().manual_seed(0))}

    def error(stage: Stage, mask: torch.Tensor, told: dict[str, Any]) -> float:
        task = DiffusionTask("decoder", stage, 0, (reader.length, reader.width), whole=grown.whole)
        state = task.unet.state_dict() | {name: one.float() for name, one in imagen.state("base").items()}
        task.unet.eval().load_state_dict(state)
        with torch.no_grad():
            return float(task.loss(batch | told | {"mask": mask}, rows)[0])

    captions, none = batch["mask"], torch.zeros_like(batch["mask"])
    before, silent = error(plain, captions, {}), error(plain, none, {})
    assert before < silent < 0.2
    assert error(tokenless, captions, embedding) == pytest.approx(before, rel=1e-5)
    assert error(tokenless, none, embedding) == pytest.approx(silent, rel=1e-5)
    assert error(grown.decoder, captions, embedding) == pytest.approx(before, rel=0.01)


def test_a_kept_space_is_the_checkpoints(run: UnclipRun) -> None:
    space = run.space
    z = Vectors.open(run.path("vectors")).image_embeddings(range(8))
    assert 0.5 < space.explained_variance(z) < 1 and space.explained_variance(
        space.decode(space.encode(z))
    ) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["space.unit=false"], r"space\.unit=false must be true"),
        (["priors.prior.network.pads=hidden"], r"network\.pads=hidden must be learned"),
        (["priors.prior.network.pooled=raw"], r"network\.pooled=raw must be unit"),
        (["decoder.unet.pooled=8"], r"base's unet\.pooled=8 must be 0"),
        (["space.components=5"], r"network\.components=6 must equal space\.components=5"),
        (["priors.prior.network.length=9"], r"network\.length=9 must equal text\.length=12"),
        (["decoder.unet.image=7"], r"decoder\.unet\.image=7 must equal space\.components=6"),
        (["decoder.unet.masked=3"], "masked must be 0, or 4"),
        (["decoder.name=base"], "must be name=decoder and low=0"),
        (["priors.prior.drop=2"], r"priors\.prior\.drop must be from 0 to 1"),
        (["imagining.prior=none"], "is none of the priors; choose from prior, components"),
        (["text.stored=0", 'text.learned={"width": 32, "heads": 4}'], r"text\.learned must be null"),
        (["upsamplers.upsampler.low=8"], r"upsampler\.low=8 must equal decoder\.size=16"),
        (["upsamplers.upsampler.name=prior"], "'prior' cannot name a network"),
        (
            [f"upsamplers.upsampler.unet.{one}" for one in ("image_tokens=0", "image=6")],
            "an upsampler takes no image embedding",
        ),
        (["upsamplers.upsampler.unet.augmentation=true"], r"\(low=16, corrupt=blur\) cannot have .*augmentation=true"),
        (["decoder.corrupt=blur"], "corrupt=blur is of an upsampler's smaller pictures"),
        ([f"upsamplers.upsampler.{one}" for one in ("corrupt=bsr", "crop=24")], "side that is a multiple of 16, as"),
        (["upsamplers.upsampler.corrupt=noise"], r"make unet\.low_res=3 and unet\.augmentation=true"),
        (
            ["imagining.steps=20", 'priors.prior.diffusion={"prediction":"x0","steps":10}'],
            r"imagining\.steps=20 must be",
        ),
        (["sampling.spacing=smart50"], r"sampling\.spacing names timesteps"),
        (["priors.prior.name=vectors"], "'vectors' cannot name a prior"),
        (["priors.prior.name=components"], "names must differ"),
        (['priors.prior.diffusion={"prediction":"eps","variance":"learned","steps":10}'], "variance must be fixed"),
    ],
)
def test_parts_that_do_not_fit_are_refused(config: UnclipConfig, changes: Sequence[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        override(config, changes)


def test_a_plan_of_no_images_leaves_a_prior_out(config: UnclipConfig, tmp_path: Path) -> None:
    only = UnclipRun(tmp_path, override(config, ["priors.components.plan.images=0"]), "cpu", False)
    assert only.trained == ("prior", "decoder", "upsampler")
    with pytest.raises(UsageError, match="no prior has pictures to learn from"):
        train(UnclipRun(tmp_path, override(only.config, ["priors.prior.plan.images=0"]), "cpu", False))
    with pytest.raises(UsageError, match=r"upsamplers\.upsampler\.plan\.images=0 keeps what a checkpoint brought"):
        train(UnclipRun(tmp_path, override(config, ["upsamplers.upsampler.plan.images=0"]), "cpu", False))
    with pytest.raises(UsageError, match=r"decoder\.plan\.images=0 keeps what a checkpoint brought"):
        train(UnclipRun(tmp_path, override(config, ["decoder.plan.images=0"]), "cpu", False))


def test_presets_are_what_they_say() -> None:
    assert nano().decoder.size == 16 and tiny().decoder.unet.image == tiny().space.components == 128
    for config in (nano(), tiny()):
        widths = {config.space.embed, *(one.network.embed for one in config.priors)}
        assert widths == {ClipEncoder.open(config.clip, "cpu").width}, "of the CLIP that ships"
    article = paper()
    assert article.space.components == 319 and article.prior("prior").network.width == 2048
    assert article.decoder.diffusion.variance == "learned" and article.text.drop == 0.5 and article.drop_image == 0.1


def test_the_articles_sizes() -> None:
    """Table 3: 1 B, 3.5 B with 1.2 B of them a text encoder that is none of the decoder here, 700 M and 300 M."""
    config = paper()
    with torch.device("meta"):
        nets = [UNet(one.unet) for one in (config.decoder, *config.upsamplers)]
        priors = [build_prior(one.network) for one in config.priors]
    sizes = [sum(parameter.numel() for parameter in net.parameters()) / 1e9 for net in (*nets, *priors)]
    assert sizes == pytest.approx([2.26, 0.73, 0.28, 1.23, 0.81], abs=0.01)
    assert not any("attention.qkv" in name for net in nets[1:] for name, _ in net.named_parameters())
    first, second = config.upsamplers
    assert (first.corrupt, second.corrupt, first.crop, second.crop) == ("blur", "bsr", 64, 256)
    assert not first.unet.conditions().keys() - {"low_res"}


@pytest.mark.parametrize("how", ["blur", "bsr"])
def test_an_upsampler_learns_on_damaged_pictures_and_paints_from_plain_ones(run: UnclipRun, how: Any) -> None:
    """In training the smaller picture is blurred or worn, and no level of noise is told."""
    config = replace(run.config.upsamplers[0], corrupt=how)
    task = DiffusionTask("upsampler", config, 0, (12, 32), run.upsampler_task("upsampler").bank)
    told: list[dict[str, Tensor]] = []
    task.unet.register_forward_hook(lambda _, given, answer: told.append(given[2]))
    batch = task.batch(all_rows(0, 8))
    task.loss(batch, all_rows(0, len(batch["pictures"])))
    (conditions,) = told
    assert conditions.keys() == {"low_res"} and conditions["low_res"].shape == (8, 3, 16, 16)
    small = avg_pool2d(signed(batch["pictures"]), 2)
    plain = Noising().plain(small, 16)["low_res"]
    assert not torch.allclose(conditions["low_res"], plain, atol=1e-3)
    if how == "blur":
        torch.testing.assert_close(conditions["low_res"], Noising().plain(gaussian_blur(small), 16)["low_res"])
    repeated: list[dict[str, Tensor]] = []
    task.unet.register_forward_hook(lambda _, given, answer: repeated.append(given[2]))
    task.loss(batch, all_rows(0, len(batch["pictures"])))
    assert torch.equal(repeated[0]["low_res"], conditions["low_res"]), "a function of the position"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_small_one_learns_from_the_world(tmp_path: Path) -> None:
    """`pinxit train unclip --preset nano --data world:small` with the shipped CLIP: no network is as at the start.

    The prior tells more than the mean of all embeddings and more with its own caption than with another's; the decoder
    draws better for its own picture's embedding than for another's, and than for none.
    """
    changes = ["decoder.pictures=4000", "priors.prior.plan.images=40000", "decoder.plan.images=40000", "whole=1.0"]
    changes += ["priors.components.plan.images=0", "upsamplers.upsampler.plan.images=512"]
    run = UnclipRun(tmp_path / "run", override(nano(), changes), "cpu", progress=False)
    assert train(run).finished == run.stages
    prior, decoder = run.prior_task("prior"), run.decoder_task()
    prior.prior.load_state_dict(weights(run, "prior"))
    decoder.unet.load_state_dict(weights(run, "decoder"))
    batch, other = prior.batch(all_rows(0, 256)), prior.batch(all_rows(4096, 256))
    names = run.config.prior("prior").network.conditions()
    with torch.no_grad():
        own = float(prior.loss(batch, all_rows(0, 256))[0])
        swapped = float(prior.loss(batch | {name: other[name] for name in names}, all_rows(0, 256))[0])
        assert own < 0.7 * float(batch["embedding"].square().mean()) and own < 0.8 * swapped
        batch, losses = decoder.batch(all_rows(0, 256)), {}
        batch |= {"mask": torch.zeros_like(batch["mask"]), "image": run.pairs.coordinates(range(256))}
        batch["pictures"] = torch.from_numpy(np.array(run.bank().pictures[:256]))
        for name, image in {
            "own": batch["image"],
            "none": batch["image"] * 0,
            "other": batch["image"].roll(1, 0),
        }.items():
            losses[name] = float(decoder.loss(batch | {"image": image}, all_rows(0, 256))[0])
    assert losses["own"] < 0.95 * losses["none"] and losses["own"] < 0.8 * losses["other"], losses


def test_models_are_named_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on from whichever folder its command is given in."""
    for name in ("reader", "sight"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    found = changed(nano(), ["text.encoder=reader", "clip=sight"])
    assert (found.text.encoder, found.clip) == (str(tmp_path / "reader"), str(tmp_path / "sight"))
    assert changed(nano(), ["clip=tiny"]).clip == "tiny" and changed(nano(), []) == nano()
