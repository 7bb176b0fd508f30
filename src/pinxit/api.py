"""The Python front door: `pinxit.load("tiny").paint("a green triangle")`, `pinxit.load_clip("tiny").classify(...)`."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, overload

from pinxit.errors import CheckpointError, UsageError
from pinxit.recipes.stage_placement import USUAL, Placings, check_placings
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.zoo import find, is_deepfloyd, is_karlo

if TYPE_CHECKING:
    from pinxit.models.layers import Activation
    from pinxit.recipes.clip.engine import Engine, Precision
    from pinxit.recipes.clip.facade import Clip
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter
    from pinxit.recipes.unclip.painter import UnclipPainter
    from pinxit.text.encoders import TextEncoder


@overload
def load(
    checkpoint: str | Path,
    *,
    recipe: Literal["unclip"],
    device: str = ...,
    int8: bool = ...,
    ranker: str | Path | None = ...,
    stages: Placings = ...,
) -> UnclipPainter: ...


@overload
def load(
    checkpoint: str | Path = ...,
    *,
    device: str = ...,
    int8: bool = ...,
    recipe: str | None = ...,
    ranker: str | Path | None = ...,
    stages: Placings = ...,
) -> Painter: ...


def load(
    checkpoint: str | Path = "tiny",
    *,
    device: str = "auto",
    int8: bool = False,
    recipe: str | None = None,
    ranker: str | Path | None = None,
    stages: Placings = MappingProxyType({}),
) -> Painter:
    """Open a painter: a shipped checkpoint by name, a checkpoint folder, or a folder in diffusers' layout that holds
    DeepFloyd IF's stage I or Karlo.

    `device` is "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N". `int8`, for DALL-E alone, keeps the
    transformer's weights as int8 while decoding: fewer bytes to read a step, slightly different pictures. `recipe`:
    refuse checkpoints of any other; with "unclip" type checkers know its methods, such as `blend`. `ranker`: the CLIP
    that ranks the candidates, as `load_clip` takes it, instead of the checkpoint's own; it also guides those of Imagen
    and DeepFloyd IF (`clip_guidance`). DeepFloyd IF, and Karlo without its image_encoder, have none: without a `ranker`
    their candidates stay in the order in which they are drawn.
    `stages`: by name, stages that shall run on another device, in another precision or compiled.
    Raises CheckpointError when the checkpoint is missing, damaged or of an unknown recipe, UsageError when it is of
    another recipe than `recipe` or does not support int8; both before any network is built.
    """
    painter = _opened(checkpoint, device, int8, recipe, stages, ranker is None)
    if precision := {stage: one.precision for stage, one in stages.items() if one.precision not in ("auto", "int8")}:
        painter.provenance |= {"precision": precision}
    if ranker is not None:
        from pinxit.recipes.clip.ranker import AnyRanker

        painter.ranker = by = AnyRanker.open(ranker, stages.get("embed", USUAL).device or device)
        painter.provenance |= {"ranker": str(ranker), "ranker_hash": by.fingerprint}
    return painter


def _opened(
    checkpoint: str | Path, device: str, int8: bool, recipe: str | None, stages: Placings, ranked: bool
) -> Painter:
    if is_deepfloyd(checkpoint):
        _check_recipe(checkpoint, "deepfloyd", recipe)
        _refuse(int8, checkpoint, "deepfloyd")
        check_placings(stages, {}, str(checkpoint))
        from pinxit.recipes.deepfloyd.open import open_painter as open_deepfloyd

        return open_deepfloyd(checkpoint, device=device)
    if is_karlo(checkpoint):
        _check_recipe(checkpoint, "karlo", recipe)
        _refuse(int8, checkpoint, "karlo")
        check_placings(stages, {}, str(checkpoint))
        from pinxit.recipes.karlo.open import open_painter as open_karlo

        return open_karlo(checkpoint, device=device)
    opened, name = open_checkpoint(find(checkpoint)), str(checkpoint)
    _check_recipe(checkpoint, opened.recipe, recipe)
    if opened.recipe == "dalle":
        from pinxit.recipes.dalle.painter import DallePainter

        return DallePainter.from_checkpoint(opened, name=name, device=device, int8=int8, placings=stages)
    if opened.recipe == "imagen":
        _refuse(int8, checkpoint, "imagen")
        from pinxit.recipes.imagen.open import open_painter

        return open_painter(opened, name=name, device=device, placings=stages, ranked=ranked)
    if opened.recipe == "unclip":
        _refuse(int8, checkpoint, "unclip")
        from pinxit.recipes.unclip.open import open_painter as open_unclip

        return open_unclip(opened, name=name, device=device, placings=stages)
    raise CheckpointError(f"{opened.folder} holds a checkpoint of {opened.recipe}, which does not paint.")


def load_upsampler(
    checkpoint: str | Path = "imagen-tiny", *, device: str = "auto", reader: TextEncoder | None = None
) -> Upsampler:
    """Open an upsampler: `load_upsampler().enlarge(prompt, load("tiny").paint(prompt))`.

    From a checkpoint of Imagen or unCLIP, or from DeepFloyd IF's stage II or Karlo in diffusers' layout. `reader`: a
    painter's text encoder, which is shared instead of opened again if the upsampler needs the same one. Raises
    CheckpointError when the checkpoint is missing, damaged, or has no upsampler.
    """
    if is_deepfloyd(checkpoint):
        from pinxit.recipes.deepfloyd.open import open_upsampler as open_deepfloyd

        return open_deepfloyd(checkpoint, device=device, reader=reader)
    if is_karlo(checkpoint):
        from pinxit.recipes.karlo.open import open_upsampler as open_karlo

        return open_karlo(checkpoint, device=device, reader=reader)
    opened = open_checkpoint(find(checkpoint))
    if opened.recipe == "unclip":
        from pinxit.recipes.unclip.open import open_upsampler as open_unclip

        return open_unclip(opened, name=str(checkpoint), device=device, reader=reader)
    if opened.recipe != "imagen":
        raise CheckpointError(f"{opened.folder} holds a checkpoint of {opened.recipe}, which has no upsampler.")
    from pinxit.recipes.imagen.open import open_upsampler

    return open_upsampler(opened, name=str(checkpoint), device=device, reader=reader)


def load_clip(
    checkpoint: str | Path = "tiny",
    *,
    device: str = "auto",
    activation: Activation | None = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
) -> Clip:
    """Open a CLIP: a shipped name, a checkpoint folder, published weights (file or folder), or "hub:OWNER/NAME".

    Only the last one may use the network. `activation` ("gelu" or "quickgelu") is needed for weights that do not say
    which they were trained with; `engine` "auto" is OpenVINO on a CPU if it is installed, else PyTorch; `precision`
    "bf16" is about twice as fast on CPUs that have it. Raises CheckpointError when there is no such CLIP or it cannot
    be read.
    """
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.clip.facade import Clip

    return Clip(ClipEncoder.open(checkpoint, device, activation, engine, precision))


def _check_recipe(checkpoint: str | Path, found: str, expected: str | None) -> None:
    if expected not in (None, found):
        raise UsageError(f"{checkpoint} is a checkpoint of {found}, not of {expected}.")


def _refuse(int8: bool, checkpoint: str | Path, recipe: str) -> None:
    if int8:
        raise UsageError(f"{checkpoint} is a checkpoint of {recipe}: int8 is for decoding, so for dalle alone.")
