"""Weights from the Hugging Face hub: the only module that may use the network, and only for "hub:OWNER/NAME"."""

from __future__ import annotations

import re
from pathlib import Path

from pinxit.errors import CheckpointError, UsageError

PREFIX = "hub:"
SMALL, TENSORS, ARCHIVES = ["*.json", "*.txt", "*.model"], ["*.safetensors"], ["*.bin", "*.pt"]
_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def fetch(spec: str, archives: bool = True) -> Path:
    """The folder that holds "hub:OWNER/NAME" or "hub:OWNER/NAME@REVISION", downloaded unless it is cached.

    If it has no safetensors, weights in torch archives are downloaded instead, provided the caller can read `archives`.
    Raises UsageError for anything that is not such a name, CheckpointError when it is not cached and cannot be
    downloaded.
    """
    match = _ID.fullmatch(spec.removeprefix(PREFIX))
    if not spec.startswith(PREFIX) or match is None:
        raise UsageError(f"'{spec}' is no name on the hub: write {PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME@REVISION.")
    name, revision = match["name"], match["revision"]
    folder = _snapshot(name, revision, SMALL + TENSORS)
    if archives and not any(folder.rglob("*.safetensors")):
        folder = _snapshot(name, revision, SMALL + ARCHIVES)
    return folder


def _snapshot(name: str, revision: str | None, expected: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=expected))
    except LocalEntryNotFoundError as error:
        reason = "is not cached and the hub cannot be reached; copy its folder here and give that"
        raise CheckpointError(f"{name} {reason}.") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{name} cannot be fetched from the hub: {reason}.") from error
