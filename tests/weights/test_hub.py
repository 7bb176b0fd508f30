"""Names on the hub: what is fetched, and one sentence where it is not to be had. No test touches the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import pinxit
from pinxit.errors import CheckpointError, UsageError
from pinxit.weights import hub
from pinxit.weights.clip_export import save_transformers_clip
from pinxit.weights.public_clip import load_public_clip
from tests.weights.test_public_clip import inputs, ours


class Hub:
    """A hub that has one folder, and remembers what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[tuple[str, str | None, tuple[str, ...]]]()

    def __call__(self, name: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((name, revision, tuple(allow_patterns)))
        return str(self.folder)


def test_tensors_are_asked_for_first_and_archives_only_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", server)
    (tmp_path / "pytorch_model.bin").touch()
    assert hub.fetch("hub:openai/clip-vit-base-patch32@refs/pr/1") == tmp_path
    assert [one[:2] for one in server.asked] == [("openai/clip-vit-base-patch32", "refs/pr/1")] * 2
    assert [("*.safetensors" in one[2], "*.bin" in one[2]) for one in server.asked] == [(True, False), (False, True)]
    (tmp_path / "model.safetensors").touch()
    hub.fetch("hub:openai/clip-vit-base-patch32")
    assert len(server.asked) == 3 and server.asked[2][1] is None


def test_archives_are_not_asked_for_by_who_cannot_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", server)
    assert hub.fetch("hub:google/t5-v1_1-base", archives=False) == tmp_path
    ((*_, expected),) = server.asked
    assert "*.safetensors" in expected and not {"*.bin", "*.pt"} & set(expected)


def test_a_name_opens_like_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ours()
    save_transformers_clip(model, tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(tmp_path))
    opened = load_public_clip(hub.fetch("hub:somebody/clip"))
    pictures, _ = inputs()
    torch.testing.assert_close(opened.encode_image(pictures), model.encode_image(pictures), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["hub:clip", "hub:a/b/c", "hub:", "hub:a/b@"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="write hub:OWNER/NAME"):
        pinxit.load_clip(name)


def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("nothing there")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match="a/b is not cached and the hub cannot be reached"):
        pinxit.load_clip("hub:a/b")

    def missing(*_: Any, **__: Any) -> str:
        raise OSError("404\nnot found")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", missing)
    with pytest.raises(CheckpointError, match="cannot be fetched from the hub: 404 not found"):
        pinxit.load_clip("hub:a/b")
