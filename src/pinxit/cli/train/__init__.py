"""`pinxit train`: make your own painter, CLIP, judge or classifier."""

from __future__ import annotations

import typer

from pinxit.cli.train.classifier import train_classifier
from pinxit.cli.train.clip import train_clip
from pinxit.cli.train.dalle import train_dalle
from pinxit.cli.train.imagen import train_imagen
from pinxit.cli.train.judge import train_judge
from pinxit.cli.train.unclip import train_unclip

app = typer.Typer(help="Train your own painter, CLIP, judge or classifier.", no_args_is_help=True)
app.command("dalle")(train_dalle)
app.command("clip")(train_clip)
app.command("imagen")(train_imagen)
app.command("unclip")(train_unclip)
app.command("judge")(train_judge)
app.command("classifier")(train_classifier)


@app.callback()
def train() -> None:
    """Train your own painter, CLIP, judge or classifier."""
