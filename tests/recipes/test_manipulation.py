"""Pictures varied, blended, shifted, reconstructed and edited: what stays, what changes, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pinxit.api import load
from pinxit.data.transforms import square_crop
from pinxit.errors import UsageError
from pinxit.evaluation.measures import psnr
from pinxit.functional.vectors import dots, norms, text_diff
from pinxit.recipes.capabilities import Blends, Edits, Manipulates, Varies, abilities
from pinxit.recipes.diffusion.window import Window
from pinxit.recipes.jobs import Watch
from pinxit.recipes.judge.judge import Judge
from pinxit.recipes.unclip.blending import inversion_request
from pinxit.recipes.unclip.manipulation import Manipulation
from pinxit.recipes.unclip.painter import UnclipPainter
from pinxit.types import Latent, Mask, Prompt, Ranked

pytest.importorskip("transformers")
from tests.recipes.painters import random_painter
from tests.recipes.unclips import save_random_unclip

if TYPE_CHECKING:
    from pinxit.types import Picture

FEW: dict[str, Any] = {"ddim_steps": 6}
DRAWN: dict[str, Any] = {"steps": 3}


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> UnclipPainter:
    folder = save_random_unclip(tmp_path_factory.mktemp("unclip") / "nano", "decoder.unet.masked=4")
    found = load(folder, device="cpu")
    assert isinstance(found, UnclipPainter)
    return found


def test_only_who_has_learned_to_edit_edits(painter: UnclipPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "edit" in abilities(painter) and "edit" not in abilities(object())  # type: ignore[arg-type]
    unet = replace(painter.config.unet, masked=0)
    monkeypatch.setattr(painter, "config", replace(painter.config, unet=unet))
    assert "edit" not in abilities(painter)


def picture(seed: int, height: int = 40, width: int = 30) -> Picture:
    """Soft colours of any size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return square_crop(coarse, max(height, width), "bicubic")[:height, :width]


def same(one: Picture, other: Picture) -> bool:
    return np.array_equal(one, other)


def test_who_manipulates(painter: UnclipPainter) -> None:
    assert isinstance(painter, Manipulates) and not isinstance(random_painter(), Manipulates)


@pytest.mark.parametrize(
    "wrong", [np.zeros((16, 16, 3)), np.zeros((16, 16), np.uint8), np.zeros((0, 0, 3), np.uint8), "fox"]
)
def test_what_is_no_picture_is_refused(painter: UnclipPainter, wrong: Any) -> None:
    """Some computed something from colours in 0..1, others failed inside of Pillow or torch."""
    mask, shown = Mask(np.ones((16, 16), bool)), picture(0)
    asked, other = painter.asked(Prompt("", 0), 2, wordless=True), random_painter()
    for use in (
        lambda: painter.vary(wrong, count=1, **DRAWN),
        lambda: painter.invert([shown, wrong], **FEW),
        lambda: painter.blend(shown, wrong, **FEW),
        lambda: painter.blend(wrong, shown, fresh=True, **DRAWN),
        lambda: painter.reconstruct(wrong, components=[1], **DRAWN),
        lambda: painter.edit(wrong, mask, "a cat", **DRAWN),
        lambda: painter.editing(asked, wrong, mask),
        lambda: other.hole(wrong, keep_rows=1),
        lambda: other.complete(wrong, "a cat", np.ones((8, 8), bool)),
        lambda: painter.upsampler.enlarge("a cat", [Ranked(wrong, 0, 0, 0.0)]),  # type: ignore[union-attr]
        lambda: Judge.open("judge", device="cpu").detect([wrong]),
        lambda: Mask.of(wrong),
    ):
        with pytest.raises(UsageError, match=r"a picture must be a NumPy array uint8 \[height, width, 3\]"):
            use()


def test_a_mask_is_true_or_false() -> None:
    for wrong in (np.full((4, 4), 255, np.uint8), np.ones((4, 4, 3), bool), [[True]]):
        with pytest.raises(UsageError, match=r"a mask must be a NumPy array bool \[height, width\], not"):
            Mask(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, 2**63, 1.5, "1", None, True, math.nan])
def test_a_number_that_is_none_is_refused_by_its_name(painter: UnclipPainter, wrong: Any) -> None:
    """Some drew pictures from seeds that all others refuse, or from half a component; some ended in a TypeError."""
    one, latent = picture(0), Latent(torch.zeros(64), torch.zeros(3, 16, 16))
    calls: dict[str, Callable[[dict[str, Any]], object]] = {
        "blend seed": lambda some: painter.blend(one, one, count=2, fresh=True, **some, **DRAWN),
        "reconstruct seed": lambda some: painter.reconstruct(one, components=[1], **some, **DRAWN),
        "decode seed": lambda some: painter.decode([latent], eta=0.5, **some, **FEW),
        "decode ddim_steps": lambda some: painter.decode([latent], **some),
        "vary ddim_steps": lambda some: painter.vary(one, count=1, eta=0.5, **some),
    }
    if not isinstance(wrong, int) or isinstance(wrong, bool):
        calls |= {
            "vary count": lambda some: painter.vary(one, **some, **DRAWN),
            "blend count": lambda some: painter.blend(one, one, fresh=True, **some, **DRAWN),
            "shift count": lambda some: painter.shift(one, "a cat", "a dog", **some, **FEW),
            "reconstruct components": lambda some: painter.reconstruct(one, components=[some["components"]], **DRAWN),
        }
    for called, call in calls.items():
        name = called.split()[1]
        with pytest.raises(UsageError, match=rf"^{name}.* must be "):
            call({name: wrong})


def test_a_caption_that_is_no_text_is_refused(painter: UnclipPainter) -> None:
    with pytest.raises(UsageError, match="the caption must be text, not None"):
        painter.shift(picture(0), None, "a dog", **FEW)  # type: ignore[arg-type]


def test_a_number_of_numpy_is_a_number(painter: UnclipPainter) -> None:
    one, three, kept = picture(0), np.int64(3), np.array([1])
    some: list[Any] = [{"components": kept, "seed": three}, {"components": [1], "seed": 3}]
    found = [painter.reconstruct(one, steps=1, **how)[0] for how in some]
    assert same(*found)
    latent, half = Latent(torch.zeros(64), torch.zeros(3, 16, 16)), np.float32(0.5)
    assert same(*(painter.decode([latent], eta=eta, ddim_steps=2)[0] for eta in (half, 0.5)))  # type: ignore[arg-type]


def test_a_picture_comes_back_from_the_noise_behind_it(painter: UnclipPainter) -> None:
    """The closer the more steps; and it is the noise that brings it back, for another picture's does not."""
    given = [picture(0), picture(1)]
    true = [square_crop(one, 16, "area") for one in given]
    found = [painter.reconstruct(given[0], ddim_steps=steps)[0] for steps in (4, 12, 30)]
    quality = [psnr(one, true[0]) for one in found]
    assert quality[0] < quality[1] < quality[2] and quality[2] > 35
    one, other = painter.invert(given, ddim_steps=30)
    assert abs(float(norms(one.noise[None])) / (80 * (3 * 256) ** 0.5) - 1) < 0.3, "x_T of the first level, 80"
    crossed = painter.decode([Latent(one.embedding, other.noise)], ddim_steps=30)[0]
    assert psnr(crossed, true[0]) < 20


def test_a_blends_ends_are_the_reconstructions(painter: UnclipPainter) -> None:
    one, other = picture(0), picture(1)
    way = painter.blend(one, other, count=4, **FEW)
    assert len(way) == 4
    assert same(way[0], painter.reconstruct(one, **FEW)[0]) and same(way[-1], painter.reconstruct(other, **FEW)[0])
    assert len({each.tobytes() for each in way}) == 4
    back = painter.blend(other, one, count=4, **FEW)
    for forth, there in zip(way, reversed(back), strict=True):
        assert np.abs(forth.astype(int) - there.astype(int)).max() <= 1


def test_a_fresh_blend_is_one_noise_under_all(painter: UnclipPainter) -> None:
    """Its ends are variations of the inputs by that seed's first noise."""
    one, other = picture(0), picture(1)
    way = painter.blend(one, other, count=3, fresh=True, seed=5)
    assert same(way[0], painter.vary(one, count=1, seed=5)[0].picture)
    assert same(way[-1], painter.vary(other, count=1, seed=5)[0].picture)
    assert not same(way[0], painter.blend(one, other, count=3, fresh=True, seed=6)[0])


def varied(painter: UnclipPainter, given: Picture, **how: Any) -> list[Picture]:
    """Variations in the order in which they are drawn."""
    found = sorted(painter.vary(given, **how), key=lambda one: one.candidate)
    return [one.picture for one in found]


def test_variations_differ_in_their_noise_alone(painter: UnclipPainter) -> None:
    given = picture(0)
    some = varied(painter, given, count=3, seed=1)
    assert len({each.tobytes() for each in some}) == 3
    assert all(same(one, other) for one, other in zip(varied(painter, given, count=2, seed=1), some, strict=False))
    assert not same(varied(painter, given, count=1, seed=2)[0], some[0])
    assert not same(varied(painter, picture(1), count=1, seed=1)[0], some[0]), "the embedding counts"
    assert not same(varied(painter, given, count=1, seed=1, guidance=1.0)[0], some[0])


def test_eta_leads_away_from_the_picture_little_by_little(painter: UnclipPainter) -> None:
    given, true = picture(0), square_crop(picture(0), 16, "area")
    none, little, much = (varied(painter, given, count=2, eta=eta, ddim_steps=10) for eta in (0.0, 0.2, 1.0))
    assert same(none[0], none[1]) and same(none[0], painter.reconstruct(given, ddim_steps=10)[0])
    assert not same(little[0], little[1])
    assert psnr(none[0], true) > psnr(little[0], true) > psnr(much[0], true)


def test_a_shift_turns_the_embedding_and_keeps_the_noise(
    painter: UnclipPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, seen = picture(0), list[Latent]()
    decode = Manipulation.decode

    def spied(self: Manipulation, latents: list[Latent], **how: Any) -> list[Picture]:
        seen.extend(latents)
        return decode(self, latents, **how)

    monkeypatch.setattr(Manipulation, "decode", spied)
    way = painter.shift(given, "a red square", "two blue stars", most=0.4, count=3, **FEW)
    monkeypatch.undo()
    assert same(way[0], painter.reconstruct(given, **FEW)[0]) and not same(way[1], way[0])
    assert all(torch.equal(one.noise, seen[0].noise) for one in seen)
    after, before = painter.embedder.captions(["two blue stars", "a red square"])[:, None]
    towards, start = text_diff(after, before)[0], seen[0].embedding
    whole = dots(start[None], towards[None]).arccos()
    for share, one in zip((0.0, 0.2, 0.4), seen, strict=True):
        torch.testing.assert_close(dots(one.embedding[None], towards[None]).arccos(), (1 - share) * whole)
        torch.testing.assert_close(norms(one.embedding[None]), torch.ones(1, 1))


def test_components_are_taken_one_after_the_other(painter: UnclipPainter) -> None:
    """None of them is no embedding at all; all of them are all that the decoder is ever told."""
    one, other = picture(0), picture(1)
    none, some, every = painter.reconstruct(one, components=[0, 3, 6], seed=2)
    assert same(none, painter.reconstruct(other, components=[0], seed=2)[0])
    assert not same(some, painter.reconstruct(other, components=[3], seed=2)[0])
    assert same(every, painter.vary(one, count=1, seed=2)[0].picture)
    with pytest.raises(UsageError, match="has 6 components: 7 cannot be kept"):
        painter.reconstruct(one, components=[7])


def box(height: int, width: int, top: int, left: int, bottom: int, right: int) -> Mask:
    paint = np.zeros((height, width), bool)
    paint[top:bottom, left:right] = True
    return Mask(paint)


def test_outside_the_mask_every_pixel_stays(painter: UnclipPainter) -> None:
    """At the picture's own size, of whatever shape, enlarged or not."""
    given = picture(0, 50, 70)
    for hole in (box(50, 70, 10, 20, 30, 40), box(50, 70, 20, 2, 40, 68)):
        for upsampler in (None, painter.upsampler):
            kept = painter.edit(given, hole, "a red square", candidates=3, keep=2, upsampler=upsampler, **DRAWN)
            assert len(kept) == 2 and kept[0].score >= kept[1].score
            for one in kept:
                assert one.picture.shape == given.shape
                assert np.array_equal(one.picture[~hole.paint], given[~hole.paint])
                assert (one.picture[hole.paint] != given[hole.paint]).mean() > 0.9
            assert not same(kept[0].picture, kept[1].picture)


def test_the_decoder_is_shown_what_is_kept(painter: UnclipPainter) -> None:
    """Other pixels around the same hole make another filling; what lies in the hole never counts."""
    hole = box(40, 40, 12, 12, 28, 28)
    one, other = picture(0, 40, 40), picture(1, 40, 40)
    within = np.where(hole.paint[:, :, None], other, one)
    how: dict[str, Any] = {"candidates": 1, "seed": 3} | DRAWN
    first, beyond, inside = (painter.edit(some, hole, "a cat", **how)[0].picture for some in (one, other, within))
    assert same(first, inside) and not same(first[hole.paint], beyond[hole.paint])


def test_plain_painting_keeps_nothing(painter: UnclipPainter) -> None:
    whole = box(16, 16, 0, 0, 16, 16)
    edited = painter.edit(picture(0, 16, 16), whole, "a cat", candidates=1, seed=3, **DRAWN)[0]
    assert same(edited.picture, painter.paint("a cat", candidates=1, seed=3, **DRAWN)[0].picture)


def test_what_cannot_be_done_is_one_sentence(painter: UnclipPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    given = picture(0)
    monkeypatch.setattr(Manipulation, "_run", lambda *_: pytest.fail("something is computed first"))
    for call, told in (
        (lambda: painter.vary(given, count=0), "at least one variation"),
        (lambda: painter.vary(given, count=3, candidates=2), "3 variations cannot be the best of 2 candidates"),
        (lambda: painter.vary(given, eta=2.0), "eta must be a number from 0 to 1"),
        (lambda: painter.vary(given, magic=1), "no setting 'magic'"),
        (lambda: painter.blend(given, given, count=1), "at least 2 pictures, its ends"),
        (lambda: painter.blend(given, given, count=0), "its ends, not 0"),
        (lambda: painter.blend(given, given, count=1, fresh=True), "its ends, not 1"),
        (lambda: painter.shift(given, "a cat", " "), "a caption is empty: say what the picture shows"),
        (lambda: painter.shift(given, "", "a cat"), "a caption is empty: say what the picture shows"),
        (lambda: painter.shift(given, "a cat", "a cat"), "no direction from one to the other"),
        (lambda: painter.shift(given, "a cat", "a dog", most=0.0), "a theta above 0"),
        (lambda: painter.shift(given, "cat " * 100, "a dog"), "CLIP reads"),
        (lambda: painter.shift(given, "a dog", "cat " * 100), "CLIP reads"),
        (
            lambda: painter.edit(given, box(30, 40, 0, 0, 9, 9), "a cat"),
            "the mask has 40 x 30 pixels and the picture 30",
        ),
        (lambda: painter.edit(given, box(40, 30, 0, 0, 9, 9), " "), "the prompt is empty"),
    ):
        with pytest.raises(UsageError, match=told):
            call()
    unet = replace(painter.config.unet, masked=0)
    monkeypatch.setattr(painter, "config", replace(painter.config, unet=unet))
    with pytest.raises(UsageError, match=r"is not trained for inpainting: train one with --set decoder\.unet"):
        painter.edit(given, box(40, 30, 0, 0, 9, 9), "a cat")


def test_a_setting_that_changes_nothing_is_refused(painter: UnclipPainter) -> None:
    """Every one: it either changes what is drawn from noise of a seed, or is refused there; none matters elsewhere."""
    given, beside = picture(0), {"steps": 3}
    changes: dict[str, dict[str, Any]] = {
        "guidance": {"guidance": 9.0}, "steps": {"steps": 2}, "sampler": {"sampler": "heun"},
        "grid": {"grid": "karras"}, "percentile": {"percentile": 0.5, "guidance": 30.0},
        "clip_guidance": {"clip_guidance": 0.3},
    }  # fmt: skip
    for name in painter.defaults:
        whole = painter.defaults[name] if name not in changes else changes[name][name]
        calls: list[Callable[[Any], object]] = [
            lambda some: painter.vary(given, eta=0.3, **FEW, **some),
            lambda some: painter.blend(given, given, **FEW, **some),
            lambda some: painter.reconstruct(given, **FEW, **some),
        ]
        drawn: list[Callable[[Any], Picture]] = [
            lambda some: painter.vary(given, count=1, **some)[0].picture,
            lambda some: painter.blend(given, given, count=2, fresh=True, **some)[0],
            lambda some: painter.reconstruct(given, components=[6], **some)[0],
        ]
        for call in calls + drawn * (name not in changes):
            with pytest.raises(UsageError, match=f"^{name} has no effect on pictures drawn from .*: leave it out"):
                call({name: whole})
        for draw in drawn * (name in changes):
            without = {key: value for key, value in changes[name].items() if key != name}
            assert not same(draw(beside | changes[name]), draw(beside | without))


def test_progress_rises_through_both_ways(painter: UnclipPainter) -> None:
    one, other = picture(0), picture(1)
    often: dict[str, Any] = {"previews": 0.0}
    ways: list[Callable[[Watch], object]] = [
        lambda watch: painter.reconstruct(one, watch=watch, **FEW, **often),
        lambda watch: painter.blend(one, other, count=2, watch=watch, **FEW, **often),
        lambda watch: painter.shift(one, "a cat", "a dog", count=2, watch=watch, **FEW, **often),
        lambda watch: painter.vary(one, count=1, eta=0.5, watch=watch, **FEW, **often),
        lambda watch: painter.vary_many([(one, 0), (other, 1)], count=1, watch=watch, steps=2, **often),
    ]
    seen: list[tuple[float, int]] = []
    for way in ways:
        seen.clear()
        way(lambda done: seen.append((done.share, len(done.preview()))))
        shares = [share for share, _ in seen]
        assert shares == sorted(shares) and shares[-1] == 1 and any(0.1 < share < 0.45 for share in shares)
        assert any(0.55 < share < 0.95 for share in shares) and any(shown for _, shown in seen)


def test_what_each_stage_weighs_in_a_pictures_progress(painter: UnclipPainter) -> None:
    weights = {name: stage.weight for name, stage in painter.graph.stages.items() if stage.weight}
    assert weights == {"prior": 0.1, "decoder": 1.0, "embed": 0.05, "invert": 1.0}
    gathering = {name for name, stage in painter.graph.stages.items() if stage.gather}
    assert gathering == {"rank", "likeness", "interpolate", "order"}


def test_a_picture_is_inverted_with_one_correction_a_step_at_the_size_that_is_drawn(painter: UnclipPainter) -> None:
    for given, way in ((picture(0, 9, 12), "bicubic"), (picture(0), "area")):
        request = inversion_request(painter.parts, painter.defaults, torch.zeros(64), given, 5)
        assert (request.sampler, request.options) == ("ddim-inversion", {"refine": 1})
        assert list(request.sigmas) == sorted(request.sigmas) and len(request.sigmas) == 6
        assert request.sigmas[0] == 0 and request.sigmas[-1] == pytest.approx(80)
        shown = torch.from_numpy(square_crop(given, 16, way)).permute(2, 0, 1) / 127.5 - 1  # type: ignore[arg-type]
        assert request.start is not None
        torch.testing.assert_close(request.start, shown)


def test_variations_are_ranked_by_what_clip_sees(painter: UnclipPainter) -> None:
    given = picture(0)
    found = painter.vary(given, count=4, seed=1)
    seen = painter.embedder.pictures([given, *(one.picture for one in found)])
    expected = (seen[1:] @ seen[0]).tolist()
    assert [one.score for one in found] == pytest.approx(expected, abs=1e-5)
    assert expected == sorted(expected, reverse=True) and {one.candidate for one in found} == {0, 1, 2, 3}
    best = painter.vary(given, count=2, candidates=4, seed=1)
    assert [one.candidate for one in best] == [one.candidate for one in found[:2]]
    assert all(same(one.picture, other.picture) for one, other in zip(best, found, strict=False))
    large = painter.vary(given, count=4, seed=1, upsampler=painter.upsampler)
    assert [one.picture.shape for one in large] == [(32, 32, 3)] * 4


def test_a_server_asks_for_the_same_pictures(painter: UnclipPainter) -> None:
    """As jobs of the engine: variations, and edits of the centre square at the size that is drawn."""
    assert isinstance(painter, Edits) and isinstance(painter, Varies)
    given, hole = picture(0), box(40, 30, 10, 5, 30, 25)
    asked = painter.asked(Prompt("", 1), 2, None, {"steps": 3}, wordless=True)
    (found,) = painter._serve([painter.varying(asked, given)], None)
    for one, other in zip(found, painter.vary(given, count=2, seed=1, steps=3), strict=True):
        assert same(one.picture, other.picture)
    asked = painter.asked(Prompt("a cat", 1), 1, None, {"steps": 3})
    (edited,) = painter._serve([painter.editing(asked, given, hole)], None)
    known = Window.centre(given, hole).at(16)
    assert np.array_equal(edited[0].picture[~known.paint], known.picture[~known.paint])
    assert (edited[0].picture != known.picture).any()
    (large,) = painter._serve([painter.editing(asked, given, hole)], None, upsampler=painter.upsampler)
    known = Window.centre(given, hole).at(32)
    assert np.array_equal(large[0].picture[~known.paint], known.picture[~known.paint]), "enlarging keeps them too"
    assert (large[0].picture != known.picture).any()
    with pytest.raises(UsageError, match="send a mask"):
        painter.editing(asked, given, None)


def test_a_blend_is_a_job_that_tells_how_like_the_way_it_is(painter: UnclipPainter) -> None:
    assert isinstance(painter, Blends)
    one, other = picture(0), picture(1)
    asked = painter.asked(Prompt("", 1), 3, None, wordless=True)
    (found,) = painter._serve([painter.blending(asked, one, other, 6)], None)
    assert [each.candidate for each in found] == [0, 1, 2]
    way = painter.blend(one, other, count=3, **FEW)
    assert all(same(each.picture, there) for each, there in zip(found, way, strict=True))
    seen = painter.embedder.pictures([one, other, *(each.picture for each in found)])
    told = [seen[0], seen[0] + seen[1], seen[1]]  # half of the great circle is where the sum leads
    expected = [float(row @ way / way.norm()) for row, way in zip(seen[2:], told, strict=True)]
    assert [each.score for each in found] == pytest.approx(expected, abs=1e-4)
