"""The published CLIP models by name (Radford et al. 2021, tables 19 and 20; the released weights)."""

from __future__ import annotations

from pinxit.models.clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

_BASE, _X4, _LARGE = (CLIPTextConfig(width=width, heads=width // 64) for width in (512, 640, 768))


def _vit(embed: int, size: int, patch: int, width: int, layers: int, text: CLIPTextConfig) -> CLIPConfig:
    vision = CLIPVisionConfig(size=size, patch=patch, width=width, layers=layers, heads=width // 64)
    return CLIPConfig(embed=embed, vision=vision, text=text)


def _resnet(embed: int, size: int, width: int, stages: tuple[int, ...], text: CLIPTextConfig) -> CLIPConfig:
    return CLIPConfig(embed=embed, vision=CLIPVisionConfig(size=size, width=width, stages=stages), text=text)


PUBLISHED: dict[str, CLIPConfig] = {
    "RN50": _resnet(1024, 224, 64, (3, 4, 6, 3), _BASE),
    "RN101": _resnet(512, 224, 64, (3, 4, 23, 3), _BASE),
    "RN50x4": _resnet(640, 288, 80, (4, 6, 10, 6), _X4),
    "RN50x16": _resnet(768, 384, 96, (6, 8, 18, 8), _LARGE),
    "RN50x64": _resnet(1024, 448, 128, (3, 15, 36, 10), CLIPTextConfig(width=1024, heads=16)),
    "ViT-B/32": _vit(512, 224, 32, 768, 12, _BASE),
    "ViT-B/16": _vit(512, 224, 16, 768, 12, _BASE),
    "ViT-L/14": _vit(768, 224, 14, 1024, 24, _LARGE),
    "ViT-L/14@336": _vit(768, 336, 14, 1024, 24, _LARGE),
}
