"""Build the bundled sprite pack from the registries' packages.

    pip install -e ".[sprites]" && python -m scripts.build_sprites

Needs npm on the path. Packages and finished sprites are kept in build/sprites, so a stopped build goes on where it
stopped; the same versions of cairosvg and Pillow give the same bytes. `--sheets` also draws contact sheets.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image
from scripts.sprites.bundle import bundle, usable
from scripts.sprites.draw import OWN, Hand, iconify, sprite, svg_folder, webp_folder
from scripts.sprites.fetch import DRAWINGS, NAMES, fetch, folder_name
from scripts.sprites.sheets import draw_sheets
from scripts.sprites.things import Row, read_table

from pinxit.world.pack import ASSETS

WORK = Path("build/sprites")


def main() -> None:
    """Fetch, draw, pack, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK, help="where packages and drawn sprites are kept")
    parser.add_argument("--out", type=Path, default=ASSETS, help="the folder of the pack")
    parser.add_argument("--sheets", type=Path, help="also draw contact sheets into this folder")
    options = parser.parse_args()
    rows = read_table(fetch(NAMES, options.work))
    hands = open_artists(options.work)
    drawn = [(row, draw_thing(row, hands)) for row in rows]
    for row, sprites in drawn:
        if not sprites:
            print(f"left out: {row.name} ({row.code}), drawn by nobody")
    drawn = [(row, sprites) for row, sprites in drawn if sprites]
    bundle(drawn, tuple(hands), options.out)
    small = sum(row.preset == "small" for row, _ in drawn)
    print(f"{len(drawn)} things ({small} small), {sum(len(s) for _, s in drawn)} sprites in {options.out}")
    if options.sheets:
        draw_sheets(options.out, options.sheets)


def open_artists(work: Path) -> dict[str, Hand]:
    """Every artist's hand by name. Noto's first generation lists no code points: it shares Noto's names."""
    packages = {source.artist: fetch(source, work) for source in DRAWINGS}
    caches = {source.artist: work / "drawn" / folder_name(source) for source in DRAWINGS}
    noto, flat = packages["noto"], packages["fluent flat"]
    drawings = {
        "noto": iconify(noto, noto / "chars.json"),
        "noto classic": iconify(packages["noto classic"], noto / "chars.json"),
        "fluent flat": iconify(flat, flat / "chars.json"),
        "fluent 3d": webp_folder(packages["fluent 3d"]),
    }
    return {artist: Hand(draw, caches[artist]) for artist, draw in drawings.items()} | {"pinxit": Hand(svg_folder(OWN))}


def draw_thing(row: Row, hands: dict[str, Hand]) -> dict[str, bytes]:
    """Every usable drawing of a thing, by artist."""
    sprites = {}
    for artist, hand in hands.items():
        data = None if artist in row.without else sprite(hand, row.code)
        if data is not None and usable(Image.open(io.BytesIO(data))):
            sprites[artist] = data
    return sprites


if __name__ == "__main__":
    main()
