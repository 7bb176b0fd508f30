"""Contact sheets: every thing by every artist, at 96 px and at 24 px, to be looked at before a pack is kept."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from pinxit.world.pack import Pack, Preset

COLUMNS = 4
ROWS = 15


def draw_sheets(pack_folder: Path, out: Path) -> None:
    """Write small-96.png, small-24.png, full-00-96.png, ... into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    pack = Pack(pack_folder)
    for side in (96, 24):
        presets: tuple[Preset, ...] = ("small", "full")
        for preset in presets:
            names = pack.names(preset)
            per_sheet = COLUMNS * ROWS * (1 if side == 96 else 4)
            for page, start in enumerate(range(0, len(names), per_sheet)):
                _sheet(pack, names[start : start + per_sheet], side).save(out / f"{preset}-{page:02}-{side}.png")


def _sheet(pack: Pack, names: tuple[str, ...], side: int) -> Image.Image:
    wide, high = (side + 4) * len(pack.artists) + 12, side + 16
    columns = COLUMNS * (1 if side == 96 else 3)
    sheet = Image.new("RGB", (wide * columns, high * -(-len(names) // columns)), "white")
    pen = ImageDraw.Draw(sheet)
    for k, name in enumerate(names):
        left, top = k % columns * wide, k // columns * high
        pen.text((left, top + side + 2), name, fill="black")
        for artist in pack.things[name].artists:
            picture = Image.fromarray(pack.sprite(name, artist))
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + pack.artists.index(artist) * (side + 4), top), picture)
    return sheet
