"""The preprocessing in public CLIP folders: transformers' preprocessor_config.json, open_clip's preprocess_cfg.

It is followed as written; settings that do not lead to a picture of the model's size are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from pinxit.errors import CheckpointError
from pinxit.files import read_json
from pinxit.models.clip import CLIPConfig
from pinxit.schema import Count, Finite, Grey, Positive, checked
from pinxit.types import Filter, Fitting
from pinxit.weights.clip_settings import Allowed, check_settings, empty, only

Colours = list[Finite]
PIL: tuple[Filter, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "area", "hamming")
"""Filters by the numbers that Pillow, and so transformers, gives them."""


class SizeSetting(TypedDict):
    shortest_edge: NotRequired[Count]
    height: NotRequired[Count]
    width: NotRequired[Count]


class TransformersPreprocessor(TypedDict):
    image_mean: NotRequired[Colours]
    image_std: NotRequired[list[Positive]]
    do_normalize: NotRequired[bool]
    do_resize: NotRequired[bool]
    do_center_crop: NotRequired[bool]
    do_rescale: NotRequired[bool]
    rescale_factor: NotRequired[Positive]
    resample: NotRequired[Annotated[int, Meta(ge=0, le=5)]]
    size: NotRequired[Count | SizeSetting]
    crop_size: NotRequired[Count | SizeSetting]


class OpenClipPreprocessing(TypedDict):
    mean: NotRequired[Colours]
    std: NotRequired[list[Positive]]
    size: NotRequired[Count | list[Count]]
    interpolation: NotRequired[Literal["bicubic", "bilinear", "random"]]
    resize_mode: NotRequired[Literal["shortest", "longest", "squash"]]
    fill_color: NotRequired[Grey]


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a CLIP: `mean` and `std`, where the file has them, and how pictures become squares."""

    colours: Mapping[str, tuple[float, ...]]
    fitting: Fitting = field(default_factory=Fitting)


def transformers_preprocessing(path: Path, size: int) -> Preprocessing:
    """The preprocessing in a file, for a model of `size` pixels a side; CLIP's own if there is no such file.

    Raises CheckpointError for preprocessing that pinxit does not support, or that leads to pictures of another size.
    """
    if not path.is_file():
        return Preprocessing({})
    shown: TransformersPreprocessor = read_json(path, TransformersPreprocessor, CheckpointError)
    settings: Mapping[str, Any] = shown
    check_settings({name: settings[name] for name in ("do_resize", "do_pad") if name in settings}, RESIZED, str(path))
    if shown.get("do_center_crop", True):
        crop = shown.get("crop_size", size)
        if crop not in (size, {"height": size, "width": size}, {"shortest_edge": size}):
            raise CheckpointError(f"{path}: crop_size is {crop}, but the model sees {size} pixels a side.")
    resized, side = _resized(shown, size, path)
    fitting = Fitting(resized, None if side == size else side, PIL[shown.get("resample", 3)])
    return Preprocessing(_colours(shown), fitting)


RESIZED: Allowed = {"do_resize": only(True), "do_pad": empty}


def _resized(shown: TransformersPreprocessor, size: int, path: Path) -> tuple[Literal["shorter", "both"], int]:
    asked = shown.get("size", size)
    cropped = shown.get("do_center_crop", True)
    if isinstance(asked, dict) and asked.keys() == {"height", "width"} and asked["height"] == asked["width"]:
        resized, side = "both", asked["height"]
    elif isinstance(asked, int) or asked.keys() == {"shortest_edge"}:
        resized, side = "shorter", asked if isinstance(asked, int) else asked["shortest_edge"]
    else:
        resized, side = "neither", size
    if resized == "neither" or side < size or not (cropped or (resized == "both" and side == size)):
        raise CheckpointError(
            f"{path}: size is {asked} and do_center_crop is {str(cropped).lower()}, of which no picture comes that has "
            f"the model's {size} pixels a side."
        )
    return ("both" if resized == "both" else "shorter"), side


def _colours(shown: TransformersPreprocessor) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of pixels in [0, 1], whatever range the file's rescaling gives them."""
    levels = 255 * shown.get("rescale_factor", 1 / 255) if shown.get("do_rescale", True) else 255.0
    own = abs(levels - 1) < 1e-6
    if not shown.get("do_normalize", True):
        return {"mean": (0.0,) * 3, "std": (1.0 if own else 1 / levels,) * 3}
    found: dict[str, tuple[float, ...]] = {}
    if "image_mean" in shown:
        found["mean"] = tuple(shown["image_mean"])
    if "image_std" in shown:
        found["std"] = tuple(shown["image_std"])
    usual = {"mean": CLIPConfig().mean, "std": CLIPConfig().std}
    return found if own else {name: tuple(one / levels for one in (usual | found)[name]) for name in usual}


def open_clip_preprocessing(data: Mapping[str, Any], size: int, where: str) -> Preprocessing:
    """The preprocessing in open_clip's `preprocess_cfg`, for `size` pixels a side.

    Raises as `transformers_preprocessing` does.
    """
    check_settings(data, OPEN_CLIP, where)
    shown: OpenClipPreprocessing = checked(OpenClipPreprocessing, data, where, CheckpointError)
    if shown.get("size", size) not in (size, [size, size]):
        raise CheckpointError(f"{where}: size is {shown['size']}, but the model sees {size} pixels a side.")
    resized: Any = {"shortest": "shorter", "longest": "longer", "squash": "both"}[shown.get("resize_mode", "shortest")]
    method: Filter = "bilinear" if shown.get("interpolation") == "bilinear" else "bicubic"  # "random", too
    colours: Mapping[str, Any] = shown
    return Preprocessing(
        {name: tuple(colours[name]) for name in ("mean", "std") if name in colours},
        Fitting(resized, None, method, shown.get("fill_color", 0)),
    )


OPEN_CLIP: Allowed = {
    **dict.fromkeys(("mean", "std", "size", "interpolation", "resize_mode", "fill_color"), None),
    "mode": only("RGB"),
}
