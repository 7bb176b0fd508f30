"""ResNet-18 (He et al. 2016, table 1): the supervised network that zero-shot models are compared with.

Shapes: B batch, C channels, D = 512 features, K classes. 11,689,512 parameters with 1,000 classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.schema import Count, Depth


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """Shape of a ResNet of basic blocks."""

    classes: Count
    size: Count = 224  # side of the pictures
    width: Count = 64  # channels of the first stage; every further stage doubles them
    blocks: tuple[Depth, ...] = (2, 2, 2, 2)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, [B, C, H, W] -> [B, outputs, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, stages, mean, one linear layer: pictures [B, 3, S, S] in [0, 1] -> logits [B, K]."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config, inputs = config, config.width
        self.conv1 = nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        stages = []
        for number, blocks in enumerate(config.blocks):
            outputs = config.width * 2**number
            for block in range(blocks):
                stages.append(BasicBlock(inputs, outputs, 2 if number and block == 0 else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, config.classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """What the last layer reads, [B, D]."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(2 * x - 1))), 3, 2, 1)
        return self.stages(x).mean((2, 3))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))  # type: ignore[no-any-return]
