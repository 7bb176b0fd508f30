"""`pinxit train unclip` as it is typed: what it costs, from a base of Imagen, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pinxit.weights.checkpoint import open_checkpoint
from tests.cli.helpers import Cli

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.unclips import files


def test_a_base_of_imagen_is_trained_on_and_gone_on_with(cli: Cli, tmp_path: Path) -> None:
    """Stage by stage; in the end the same command without any option finds nothing left to do."""
    imagen = save_random_imagen(tmp_path / "imagen")
    words = ["train", "unclip", "--preset", "nano", "--init-from", str(imagen), "--quiet"]
    words += ["--data", str(files(tmp_path / "files")), "--clip", str(tmp_path / "files" / "clip")]
    told = ["decoder.unet.image=6", "space.components=6", "space.buckets=0", "space.dots=0"]
    told += ["priors.prior.network.components=6"]
    told += ["priors.components.plan.images=0", *(f"priors.components.network.{n}=0" for n in ("buckets", "dots"))]
    told += ["priors.components.network.components=6"]
    told += [f"{plan}.plan.{name}" for plan in ("priors.prior", "decoder") for name in ("batch=8", "images=16")]
    told += ["upsamplers.upsampler.plan.images=0"]
    for change in told:
        words += ["--set", change]
    words += ["--pictures", "8", "--out", str(tmp_path / "run")]
    dry = cli(*words, "--dry-run")
    assert dry.code == 0 and "decoder" in dry.out and not (tmp_path / "run").exists(), dry.err
    assert cli(*words, "--stages", "pictures,texts,vectors").code == 0
    assert not (tmp_path / "run" / "space").exists()
    assert cli(*words, "--stages", "space,prior,decoder").code == 0
    forgot = cli("train", "unclip", "--out", str(tmp_path / "run"), "--quiet")
    assert forgot.code and "give it again with --init-from" in forgot.err, (
        "the upsampler would not be in the checkpoint"
    )
    done = cli(*words)
    assert done.code == 0, done.err
    found = open_checkpoint(tmp_path / "run" / "checkpoint", "unclip")
    assert list(found.parts) == ["space", "prior", "decoder", "upsampler"]
    own, brought = (open_checkpoint(place).state("upsampler") for place in (tmp_path / "run" / "checkpoint", imagen))
    assert all(torch.equal(own[name].float(), tensor.float()) for name, tensor in brought.items()), "as it came"
    painted = cli("paint", "a red square", "--checkpoint", tmp_path / "run" / "checkpoint", "--candidates", 2,
                  "--out", tmp_path / "out")  # fmt: skip
    assert painted.code == 0, painted.err
    assert found.provenance["started_from"] == open_checkpoint(imagen).hash
    card = (tmp_path / "run" / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert "--init-from CHECKPOINT" in card and "upsamplers=" not in card, "they come with the checkpoint"
    again = cli("train", "unclip", "--out", str(tmp_path / "run"), "--quiet")
    assert again.code == 0 and again.out.strip() == str(tmp_path / "run" / "checkpoint")
    late = cli("train", "unclip", "--out", str(tmp_path / "run"), "--set", "space.kind=scaled")
    assert late.code == 2 and "was started with space.kind=whitened, not scaled" in late.err


def test_what_cannot_be_started_from_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "clip")
    for name, told in ((str(tmp_path / "none"), "none"), (str(tmp_path / "clip"), "neither unclip nor imagen")):
        done = cli("train", "unclip", "--preset", "nano", "--init-from", name, "--out", str(tmp_path / "run"))
        assert done.code == 1 and told in done.err and "Traceback" not in done.err and len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
