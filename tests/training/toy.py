"""A task small enough to train in milliseconds, with every kind of state that a real one has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.training.draws import row_streams, seeded, torch_rng, uniforms
from pinxit.training.loop import Batch, Plan
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from pinxit.types import Picture


class Net(nn.Module):
    """Two layers, an embedding table and a buffer that follows the data."""

    middle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)
        self.table = nn.Embedding(5, 8)
        self.register_buffer("middle", torch.zeros(8))

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        if self.training:
            self.middle.lerp_(x.detach().mean(0), 0.1)
        out: Tensor = self.second(F.relu(self.first(x - self.middle + self.table(kind))))
        return out


class Toy:
    """Learn a fixed linear map; `poison` makes the loss of some batches NaN."""

    name = "toy"

    def __init__(self, seed: int = 0, poison: frozenset[int] = frozenset(), delay: float = 0.0) -> None:
        self.seed, self.poison, self.delay = seed, poison, delay
        self.net = seeded(Net, seed, "toy")
        self.target = torch.randn(8, 4, generator=torch_rng(seed, "target"))
        self.stepped = 0

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.net}

    def batch(self, rows: Rows) -> Batch:
        x = row_streams(self.seed, "batch", rows).normal(rows.count, 8)
        return {"x": x, "kind": torch.from_numpy((5 * uniforms(self.seed, "kind", rows)[:, 0]).astype(np.int64))}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        noise = row_streams(self.seed, "noise", rows).normal(*batch["x"].shape)
        error = F.mse_loss(self.net(batch["x"] + 0.1 * noise, batch["kind"]).float(), batch["x"] @ self.target)
        if self.poison.intersection(rows.positions.tolist()):
            error = error * float("nan")
        return error, {"error": error.detach(), "half": 0.5}

    def after_step(self) -> None:
        self.stepped += 1

    def preview(self) -> Picture | None:
        return np.full((4, 4, 3), 7, np.uint8)


def plan(**changes: object) -> Plan:
    """Sixteen updates of eight."""
    values: dict[str, object] = {"images": 128, "batch": 8, "lr": 1e-2, "warmup": 16, "decay": 0.1, "clip": 1.0}
    return Plan(**(values | {"ema": 0.9, "ema_every": 2, "log_every": 8, "precision": "fp32"} | changes))  # type: ignore[arg-type]
