from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
import torch

from pinxit.training.machine import machine


def test_this_one_has_a_name() -> None:
    found = machine("cpu")
    assert set(found) == {"device", "cores", "torch", "python"}
    assert found["device"] and found["cores"] > 0 and found["torch"] == torch.__version__


def test_a_processor_is_named_by_who_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: Any = "model name\t: Fast One\nmodel name\t: Fast One\n"

    def read(path: Path, encoding: str) -> str:
        if isinstance(told, str):
            return told
        raise told

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "processor")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert machine("cpu")["device"] == "Fast One"
    told = "flags: none\n"
    assert machine("cpu")["device"] == "processor"
    told = FileNotFoundError()
    assert machine("cpu")["device"] == "processor"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine("cpu")["device"] == "arm64"
