"""The machine that a result was computed on, for model cards and reports."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch


def machine(device: str) -> dict[str, Any]:
    """The name of the GPU or CPU, the number of cores, and the versions of torch and Python."""
    named = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {"device": named, "cores": os.cpu_count(), "torch": torch.__version__, "python": platform.python_version()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
