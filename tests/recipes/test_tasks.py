"""What every training task owes: batches and draws that hang on seed and place, and losses that heed what is set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pinxit.config import override
from pinxit.data.order import order_batch
from pinxit.errors import UsageError
from pinxit.models.prior import PriorConfig
from pinxit.recipes.batches import Augment
from pinxit.recipes.classifier import ClassifierConfig, ClassifierTask
from pinxit.recipes.clip.presets import preset as clip_preset
from pinxit.recipes.clip.task import ClipTask, ClipTraining
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.presets import nano
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.recipes.imagen.presets import preset as imagen_preset
from pinxit.recipes.judge import training as judge_training
from pinxit.recipes.judge.training import JudgeTask
from pinxit.recipes.unclip.presets import preset as unclip_preset
from pinxit.recipes.unclip.space import Space, SpaceConfig
from pinxit.recipes.unclip.task import PriorTask
from pinxit.text.encoders import TextEncoder
from pinxit.training import draws
from pinxit.training.draws import row_streams
from pinxit.training.parallel import Ranks
from pinxit.training.rows import all_rows
from pinxit.training.step import with_counts
from pinxit.types import EncodedText
from pinxit.world.world import World
from tests.recipes.memory_bank import SAID, MemoryBank, noise
from tests.recipes.painters import tokenizer
from tests.recipes.test_judge import TINY

PLAIN = ClassifierConfig(size=16, held_out=4, width=8, blocks=(1, 1, 1, 1), augment=Augment())
CLIP = ClipTraining(clip_preset("nano").clip, 32)
GUMBEL = override(nano(), ["dvae.quantiser=gumbel", "noise.kl_images=80", "noise.temperature_images=80"])
STAGES = [stage.network for stage in imagen_preset("nano").stages]
BASE, UPSAMPLER = (replace(one, unet=replace(one.unet, text=32)) for one in STAGES)


class Reader:
    """Two sentences, two constants."""

    name, width, pooled_width, length, precision, padded, fingerprint = "two", 32, 32, 6, "fp32", False, "two"

    def encode(self, texts: Sequence[str], batch: int = 1) -> EncodedText:
        rows = torch.stack([torch.full((6, 32), float(text == SAID[0])) for text in texts])
        return EncodedText(rows, rows.mean(1), torch.ones(len(texts), 6, dtype=torch.bool))


def reader() -> TextEncoder:
    return Reader()  # type: ignore[return-value]


def shelf(side: int) -> Any:
    return MemoryBank(noise(40, side))


def classifier(seed: int) -> ClassifierTask:
    return ClassifierTask(replace(PLAIN, seed=seed, augment=Augment(0.25, mirror=True)), ("a", "b"), shelf(16))


def clip(seed: int, redrawn: float = 0.0) -> ClipTask:
    return ClipTask(replace(CLIP, seed=seed, augment=Augment(0.25), reconstructed=redrawn), shelf(32), tokenizer())


def dvae(seed: int) -> DVAETask:
    return DVAETask(override(GUMBEL, [f"seed={seed}"]), shelf(48))


def transformer(seed: int) -> TransformerTask:
    codes = np.arange(40 * 16).reshape(40, 4, 4).astype(np.uint16) % 256
    return TransformerTask(override(nano(), [f"seed={seed}"]), codes, [SAID] * 40, tokenizer())


def diffusion(seed: int) -> DiffusionTask:
    return DiffusionTask("base", BASE, seed, (6, 32), shelf(BASE.size), reader())


def upsampler(seed: int) -> DiffusionTask:
    return DiffusionTask("upsampler", UPSAMPLER, seed, (6, 32), shelf(UPSAMPLER.size), reader())


def judge(seed: int) -> JudgeTask:
    return JudgeTask(World("small", "train"), TINY, seed)


BATCHES: dict[str, tuple[Callable[[int], Any], tuple[str, ...]]] = {
    "classifier": (classifier, ("pictures", "classes")),
    "clip": (clip, ("pictures", "ids")),
    "dvae": (dvae, ("pictures",)),
    "transformer": (transformer, ("text", "codes")),
    "diffusion": (diffusion, ("pictures", "sequence")),
    "upsampler": (upsampler, ("pictures", "sequence")),
    "judge": (judge, ("pictures", "objects")),
}
"""Tasks, and the parts of their batches that are drawn."""


def told(seed: int) -> DiffusionTask:
    """With blurred text and holes."""
    config = replace(BASE, unet=replace(BASE.unet, masked=4))
    return DiffusionTask("base", config, seed, (6, 32), shelf(BASE.size), reader(), noise=0.5)


def mirrored(seed: int) -> ClipTask:
    """Half of the update is pairs, from another order than the rest."""
    task = ClipTask(replace(CLIP, seed=seed, mirrored=0.5), shelf(32), tokenizer())
    task.__dict__["_mirrored"] = np.arange(12).reshape(6, 2)
    return task


def test_all_of_an_uneven_update_cannot_be_pairs() -> None:
    task = mirrored(0)
    task.config = replace(task.config, mirrored=1.0)
    assert [len(task._rows(all_rows(0, count))) for count in (2, 3, 7)] == [2, 3, 7]


class FakePairs:
    """Forty pictures and two captions of each as vectors, for unCLIP's priors."""

    def __init__(self, about: PriorConfig) -> None:
        draws, shape = torch.Generator().manual_seed(1), (40, 2, about.length, about.text)
        self.seen, self.said = (torch.randn(40, about.embed, generator=draws) for _ in range(2))
        self.read = torch.randn(shape, generator=draws)
        self.vectors = SimpleNamespace(
            order=lambda rows, seed: order_batch(rows.first + rows.start, rows.count, 40, seed),
            count=lambda row: 2,
            image_embeddings=lambda rows: self.seen[rows],
        )
        space = Space(SpaceConfig(about.embed, about.components, buckets=about.buckets, dots=about.dots))
        self.space = space.requires_grad_(False)
        for edges in (self.space.edges, self.space.dot_edges):
            edges.copy_(torch.linspace(-1, 1, edges.shape[1]).expand_as(edges))

    def __len__(self) -> int:
        return 40

    def coordinates(self, rows: Sequence[int]) -> Tensor:
        return self.space.encode(self.seen[rows])

    def with_drops(self, rows: Sequence[int], which: Sequence[int], kept: Any) -> dict[str, Tensor]:
        read = self.read[rows, which]
        mask = torch.from_numpy(kept)[:, None].expand(read.shape[:2])
        return {"sequence": read, "mask": mask, "pooled": self.said[rows]}


def prior(seed: int, which: int = 0) -> PriorTask:
    config = unclip_preset("nano").priors[which]
    return PriorTask(replace(config, drop=0.5), seed, FakePairs(config.network))  # type: ignore[arg-type]


LAWFUL: dict[str, Callable[[int], Any]] = {name: make for name, (make, _) in BATCHES.items()}
LAWFUL |= {"told": told, "mirrored": mirrored, "prior": prior, "token prior": partial(prior, which=1)}


@pytest.mark.parametrize("name", BATCHES)
def test_what_a_batch_shows_and_says_hangs_on_seed_and_place(name: str) -> None:
    make, parts = BATCHES[name]
    task, other = make(0), make(1)
    here, again, later, elsewhere = (
        task.batch(all_rows(0, 16)),
        make(0).batch(all_rows(0, 16)),
        task.batch(all_rows(16, 16)),
        other.batch(all_rows(0, 16)),
    )
    for part in parts:
        assert torch.equal(here[part], again[part]), part
        assert not torch.equal(here[part], later[part]), f"{part} at another place"
        assert not torch.equal(here[part], elsewhere[part]), f"{part} of another seed"


@pytest.mark.parametrize("name", ["dvae", "diffusion", "upsampler", "judge"])
def test_what_a_loss_draws_hangs_on_seed_and_place(name: str) -> None:
    make, _ = BATCHES[name]
    task, other = make(0), make(1)
    for key, module in task.modules().items():
        torch.manual_seed(0)
        for parameter in module.parameters():  # an untrained network answers nothing, whatever it sees
            nn.init.normal_(parameter, std=0.05)
        other.modules()[key].load_state_dict(module.state_dict())
    batch = task.batch(all_rows(0, 8))
    with torch.no_grad():
        here, again, later, elsewhere = (
            float(one.loss(batch, all_rows(place, 8))[0])
            for one, place in ((task, 0), (task, 0), (task, 8), (other, 0))
        )
    assert here == again and here != later and here != elsewhere


def unvaried(task: Any) -> None:
    """Weights that say something, and modules that keep nothing of what they see."""
    for module in task.modules().values():
        torch.manual_seed(0)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.05)
        module.eval()


NO_MEANS = {"codes_used"}
"""Logged numbers of a batch that are not means over its rows."""


def check_law(task: Any, size: int) -> None:
    """What is made of rows is what is made of pieces of `size` of them, and losses are the means of those of the parts.

    So are the numbers that are logged. But for losses that compare rows with each other.
    """
    full = all_rows(16, 8)
    unvaried(task)
    batch, pieces = task.batch(full), list(full.cut(size))
    parts = [task.batch(rows) for rows in pieces]
    for key, values in batch.items():
        assert torch.equal(values, torch.cat([part[key] for part in parts if key in part])), key
    if getattr(task, "pieces", "alike") == "one" or isinstance(task, JudgeTask):
        return
    with torch.no_grad():
        (loss, numbers), *cut = (
            task.loss(part, rows)
            for some in ([(full, batch)], list(zip(pieces, parts, strict=True)))
            for rows, part in with_counts(task, some, Ranks())
        )
    assert float(sum(one for one, _ in cut)) / len(cut) == pytest.approx(float(loss), rel=1e-4)
    for name in numbers.keys() - NO_MEANS:
        told = sum(float(each[name]) for _, each in cut) / len(cut)
        assert told == pytest.approx(float(numbers[name]), rel=1e-3, abs=1e-6), name


def test_every_token_of_an_update_counts_the_same_however_long_captions_are() -> None:
    """A transformer that has learned something: then it is seen whether short captions weigh more."""
    task = transformer(0)
    for parameter in task.transformer.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    batch, pieces = task.batch(all_rows(16, 8)), list(all_rows(16, 8).cut(2))
    tokens = [int((task.batch(rows)["text"] != 0).sum()) for rows in pieces]
    assert len(set(tokens)) > 2
    parts = with_counts(task, [(rows, task.batch(rows)) for rows in pieces], Ranks())
    with torch.no_grad():
        loss, numbers = task.loss(batch, all_rows(16, 8))
        cut = [task.loss(part, rows) for rows, part in parts]
        none = task.loss(batch | {"text": torch.zeros_like(batch["text"]), "tokens": torch.zeros(())}, all_rows(16, 8))
    assert float(sum(one for one, _ in cut)) / 4 == pytest.approx(float(loss), rel=1e-5)
    assert float(sum(one["text"] for _, one in cut)) / 4 == pytest.approx(float(numbers["text"]), rel=1e-5)
    assert float(none[1]["text"]) == 0 and torch.isfinite(none[0])


def test_halves_are_of_the_times_that_are_trained_on() -> None:
    """Also of a stage that learns but a part of the schedule."""
    task = diffusion(0)
    task.span = (0.0, 0.01)
    with torch.no_grad():
        loss, numbers = task.loss(task.batch(all_rows(0, 8)), all_rows(0, 8))
    noisy, clean = (float(numbers[name]) for name in ("noisy", "clean"))
    assert noisy > 0 and clean > 0 and (noisy + clean) / 2 == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("size", [4, 2, 8])
@pytest.mark.parametrize("name", LAWFUL)
def test_what_is_made_of_rows_is_what_is_made_of_their_parts(name: str, size: int) -> None:
    check_law(LAWFUL[name](0), size)


def test_which_rows_are_redrawn_is_settled_for_the_whole_update() -> None:
    for share, count in ((0.5, 4), (0.3, 2), (1.0, 8), (0.0, 0)):
        task = clip(0, redrawn=share)
        found = task.reconstructed(all_rows(24, 8)).tolist()
        assert len(set(found)) == len(found) == count
        parts = [task.reconstructed(rows) + rows.start for rows in all_rows(24, 8).cut(2)]
        assert np.concatenate(parts).tolist() == found
    assert {tuple(clip(0, redrawn=0.5).reconstructed(all_rows(8 * k, 8)).tolist()) for k in range(50)} != {(0, 2, 4, 6)}


def test_a_classifier_learns_from_what_is_not_held_out() -> None:
    for held_out in (40, 41):
        with pytest.raises(UsageError, match=f"of 40 pictures {held_out} are held out"):
            ClassifierTask(replace(PLAIN, held_out=held_out), ("a", "b"), shelf(16))
        with pytest.raises(UsageError, match=f"held_out={held_out} must be below pictures=40"):
            ClassifierConfig(pictures=40, held_out=held_out)
    task = ClassifierTask(replace(PLAIN, held_out=39), ("a", "b"), shelf(16))
    assert len(np.unique(task.batch(all_rows(0, 8))["pictures"].numpy(), axis=0)) == 1


def test_a_classifier_sees_varied_pictures_where_it_is_asked_to() -> None:
    bank = shelf(16)
    stored = {row.tobytes() for row in bank.pictures}
    for augment, known in ((Augment(), range(16, 17)), (Augment(0.25, mirror=True), range(3))):
        task = ClassifierTask(replace(PLAIN, augment=augment), ("a", "b"), bank)
        assert sum(row.tobytes() in stored for row in task.batch(all_rows(0, 16))["pictures"].numpy()) in known


class Recognises(nn.Module):
    """A CLIP that reads a number off a picture's colour, and the same off a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def encode_image(self, x_B3SS: Tensor) -> Tensor:
        return torch.eye(256)[(255 * x_B3SS.mean((1, 2, 3))).round().long()]

    def encode_text(self, ids_BL: Tensor) -> Tensor:
        return torch.eye(256)[ids_BL[:, 0]]


class Numbers:
    """A tokenizer of numbers."""

    def encode_clip(self, texts: Sequence[str], length: int) -> Any:
        return np.array([[int(text)] * length for text in texts])


def test_clip_is_scored_on_what_is_held_out_by_first_captions() -> None:
    """Of the last four pictures one is told of wrongly, of those before all are."""
    pictures = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
    captions = [(str(100 + row), str(row)) for row in range(8)] + [("8", "0"), ("9", "0"), ("10", "0"), ("99", "11")]
    task = ClipTask(replace(CLIP, held_out=4), MemoryBank(pictures, captions), Numbers())  # type: ignore[arg-type]
    task.clip = Recognises()  # type: ignore[assignment]
    assert task.scores() == {"zero_shot": 0.75}
    task.config = replace(CLIP, held_out=12)
    assert task.scores() == {"zero_shot": 0.25}


def dvae_loss(config: DalleConfig, position: int) -> tuple[float, dict[str, float]]:
    task = DVAETask(config, shelf(32))
    with torch.no_grad():
        loss, parts = task.loss(task.batch(all_rows(0, 4)), all_rows(position, 4))
    return float(loss), {name: float(part) for name, part in parts.items()}


def test_the_dvaes_divergence_weighs_what_the_schedule_says() -> None:
    """Between two losses with the same draws there is beta times the KL divergence, over a picture's values."""
    free = override(GUMBEL, ["noise.kl_weight=0"])
    heavy = override(GUMBEL, ["noise.kl_weight=500"])
    for position, beta in ((0, 0.0), (40, 250.0), (80, 500.0)):
        (light, parts), (full, _) = dvae_loss(free, position), dvae_loss(heavy, position)
        assert full - light == pytest.approx(beta * parts["kl"] / (3 * 32 * 32), abs=1e-5)
    assert parts["kl"] > 0


def test_groups_of_a_bank_stay_together_and_come_one_after_the_other() -> None:
    task = ClipTask(replace(CLIP, group=4, held_out=0), shelf(32), tokenizer())
    assert task.bank is not None and len(task.bank) == 40
    every = order_batch(0, 40, 40, draws.key(CLIP.seed, "clip order"), 4).tolist()
    assert [row for position in range(0, 40, 8) for row in task._rows(all_rows(position, 8)).tolist()] == every
    assert sorted(every) == list(range(40)) and all(every[k] // 4 == every[k + 3] // 4 for k in range(0, 40, 4))


def test_the_dvae_tells_the_mean_of_its_spread_and_the_codes_it_used() -> None:
    task = DVAETask(GUMBEL, shelf(32))
    batch = task.batch(all_rows(0, 4))
    with torch.no_grad():
        _, parts = task.loss(batch, all_rows(0, 4))
        x = batch["pictures"].permute(0, 3, 1, 2).float() / 255
        out = task.dvae(x, 1.0, row_streams(GUMBEL.seed, "gumbel", all_rows(0, 4), x.device))
    assert float(parts["ln_b"]) == pytest.approx(float(out.ln_b.mean()), abs=1e-6)
    assert int(parts["codes_used"]) == len(out.codes.unique())


def test_a_transformer_without_a_dvae_shows_nothing() -> None:
    assert transformer(0).preview() is None


def test_the_dvae_is_relaxed_as_much_as_the_schedule_says() -> None:
    warm, cold = (override(GUMBEL, [f"noise.temperature={end}"]) for end in (1.0, 0.05))
    assert dvae_loss(warm, 0) == dvae_loss(cold, 0)
    assert abs(dvae_loss(warm, 80)[0] - dvae_loss(cold, 80)[0]) > 1e-6


class Overhears(nn.Module):
    """A network that says nothing and keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Tensor] = {}

    def forward(self, z: Tensor, time: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        self.given.update(conditions)
        return torch.zeros_like(z)


def test_an_upsampler_learns_from_means() -> None:
    """A fine chequer of black and white is gray at half the side."""
    task = DiffusionTask("upsampler", replace(UPSAMPLER, max_augmentation=0.0), 0, (6, 32))
    task.unet = overhears = Overhears()  # type: ignore[assignment]
    batch = task.blank(4)
    rows, columns = torch.meshgrid(*[torch.arange(batch["pictures"].shape[1])] * 2, indexing="ij")
    batch["pictures"] = (255 * ((rows + columns) % 2)).byte()[None, :, :, None].expand(4, -1, -1, 3)
    task.loss(batch, all_rows(0, 4))
    low_res = overhears.given["low_res"]
    torch.testing.assert_close(low_res, torch.zeros_like(low_res), atol=1e-6, rtol=0)


def test_a_judge_learns_from_worn_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Tensor] = []
    monkeypatch.setattr(judge_training, "corrupted", lambda x, generator: torch.full_like(x, 0.5))
    task = judge(0)
    task.detector.register_forward_pre_hook(lambda _m, given: shown.append(given[0]))
    task.loss(task.batch(all_rows(0, 4)), all_rows(0, 4))
    assert len(shown) == 1 and (shown[0] == 0.5).all()


def test_what_a_network_drops_hangs_on_seed_and_place_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout's masks, which torch draws from the generator that everybody shares."""
    masks, real = list[Tensor](), torch.nn.functional.dropout

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        masks.append(real(torch.ones_like(x), p, training))
        return x * masks[-1]

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    config = replace(BASE, unet=replace(BASE.unet, dropout=0.5))
    task, other = (DiffusionTask("base", config, seed, (6, 32), shelf(config.size), reader()) for seed in (0, 1))
    first: list[Tensor] = []
    for one, rows in ((task, all_rows(8, 4)), (other, all_rows(8, 4)), (task, all_rows(12, 4)), (task, all_rows(8, 4))):
        torch.rand(3)
        state = torch.get_rng_state()
        masks.clear()
        one.loss(one.batch(rows), rows)
        assert torch.equal(torch.get_rng_state(), state), "which is left as it was"
        first.append(masks[0])
    assert torch.equal(first[0], first[3])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert (task.pieces, diffusion(0).pieces) == ("settled", "alike")


def test_processes_make_the_batches_of_what_is_on_disk_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where captions are read by a network on the GPU as they come, nor where a stream holds connections."""
    monkeypatch.setattr("pinxit.recipes.diffusion.task.Bank", MemoryBank)
    read, blind = diffusion(0), diffusion(0)
    blind.config = replace(BASE, unet=replace(BASE.unet, text=0))
    assert (read.can_fork(), blind.can_fork()) == (False, True)
    some: Any = read.bank
    read.stored = some  # whatever they are: only that there are some
    assert read.can_fork()
    read.bank = None
    assert not read.can_fork()
