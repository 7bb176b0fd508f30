from __future__ import annotations

import torch

from pinxit.training.machine import machine


def test_this_one_has_a_name() -> None:
    found = machine("cpu")
    assert set(found) == {"device", "cores", "torch", "python"}
    assert found["device"] and found["cores"] > 0 and found["torch"] == torch.__version__
