"""Karlo, trained further: every network of it by what it is told, and back to diffusers and peft."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.data.bank_layout import CAPTIONS
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.errors import CheckpointError, DataError, UsageError
from pinxit.functional.diffusion import q_sample
from pinxit.recipes.export import export
from pinxit.recipes.karlo import run as runs
from pinxit.recipes.karlo import stages
from pinxit.recipes.karlo.open import open_painter
from pinxit.recipes.karlo.published import open_karlo
from pinxit.recipes.karlo.run import KarloRun, run_of
from pinxit.recipes.sidecars import row_encoder
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.rows import all_rows
from pinxit.training.stop import Stop
from pinxit.weights.karlo import load_decoder, load_prior, load_supers
from pinxit.weights.karlo_export import save_karlo
from tests.recipes import karlos
from tests.recipes.squares import write_squares
from tests.weights.karlos import EMBED, LENGTH, diffusers, unclip

peft = pytest.importorskip("peft")
NETWORKS = ("prior", "decoder", "super_res_first", "super_res_last")
KINDS: dict[str, Any] = {
    "prior": diffusers.PriorTransformer,
    "decoder": diffusers.UNet2DConditionModel,
    "text_proj": unclip.UnCLIPTextProjModel,
    "super_res_first": diffusers.UNet2DModel,
    "super_res_last": diffusers.UNet2DModel,
}


def words(images: int, lora: int, *networks: str) -> list[str]:
    plan = {"batch": 4, "warmup": 0, "lr": 0.003, "precision": "fp32", "log_every": 4, "save_minutes": 9}
    plan |= {"preview_every": 10_000}
    every = [f"--set=plans.{name}.{field}={value}" for name in NETWORKS for field, value in plan.items()]
    lengths = [f"--set=plans.{name}.images={images if name in networks else 0}" for name in NETWORKS]
    return [*every, *lengths, "--set=pictures=8", "--set=drop=0.3", f"--lora={lora}"]


def train(place: Path, out: Path, *more: str) -> None:
    usual = ["train", "unclip", "--init-from", str(place / "karlo"), "--data", str(place / "squares")]
    outcome = CliRunner().invoke(app, [*usual, "--out", str(out), "--device", "cpu", "--quiet", *more])
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published Karlo, and a run that adapts all of it."""
    place = tmp_path_factory.mktemp("karlo")
    karlos.save(place / "karlo")
    write_squares(place / "squares")
    train(place, place / "run", *words(8, 2, *NETWORKS))
    return place


def run_in(folder: Path) -> KarloRun:
    return run_of(folder, None, None, (), "cpu", False)


def test_only_additions_move_and_the_checkpoint_is_a_karlo_with_them(place: Path, tmp_path: Path) -> None:
    base, folder = place / "karlo", place / "run/checkpoint"
    loaded: list[dict[str, dict[str, torch.Tensor]]] = []
    for where in (base, folder):
        first, last = load_supers(where)
        nets = (load_prior(where).network, load_decoder(where).network, first, last)
        loaded.append({name: net.state_dict() for name, net in zip(NETWORKS, nets, strict=True)})
    before, after = loaded
    for name in NETWORKS:
        expected = states.read_weights(place / "run" / name, name)
        assert after[name].keys() == expected.keys()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in after[name].items())
        moved = {key for key, tensor in before[name].items() if not torch.equal(tensor, after[name][key])}
        assert moved == states.read_additions(place / "run" / name, name).keys() and len(moved) > 5
    assert "conditioning.image.tokens.weight" in states.read_additions(place / "run/decoder", "decoder")
    assert torch.equal(load_decoder(base).nothing, load_decoder(folder).nothing)
    assert torch.equal(load_prior(base).mean, load_prior(folder).mean)
    painter = open_painter(folder, device="cpu")
    picture = painter.paint("cat", candidates=1, steps=2, seed=1)[0].picture
    assert picture.shape == (8, 8, 3)
    (written,) = export(str(place / "run"), "diffusers", tmp_path / "out")
    for name, kind in KINDS.items():
        theirs = kind.from_pretrained(written, subfolder=name).state_dict()
        published = kind.from_pretrained(base, subfolder=name).state_dict()
        assert theirs.keys() == published.keys() and {k: t.shape for k, t in theirs.items()} == {
            k: t.shape for k, t in published.items()
        }
        assert any(not torch.equal(tensor, published[key]) for key, tensor in theirs.items())


def test_networks_trained_whole_are_named_as_left_out_of_adapters(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = states.read_additions
    monkeypatch.setattr(states, "read_additions", lambda at, name: read(at, name) if name == "prior" else {})
    assert [path.name for path in export(str(place / "run"), "peft", tmp_path / "added")] == ["prior"]
    assert f"peft holds additions alone: {', '.join(NETWORKS[1:])}; another format" in caplog.text


def test_an_export_into_the_published_folder_does_not_copy_itself(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "karlo", tmp_path / "karlo")
    first = load_supers(place / "karlo")[0]
    out = tmp_path / "karlo/runs/mine"
    save_karlo(tmp_path / "karlo", {"super_res_first": (first.state_dict(), first.config)}, out)
    assert {path.name for path in out.iterdir()} == {path.name for path in (place / "karlo").iterdir()}
    again = load_supers(out)[0].state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.state_dict().items())


def test_peft_and_diffusers_say_the_same(place: Path, tmp_path: Path) -> None:
    """Each network of diffusers with its adapter, and as it was exported whole."""
    whole_folder = export(str(place / "run"), "diffusers", tmp_path / "whole")[0]
    adapters = {path.name: path for path in export(str(place / "run"), "peft", tmp_path / "added")}
    assert adapters.keys() == KINDS.keys()
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    time = torch.tensor([3, 740])
    told: dict[str, tuple[Any, ...]] = {
        "prior": (draw(2, EMBED), time, draw(2, EMBED), draw(2, LENGTH, EMBED)),
        "decoder": (draw(2, 3, 8, 8), time, draw(2, 5, 24), draw(2, 128)),
        "super_res_first": (draw(2, 6, 16, 16), time),
        "super_res_last": (draw(2, 6, 16, 16), time),
        "text_proj": (),
    }
    named = {"image_embeddings": draw(2, EMBED), "prompt_embeds": draw(2, EMBED), "do_classifier_free_guidance": False}
    named["text_encoder_hidden_states"] = draw(2, LENGTH, EMBED)
    for name, kind in KINDS.items():
        exported = kind.from_pretrained(whole_folder, subfolder=name).eval()
        base = kind.from_pretrained(place / "karlo", subfolder=name).eval()

        def said(net: Any, name: str = name) -> tuple[torch.Tensor, ...]:
            with torch.no_grad():
                answer = net(**named) if name == "text_proj" else net(*told[name], return_dict=False)
            return tuple(answer)

        before, expected = said(base), said(exported)
        found = said(peft.PeftModel.from_pretrained(base, str(adapters[name])).eval())
        assert (before[0] - expected[0]).abs().max() > 1e-4
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_ours_says_what_diffusers_does_of_the_adapted_decoder(place: Path) -> None:
    """Including the tokens of a picture embedding, whose rows lie in another order there."""
    folder = place / "run/checkpoint"
    ours, nets = (
        load_decoder(folder),
        {n: KINDS[n].from_pretrained(folder, subfolder=n) for n in ("decoder", "text_proj")},
    )
    generator = torch.Generator().manual_seed(0)
    x, time = torch.randn(2, 3, 8, 8, generator=generator), torch.tensor([3.0, 740.0])
    image, pooled = (torch.randn(2, EMBED, generator=generator) for _ in range(2))
    sequence = torch.randn(2, LENGTH, EMBED, generator=generator)
    with torch.no_grad():
        read, added = nets["text_proj"](
            image_embeddings=image,
            prompt_embeds=pooled,
            text_encoder_hidden_states=sequence,
            do_classifier_free_guidance=False,
        )
        expected = nets["decoder"](x, time, read, class_labels=added).sample
        found = ours.network(x, time, {"sequence": sequence, "pooled": pooled, "image": image})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_decoder_is_told_as_in_painting(place: Path) -> None:
    """Captions and pictures by the same towers, undamped; what is dropped is the empty caption and a learned vector."""
    run, rows = run_in(place / "run"), all_rows(0, 8)
    task = run.task("decoder")
    batch, bank = task.batch(rows), task.bank
    empty = run.embedder.null_conditions
    absent = [bool(torch.allclose(one, empty["pooled"], atol=1e-2)) for one in batch["pooled"]]
    assert 0 < sum(absent) < 8
    for row, gone in enumerate(absent):
        told = empty if gone else None
        number = int(np.argmax([np.array_equal(batch["pictures"][row].numpy(), one) for one in bank.pictures]))
        captions = bank.captions[number]
        choices = [told] if told else [run.embedder.conditions(caption) for caption in captions]
        assert any(torch.allclose(batch["sequence"][row], one["sequence"], atol=1e-2) for one in choices)
        seen = run.embedder.pictures([run_picture(run, number)])[0]
        known = (seen, run.embedder.without)
        assert any(torch.allclose(batch["image"][row], one, atol=1e-2, rtol=1e-2) for one in known)


def run_picture(run: KarloRun, number: int) -> Any:
    from pinxit.data.bank import Bank

    return np.asarray(Bank.open(run.path("seen")).pictures[number])


def test_each_enlarger_learns_its_own_steps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_in(place / "run")
    for name in ("super_res_first", "super_res_last"):
        task = run.task(name)
        times: list[float] = []
        about = task.config.diffusion

        def noised(x: Any, noise: Any, sigma: Any, about: Any = about, times: Any = times) -> Any:
            times += about.time_of(sigma).tolist()
            return q_sample(x, noise, sigma)

        monkeypatch.setattr("pinxit.recipes.diffusion.task.q_sample", noised)
        rows = all_rows(0, 8)
        task.loss(task.batch(rows), rows)
        assert (set(times) == {0.0}) if name == "super_res_last" else (min(times) >= 1 and max(times) > 500)


def test_what_cannot_be_is_one_sentence(place: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    karlos.save(blind)
    import shutil

    shutil.rmtree(blind / "image_encoder")
    usual = ["train", "unclip", "--init-from", str(blind), "--data", str(place / "squares")]
    outcome = CliRunner().invoke(app, [*usual, "--out", str(tmp_path / "run"), "--quiet"])
    assert isinstance(outcome.exception, UsageError) and "has no image_encoder" in str(outcome.exception)
    outcome = CliRunner().invoke(app, [*usual, "--out", str(tmp_path / "run"), "--preset", "nano"])
    assert "--preset and --clip are not for a Karlo" in str(outcome.exception)
    with pytest.raises(UsageError, match="can be exported to diffusers, peft, not to transformers"):
        export(str(place / "run"), "transformers", tmp_path / "new")
    about = json.loads((place / "run/run.json").read_text())
    assert about["recipe"] == "karlo"


def test_the_published_folder_may_have_moved(place: Path, tmp_path: Path) -> None:
    """Its networks are compared, not its place, which is remembered anew; of others no run goes on."""
    folder, base = tmp_path / "run", tmp_path / "gone"
    shutil.copytree(place / "run", folder)
    shutil.copytree(place / "karlo", tmp_path / "moved")
    about = json.loads((folder / "run.json").read_text())
    about["config"]["base"] = str(base)
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=f"fine-tunes {base}, which is not there any more: say by --init-from"):
        run_in(folder)
    moved = open_karlo(tmp_path / "moved")
    run_of(folder, moved, None, (), "cpu", False).enter()
    assert run_in(folder).config.base == str(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=f"{folder} fine-tunes a Karlo, and {moved.folder} holds .* of unclip"):
        run_of(folder, replace(moved, recipe="unclip"), None, (), "cpu", False)
    for name in moved.constants:
        changed = replace(moved, constants={**moved.constants, name: moved.constants[name] + 1})
        with pytest.raises(UsageError, match=f"was started from checkpoint {moved.hash}, not {changed.hash}"):
            run_of(folder, changed, None, (), "cpu", False).enter()
    start = json.loads((folder / "start.json").read_text())
    older = replace(moved, constants={}).hash  # what earlier versions noted
    (folder / "start.json").write_text(json.dumps(start | {"checkpoint": older}))
    run_of(folder, moved, None, (), "cpu", False).enter()
    (folder / "start.json").write_text(json.dumps(start))
    other = replace(moved, settings={})
    with pytest.raises(UsageError, match=f"was started from checkpoint {moved.hash}, not {other.hash}"):
        run_of(folder, other, None, (), "cpu", False).enter()


def test_captions_of_both_sizes_are_compared_letter_by_letter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one length and one hour, as two banks that are stored at once may be."""
    run, told, hour = run_in(place / "run"), {"pictures": "a cat", "seen": "a cap"}, 7
    changed = {name: place / f"other-{name}" for name in told}
    monkeypatch.setattr(KarloRun, "path", lambda self, name: changed[name])

    def store(run: KarloRun, name: str, *about: object) -> None:
        changed[name].mkdir(exist_ok=True)
        (changed[name] / CAPTIONS).write_text(told[name])
        os.utime(changed[name] / CAPTIONS, (hour, hour))

    monkeypatch.setattr(stages, "store_pictures", store)
    monkeypatch.setattr(KarloRun, "banks", {"pictures": 16, "seen": 32})
    monkeypatch.setattr(KarloRun, "pictures", lambda self: None)  # no stream
    with pytest.raises(DataError, match="differ: some pictures are too small"):
        stages._pictures(run, Stop())
    with pytest.raises(DataError, match="differ: some pictures are too small"):  # the same command once more
        stages._read(run, "vectors", Stop())
    told["seen"], hour = told["pictures"], 8
    stages._pictures(run, Stop())


@pytest.mark.parametrize(("name", "builder"), [("texts", "build_embeddings"), ("vectors", "build_vectors")])
def test_what_is_read_beforehand_hangs_on_the_run_s_seed(
    name: str, builder: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, met = run_of(place / "run", None, None, ("seed=5",), "cpu", False), list[dict[str, Any]]()
    monkeypatch.setattr(stages, builder, lambda bank, by, folder, **about: met.append(about | {"folder": folder}))
    stages._read(run, name, Stop())
    (about,) = met
    assert (about["seed"], about["script"], about["folder"]) == (5, run.config.data.script, run.path(name))


def test_costs_are_told_of_all_that_is_trained_or_of_what_is_asked(place: Path) -> None:
    run = run_in(place / "run")
    whole_table, one = runs.table(run), runs.table(run, ("prior",))  # each network is counted for about a second
    assert all(name in whole_table for name in NETWORKS)
    assert [name for name in NETWORKS if name in one] == ["prior"]
    with pytest.raises(UsageError, match="'easel'"):
        runs.table(run, ("easel",))


def test_a_lengthened_run_writes_its_checkpoint_again(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path, *words(4, 2, "decoder"))
    before = load_decoder(tmp_path / "checkpoint").network.state_dict()
    outcome = CliRunner().invoke(app, ["train", "unclip", "--out", str(tmp_path), "--set=plans.decoder.images=12"])
    assert outcome.exit_code == 0, outcome.exception
    expected = states.read_weights(tmp_path / "decoder", "decoder")
    after = load_decoder(tmp_path / "checkpoint").network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in after.items())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in after.items())


@pytest.mark.parametrize(
    "changes",
    [("plans.super_res_first.images=0",), ("plans.prior.images=8", "seed=5")],
)
def test_what_has_learnt_is_neither_changed_nor_taken_out(
    place: Path, tmp_path: Path, changes: tuple[str, ...]
) -> None:
    """Whatever else is trained besides, or no longer."""
    train(place, tmp_path, *words(4, 2, "super_res_first"), "--stages=pictures,super_res_first")
    longer = ("plans.super_res_first.images=8", "plans.super_res_last.images=8")
    name = changes[-1].partition("=")[0]
    with pytest.raises(UsageError, match=f"was started with {name}=.*, not "):
        run_of(tmp_path, None, None, (*longer, *changes), "cpu", False).enter()


def test_a_prior_is_trained_only_where_one_was_published(place: Path, tmp_path: Path) -> None:
    whole_run = run_of(tmp_path / "run", open_karlo(place / "karlo"), None, (), "cpu", False)
    assert whole_run.trained[0] == "prior"
    shutil.copytree(place / "karlo", tmp_path / "karlo", ignore=shutil.ignore_patterns("prior"))
    run = run_of(tmp_path / "other", open_karlo(tmp_path / "karlo"), None, (), "cpu", False)
    assert run.config.plans.prior.images == 0 and run.trained == whole_run.trained[1:]


def test_it_learns_from_a_stream_and_what_its_clip_says_beside_the_shards(place: Path, tmp_path: Path) -> None:
    """As from a bank of the same pictures; sidecars are the run's own or those of `pinxit data encode`."""
    shards, sides = tmp_path / "shards", tmp_path / "sides"
    write_shards(FolderDataset(place / "squares", 32), shards, per_shard=3, workers=1)
    streamed = ["--set=data.stream=true", f"--data={shards}", *words(8, 2, *NETWORKS)]
    train(place, tmp_path / "run", *streamed)
    assert not list((tmp_path / "run").rglob("*.npy"))
    for by in ("text", "clip"):
        asked = ["data", "encode", str(shards), "--with", by, "--model", str(place / "karlo"), "--out", str(sides)]
        outcome = CliRunner().invoke(app, [*asked, "--device", "cpu"])
        assert outcome.exit_code == 0, (outcome.output, outcome.exception)
        assert len(list(sides.glob(f"*.{by}.safetensors"))) == 3
    train(place, tmp_path / "given", *streamed, f"--set=data.sidecars={sides}")
    assert not any((tmp_path / "given" / name).exists() for name in ("texts", "vectors"))
    own, given, bank = (run_in(tmp_path / "run"), run_in(tmp_path / "given"), run_in(place / "run"))
    assert own.finished("vectors") and given.finished("texts")
    numbers = {bank.pairs.vectors.text(row, 0): row for row in range(8)}
    items = [0, 3, 5, 7]
    rows = [numbers[own.pairs.vectors.text(item, 0)] for item in items]
    which, kept = [0, 1, 0, 1], np.array([True, True, False, True])
    told = [one.pairs.with_drops(items, which, kept) for one in (own, given)]
    stored = bank.pairs.with_drops(rows, which, kept)
    for name, expected in stored.items():
        assert torch.equal(told[0][name], told[1][name]), name
        torch.testing.assert_close(told[0][name].float(), expected.float(), atol=2e-3, rtol=2e-3, msg=name)
    for dropped in (one.pairs.with_drops(items, which, np.zeros(4, bool)) for one in (own, bank)):
        assert all(torch.equal(rows, rows[:1].expand_as(rows)) for rows in dropped.values()), (
            "none is the empty caption"
        )
    torch.testing.assert_close(own.pairs.coordinates(items), bank.pairs.coordinates(rows), atol=2e-2, rtol=2e-2)
    states_of = [states.read_weights(run.path("decoder"), "decoder") for run in (own, given)]
    assert all(torch.equal(tensor, states_of[1][name]) for name, tensor in states_of[0].items())
    for option in ({"length": 8}, {"padded": True}, {"spell": True}):
        with pytest.raises(UsageError, match="in its own way: leave --length, --padded and --spell out"):
            row_encoder("text", str(place / "karlo"), "cpu", **option)


@pytest.mark.slow
def test_a_few_hundred_steps_teach_pictures(place: Path, tmp_path: Path) -> None:
    """Medians: the bound of the decoder's variance is a hundred times larger where there is hardly any noise."""
    train(place, tmp_path / "run", *words(4 * 300, 8, "decoder", "prior"))
    for name, share in (("decoder", 0.6), ("prior", 0.1)):
        lines = [line["loss"] for line in read_metrics(tmp_path / "run" / name)]
        assert median(lines[-20:]) < share * median(lines[:20]), name
