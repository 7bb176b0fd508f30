"""Pictures are prepared as a public CLIP's own files say: transformers' processor, or open_clip's transform by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from pinxit.data.transforms import preprocess, to_tensor
from pinxit.errors import CheckpointError
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.types import Fitting
from pinxit.weights.clip_export import save_transformers_clip
from pinxit.weights.clip_preprocessing import open_clip_preprocessing, transformers_preprocessing
from pinxit.weights.public_clip import load_public_clip

if TYPE_CHECKING:
    from pinxit.types import Picture

SIZE = 32
SMALL = CLIPConfig(
    embed=24,
    vision=CLIPVisionConfig(size=SIZE, patch=8, width=64, layers=1, heads=1),
    text=CLIPTextConfig(vocab=60, tokens=12, width=64, layers=1, heads=1, eot=59),
)
USUAL: dict[str, Any] = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}, "resample": 3}
BOTH, LARGER = {"height": SIZE, "width": SIZE}, {"height": 44, "width": 44}


def photo(width: int, height: int) -> Picture:
    """Soft shapes, so that a pixel to the left or right is seen to be one."""
    rough = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.array(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def told(tmp_path: Path, **change: Any) -> Path:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"image_processor_type": "CLIPImageProcessor"} | USUAL | change))
    return path


@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (50, 50), (32, 32), (20, 30)])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"do_center_crop": False, "size": BOTH},
        {"size": BOTH},
        {"size": LARGER},
        {"size": {"shortest_edge": 48}},
        {"size": {"shortest_edge": 36}, "resample": 2},
        {"resample": 0},
        {"resample": 1},
        {"do_rescale": False, "image_mean": [100.0, 110, 120], "image_std": [60.0, 70, 80]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1, 1], "image_std": [1.0, 1, 1]},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_normalize": False, "do_rescale": False},
    ],
)
def test_a_model_is_shown_what_transformers_shows_it(
    tmp_path: Path, change: dict[str, Any], shape: tuple[int, int]
) -> None:
    transformers = pytest.importorskip("transformers")
    save_transformers_clip(CLIP(SMALL), tmp_path)
    told(tmp_path, **change)
    picture, model = photo(*shape), load_public_clip(tmp_path)
    processor = transformers.CLIPImageProcessor.from_pretrained(tmp_path)
    expected = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"][0]
    shown = (to_tensor(preprocess(picture, SIZE, model.fitting)[None])[0] - model.mean) / model.std
    levels = (shown - expected).abs() * 255 * model.std
    assert levels.max() < 2.5 and levels.mean() < 0.3


def test_files_are_read_as_the_model_wants_and_pictures_of_its_size_are_left_alone(tmp_path: Path) -> None:
    save_transformers_clip(CLIP(SMALL), tmp_path)
    told(tmp_path, do_center_crop=False, size=BOTH)
    model = load_public_clip(tmp_path)
    encoder = ClipEncoder(model, lambda texts, cut: np.zeros((len(texts), 12), np.int64), "x", "cpu")
    Image.fromarray(photo(96, 60)).save(tmp_path / "wide.png")
    squashed = np.array(Image.fromarray(photo(96, 60)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert np.array_equal(encoder.read(tmp_path / "wide.png"), squashed)
    assert np.array_equal(encoder.pictures([photo(96, 60)]), encoder.pictures([squashed]))
    assert np.array_equal(encoder.features([photo(96, 60)]), encoder.features([squashed]))
    cropped = ClipEncoder(CLIP(SMALL), encoder.tokenize, "x", "cpu")
    assert not np.array_equal(cropped.read(tmp_path / "wide.png"), squashed)


def test_what_was_read_is_written_again(tmp_path: Path) -> None:
    save_transformers_clip(CLIP(SMALL), tmp_path)
    told(tmp_path, size=LARGER, resample=2)
    model = load_public_clip(tmp_path)
    assert model.fitting == Fitting("both", 44, "bilinear")
    save_transformers_clip(model, tmp_path / "again")
    assert load_public_clip(tmp_path / "again").fitting == model.fitting
    model.fitting = Fitting("longer")
    with pytest.raises(CheckpointError, match="ground of grey"):
        save_transformers_clip(model, tmp_path / "never")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"do_pad": True}, "do_pad"),
        ({"size": {"shortest_edge": 24}}, "size"),
        ({"size": {"height": 32, "width": 48}}, "size"),
        ({"size": {"longest_edge": 32}}, "size"),
        ({"size": 0}, "size"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"do_center_crop": False, "size": LARGER}, "size"),
        ({"crop_size": LARGER}, "crop_size"),
        ({"resample": 9}, "resample"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"image_mean": "grey"}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
    ],
)
def test_what_no_picture_of_the_models_size_comes_of_is_refused(
    tmp_path: Path, change: dict[str, object], name: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"preprocessor_config\.json: .*{name}"):
        transformers_preprocessing(told(tmp_path, **change), SIZE)


def test_colours_need_three_numbers(tmp_path: Path) -> None:
    save_transformers_clip(CLIP(SMALL), tmp_path)
    told(tmp_path, image_std=[0.5, 0.5])
    with pytest.raises(CheckpointError, match=r"clip\.std"):
        load_public_clip(tmp_path)


def test_open_clips_ways() -> None:
    """Its transform word for word, with Pillow alone: shortest, squash, longest on a ground of its fill_color."""
    picture = photo(96, 60)
    image = Image.fromarray(picture)

    def shown(**about: Any) -> Picture:
        return preprocess(picture, SIZE, open_clip_preprocessing(about, SIZE, "file").fitting)

    squashed = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.array_equal(shown(resize_mode="squash", interpolation="bilinear"), np.array(squashed))
    wide = np.array(image.resize((32, 20), Image.Resampling.BICUBIC))
    found = shown(resize_mode="longest", fill_color=7)
    assert np.array_equal(found[6:26], wide) and (found[:6] == 7).all() and (found[26:] == 7).all()
    left = round((51 - SIZE) / 2)
    cut = np.array(image.resize((51, SIZE), Image.Resampling.BICUBIC))[:, left : left + SIZE]
    assert np.abs(shown(size=[SIZE, SIZE]).astype(int) - cut).max() <= 1
    preprocessing = open_clip_preprocessing({"mean": [0.1] * 3, "std": [0.2] * 3, "mode": "RGB"}, SIZE, "file")
    assert preprocessing.colours == {"mean": (0.1,) * 3, "std": (0.2,) * 3} and preprocessing.fitting == Fitting()


@pytest.mark.parametrize(
    "setting", [{"resize_mode": "fold"}, {"size": 999}, {"mode": "L"}, {"fill_color": -1}, {"something_new": 1}]
)
def test_open_clips_settings_that_there_are_not(setting: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=rf"file.*{next(iter(setting))}"):
        open_clip_preprocessing(setting, SIZE, "file")


def test_colours_of_a_folder_reach_the_model(tmp_path: Path) -> None:
    save_transformers_clip(CLIP(SMALL), tmp_path)
    told(tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    model = load_public_clip(tmp_path)
    assert (model.config.mean, model.config.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
