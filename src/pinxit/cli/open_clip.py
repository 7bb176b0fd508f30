"""A CLIP for a command: with a bar on stderr, where broken pictures are named too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pinxit.cli.console import warn
from pinxit.cli.progress import bar
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.models.layers import Activation
    from pinxit.recipes.clip.facade import Clip


def activation_of(name: str | None) -> Activation | None:
    """What --activation says. Raises UsageError for one that there is not."""
    if name is None:
        return None
    known: tuple[Activation, ...] = ("gelu", "quickgelu")
    activation = next((one for one in known if one == name), None)
    if activation is None:
        raise UsageError(f"--activation is gelu or quickgelu, not {name}.")
    return activation


@contextmanager
def clip_with_bar(
    checkpoint: str, device: str, label: str, bf16: bool = False, activation: str | None = None
) -> Iterator[Clip]:
    """The CLIP of a checkpoint by the fastest engine at hand, telling how far it has read."""
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.clip.facade import Clip

    known = activation_of(activation)
    encoder = ClipEncoder.open(checkpoint, device, known, engine="auto", precision="bf16" if bf16 else "fp32")
    with bar(label) as watch:
        yield Clip(encoder, skipped=lambda error: warn(f"skipped: {error}"), watch=watch)
