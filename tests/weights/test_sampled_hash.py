"""The hash of published networks: it changes with whatever training or a scheduler's settings change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pinxit.weights.sampled_hash import BLOCK, sampled_hash
from pinxit.weights.tensor_files import write_tensors

ROWS = 4 * BLOCK  # of the large tensor


def written(folder: Path, change: tuple[str, int] | None = None, **settings: object) -> str:
    """The hash of a network in `folder`, with one of its numbers changed."""
    tensors = {"large": torch.arange(ROWS).float(), "small": torch.arange(9).half()}
    if change is not None:
        tensors[change[0]][change[1]] += 1
    (folder / "unet").mkdir(parents=True)
    write_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors", tensors, {"format": "pt"})
    (folder / "unet" / "config.json").write_text(str(settings))
    return sampled_hash([folder / "unet", folder / "none"])


def test_equal_folders_have_equal_hashes(tmp_path: Path) -> None:
    assert written(tmp_path / "one") == written(tmp_path / "two") != sampled_hash([])
    (tmp_path / "one" / "unet" / "model.bin").write_bytes(b"never read")
    assert sampled_hash([tmp_path / "one" / "unet"]) == sampled_hash([tmp_path / "two" / "unet"])


@pytest.mark.parametrize("change", [("large", 0), ("large", ROWS // 2), ("large", -1), ("small", 4)])
def test_every_tensor_counts(tmp_path: Path, change: tuple[str, int]) -> None:
    assert written(tmp_path / "one") != written(tmp_path / "two", change)


def test_settings_count(tmp_path: Path) -> None:
    assert written(tmp_path / "one", steps=1) != written(tmp_path / "two", steps=2)


def test_an_archive_counts_where_it_is_all_there_is(tmp_path: Path) -> None:
    """As in an image encoder of Karlo's that came without safetensors."""
    folder, found = tmp_path / "image_encoder", set()
    folder.mkdir()
    for content in (b"one", b"two"):
        (folder / "pytorch_model.bin").write_bytes(content)
        found.add(sampled_hash([folder]))
    assert len(found) == 2
