"""The bundled pack: what captions and scenes rely on, and how damage is reported."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scripts.sprites.things import TABLE, article_of, plural_of

from pinxit.errors import DataError, PinxitError
from pinxit.world.pack import ASSETS, Pack

Alpha = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.open()


@pytest.fixture(scope="module")
def alphas(pack: Pack) -> dict[tuple[str, str], Alpha]:
    """The opacity of every sprite, decoded once: uint8 [H, W] by (name, artist)."""
    pairs = [(thing.name, artist) for thing in pack.things.values() for artist in thing.artists]
    return {pair: pack.sprite(*pair)[..., 3].copy() for pair in pairs}


def test_pack_is_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) <= 10 * 1000 * 1000


def test_every_sprite_is_a_cut_out(alphas: dict[tuple[str, str], Alpha]) -> None:
    """Alone in the middle of a square, a sprite leaves at least two corners clear and fills 10-93 %."""
    for pair, alpha in alphas.items():
        solid = alpha > 127
        height, width = solid.shape
        square = np.zeros((max(height, width),) * 2, bool)
        top, left = (len(square) - height) // 2, (len(square) - width) // 2
        square[top : top + height, left : left + width] = solid
        corners = [square[0, 0], square[0, -1], square[-1, 0], square[-1, -1]]
        assert 96 <= max(height, width) <= 128, pair
        assert sum(map(bool, corners)) <= 2, pair
        assert solid.mean() >= 0.10 and square.mean() <= 0.93, pair


def test_sprites_are_tightly_cropped(alphas: dict[tuple[str, str], Alpha]) -> None:
    for pair, alpha in alphas.items():
        edges = (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])
        assert all(edge.max() > 0 for edge in edges), pair


def test_aspect_is_that_of_the_decoded_sprite(pack: Pack, alphas: dict[tuple[str, str], Alpha]) -> None:
    for pair, alpha in alphas.items():
        assert pack.aspect(*pair) == alpha.shape[1] / alpha.shape[0], pair


def test_small_has_28_things_by_three_artists_or_more(pack: Pack) -> None:
    assert len(pack.names("small")) == 28
    assert min(len(pack.things[name].artists) for name in pack.names("small")) >= 3
    assert set(pack.names("small")) <= set(pack.names("full")) == set(pack.things)


def test_words_are_unambiguous(pack: Pack) -> None:
    """A name, plural, synonym or Chinese name stands for one thing only."""
    owners: dict[str, str] = {}
    for thing in pack.things.values():
        for word in {thing.name, thing.plural, *thing.synonyms, thing.zh}:
            assert word == word.strip() and word
            assert word == thing.zh or word == word.lower()
            assert owners.setdefault(word, thing.name) == thing.name, word


def test_synonyms_have_regular_plurals(pack: Pack) -> None:
    """Captions put a synonym in place of the name, in the plural too: "two bikes", never "two jeans"."""
    irregular = [
        synonym
        for thing in pack.things.values()
        for synonym in thing.synonyms
        if synonym.split()[-1].endswith(("man", "mouse", "foot", "tooth", "goose", "fish", "knife", "shoes", "pants"))
    ]
    assert irregular == []


def test_famous_demonstrations_can_be_drawn(pack: Pack) -> None:
    names = "avocado armchair snail harp penguin dog radish horse astronaut fox unicorn panda cat raccoon capybara"
    assert set(names.split()) | {"teddy bear", "cup of coffee", "top hat", "pair of gloves"} <= set(pack.things)


def test_words_of_the_small_things(pack: Pack) -> None:
    things = pack.things
    assert (things["fish"].plural, things["cactus"].plural) == ("fish", "cactuses")
    assert (things["elephant"].article, things["penguin"].article) == ("an", "a")
    assert (things["penguin"].zh_measure, things["penguin"].zh) == ("只", "企鹅")
    assert (things["bicycle"].zh_measure, things["bicycle"].zh) == ("辆", "自行车")


def test_sprites_are_read_only_and_kept(pack: Pack) -> None:
    sprite = pack.sprite("penguin", "noto")
    assert sprite.dtype == np.uint8 and sprite.shape[2] == 4
    assert pack.sprite("penguin", "noto") is sprite
    with pytest.raises(ValueError, match="read-only"):
        sprite[0, 0, 0] = 1


@pytest.mark.parametrize(("name", "artist"), [("griffin", "noto"), ("penguin", "rembrandt")])
def test_unknown_sprites_are_refused(pack: Pack, name: str, artist: str) -> None:
    with pytest.raises(PinxitError, match=f"no '{name}' by '{artist}'"):
        pack.aspect(name, artist)


def test_a_missing_pack_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.json cannot be read"):
        Pack.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 99}', '{"format": 1}', '{"format":1,"artists":[],"things":[1]}']
)
def test_a_damaged_index_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError, match="reinstall pinxit"):
        Pack.open(tmp_path)


def test_a_truncated_pack_is_one_clear_error(tmp_path: Path) -> None:
    shutil.copytree(ASSETS, tmp_path / "pack")
    blob = tmp_path / "pack" / "sprites.bin"
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(DataError, match="bytes instead of"):
        Pack.open(tmp_path / "pack")


def test_a_flipped_byte_is_one_clear_error(tmp_path: Path) -> None:
    shutil.copytree(ASSETS, tmp_path / "pack")
    blob = tmp_path / "pack" / "sprites.bin"
    data = bytearray(blob.read_bytes())
    data[100] ^= 255
    blob.write_bytes(bytes(data))
    damaged = Pack.open(tmp_path / "pack")
    first = next(iter(damaged.things.values()))
    with pytest.raises(DataError, match="is damaged"):
        damaged.sprite(first.name, first.artists[0])


def test_pack_is_that_of_the_table(pack: Pack) -> None:
    """The bundled pack was built from the table of things as it stands."""
    with TABLE.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert [row["name"] for row in rows] == list(pack.names("full"))
    for row in rows:
        thing = pack.things[row["name"]]
        assert thing.zh_measure == row["measure"]
        assert thing.plural == (row["plural"] or plural_of(thing.name))
        assert not set(row["without"].split("; ")) & set(thing.artists)


@pytest.mark.parametrize(
    ("name", "article", "plural"),
    [("unicorn", "a", "unicorns"), ("hourglass", "an", "hourglasses"), ("strawberry", "a", "strawberries")],
)
def test_regular_words(name: str, article: str, plural: str) -> None:
    assert (article_of(name), plural_of(name)) == (article, plural)


def test_licence_texts_travel_with_the_pack() -> None:
    licences = {path.name: path.read_text() for path in (ASSETS / "licences").glob("*.txt")}
    assert "Apache License" in licences["Apache-2.0.txt"]
    assert "Microsoft Corporation" in licences["MIT-fluent-emoji.txt"]
    assert "Permission is hereby granted" in licences["MIT-emojibase.txt"]
    notice = (Path(__file__).parents[2] / "NOTICE").read_text()
    for source in ("@iconify-json/noto", "@iconify-json/noto-v1", "@iconify-json/fluent-emoji-flat", "emojibase-data"):
        assert source in notice
