"""`pinxit train unclip`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.console import print_lines
from pinxit.cli.options import Device
from pinxit.cli.train.options import (
    Captioned,
    Changes,
    DryRun,
    InitFrom,
    Lora,
    Minutes,
    Pictures,
    Quiet,
    RunFolder,
    adapting,
    asked,
    conclude,
)

if TYPE_CHECKING:
    from pinxit.weights.checkpoint import Checkpoint


def train_unclip(
    out: RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="nano, tiny or paper.", show_default="the run's own, else tiny")
    ] = None,
    data: Captioned = None,
    pictures: Pictures = None,
    clip: Annotated[
        str | None,
        typer.Option(
            help="Whose embeddings: a shipped name, a folder, published weights or hub:OWNER/NAME.",
            show_default="the preset's",
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Only these, e.g. prior,checkpoint.", show_default="all, in order")
    ] = None,
    changes: Changes = None,
    minutes: Minutes = None,
    init_from: InitFrom = None,
    lora: Lora = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train unCLIP (DALL-E 2): pictures, texts, vectors, space, priors, decoder, checkpoint; its CLIP stays frozen.

    [bold]Examples[/bold]

      pinxit train unclip --preset tiny --init-from imagen-tiny --out runs/unclip
      pinxit train unclip --preset paper --out runs/unclip --dry-run
      pinxit train unclip --out runs/unclip --set priors.prior.plan.images=2000000
    """
    from pinxit.recipes.unclip import presets
    from pinxit.recipes.unclip.config import UnclipConfig
    from pinxit.recipes.unclip.estimate import table
    from pinxit.recipes.unclip.run import RECIPE, UnclipRun
    from pinxit.recipes.unclip.stages import train
    from pinxit.training import runs
    from pinxit.training.stop import Stop

    stop = Stop(minutes)
    init = _started_from(init_from)
    if preset is None and (out / runs.FILE).is_file():
        config = runs.config_of(out, RECIPE, UnclipConfig)
    else:
        config = presets.preset(preset or "tiny")
        config = config if init is None else presets.with_models(config, init)
    named = {"data.source": data, "decoder.pictures": pictures, "clip": clip}
    named |= adapting(lora, ["decoder.plan", *(f"priors.{prior.name}.plan" for prior in config.priors)])
    config = presets.changed(config, asked(named, changes))
    run, chosen = UnclipRun(out, config, device, not quiet, init), stages.split(",") if stages is not None else None
    if dry_run:
        print_lines(*table(run, chosen).splitlines())
        return
    conclude(run, train(run, chosen, stop))


def _started_from(name: str | None) -> Checkpoint | None:
    """The checkpoint that --init-from names: an unCLIP, or an Imagen whose base becomes the decoder."""
    from pinxit.errors import CheckpointError
    from pinxit.recipes.unclip.run import BASE, RECIPE
    from pinxit.weights.checkpoint import open_checkpoint
    from pinxit.weights.zoo import find

    if name is None:
        return None
    found = open_checkpoint(find(name))
    if found.recipe not in (RECIPE, BASE):
        raise CheckpointError(f"{found.folder} holds a {found.recipe} checkpoint, neither {RECIPE} nor {BASE}.")
    return found
