"""The checkpoints that are installed with pinxit, by name."""

from __future__ import annotations

from pathlib import Path

from pinxit.errors import CheckpointError
from pinxit.files import user_path

SHIPPED = Path(__file__).parent / "shipped"
PAINTERS = {"dalle": "tiny", "imagen": "imagen-tiny", "unclip": "unclip-tiny"}
"""The shipped painter of each recipe; an installation may lack some."""


def shipped() -> list[str]:
    """Names of the checkpoints that came with this installation."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/pinxit.json"))


def find(name_or_folder: str | Path) -> Path:
    """The folder of a checkpoint, given by the name of a shipped one or by its path.

    Raises CheckpointError when it is neither.
    """
    folder = user_path(str(name_or_folder))
    if isinstance(name_or_folder, str) and name_or_folder in shipped():
        return SHIPPED / name_or_folder
    if folder.is_dir() and name_or_folder != "":  # an empty variable of a shell, not the current folder
        return folder
    known = ", ".join(shipped()) or "none in this installation"
    raise CheckpointError(f"there is no checkpoint '{name_or_folder}': give a folder or a shipped name ({known}).")


def located(name_or_folder: str) -> str:
    """A folder's absolute path, which names it wherever a command is run; shipped and other names as they are."""
    folder = user_path(name_or_folder)
    return str(folder.resolve()) if name_or_folder not in ("", *shipped()) and folder.is_dir() else name_or_folder


def is_karlo(folder: str | Path) -> bool:
    """Whether a folder looks like Karlo, the open unCLIP, in diffusers' layout."""
    return (Path(folder) / "text_proj" / "config.json").is_file()


def published_recipe(folder: str | Path) -> str | None:
    """The recipe of a folder in diffusers' layout that others published; None if it is none of those that we know."""
    if is_deepfloyd(folder):
        return "deepfloyd"
    return "karlo" if is_karlo(folder) else None


def lacks_clip(folder: str | Path) -> bool:
    """Whether a folder holds a published painter without a CLIP that could rank its pictures."""
    return is_deepfloyd(folder) or (is_karlo(folder) and not (Path(folder) / "image_encoder" / "config.json").is_file())


def is_deepfloyd(folder: str | Path) -> bool:
    """Whether a folder looks like a stage of DeepFloyd IF in diffusers' layout."""
    return (Path(folder) / "unet" / "config.json").is_file()
