"""Opens a CLIP for a command, with a progress bar on stderr, where unreadable pictures are reported, too."""

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
    """The activation that --activation names. Raises UsageError for an unknown one."""
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
    """The CLIP of a checkpoint, run by the fastest installed engine, with a progress bar."""
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.clip.facade import Clip

    known = activation_of(activation)
    encoder = ClipEncoder.open(checkpoint, device, known, engine="auto", precision="bf16" if bf16 else "fp32")
    with bar(label) as watch:
        yield Clip(encoder, skipped=lambda error: warn(f"skipped: {error}"), watch=watch)
