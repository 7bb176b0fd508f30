"""The freely told captions of the gallery: all facts told, nothing that the scene denies, the famous words known."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pinxit.world import World, chinese, chinese_free, english, english_free
from pinxit.world import chinese_free_templates as zh
from pinxit.world import english_free_templates as en
from pinxit.world.captions import Language, captions
from pinxit.world.chinese_phrases import phrase as phrase_zh
from pinxit.world.dice import Dice
from pinxit.world.english_phrases import phrase
from pinxit.world.famous import Famous, famous_sentences
from pinxit.world.plan import Part, ScenePlan, meaning
from pinxit.world.positions import in_corner, sizes, where
from pinxit.world.roles import GARMENTS
from pinxit.world.scene import Box, Item, Scene
from pinxit.world.vocabulary import COLOURS_ZH, COUNTS, FORM_ADJECTIVE, PLACES, lexicon

WORDS = lexicon("gallery")
SCENES = [World("gallery").scene(index) for index in range(1500)]


def told(language: Language) -> Iterator[tuple[Scene, tuple[str, ...]]]:
    for index, scene in enumerate(SCENES):
        yield scene, captions(scene, WORDS, language, Dice("told", language, index))


@pytest.mark.parametrize("language", ["mixed", "en", "zh"])
def test_four_different_well_formed_captions_and_the_ground_in_half_of_them(language: Language) -> None:
    odd = re.compile(r"  |[{}]|None|, ,|，，|的的|在在|有有|^[ ,，、的]|[ ,，、]$| ,|\b(an?|the) (an?|the) ")
    for scene, said in told(language):
        assert len(set(said)) == 4, said
        assert sum(not s.isascii() for s in said) == {"mixed": 1, "en": 0, "zh": 4}[language]
        assert not any(map(odd.search, said)), said
        words = {scene.place, COLOURS_ZH.get(scene.place, scene.place)}
        if scene.place in PLACES:
            words = {
                *en.PLACES[scene.place],
                *zh.PLACES[scene.place],
                *PLACES[scene.place][:2],
            }
            words |= {*zh.BESIDE.get(scene.place, ())}
        if meaning(scene).may_mention_ground:
            assert sum(any(word in s for word in words) for s in said) >= 2, (scene.place, said)


def test_articles_agree() -> None:
    for _, said in told("en"):
        for article, word in re.findall(r"\b(an?) (\w+)", " ".join(said)):
            assert (article == "an") == (word[0] in "aeiou" and not word.startswith("unicorn")), said


def literal(ways: tuple[str, ...], said: str) -> bool:
    """Whether one of the ways stands in the sentence, its slots aside."""
    return any(all(piece in said for piece in re.split(r"\{\w?\}", way)) for way in ways)


def lost_in_english(plan: ScenePlan, said: str) -> Iterator[str]:
    for part in plan.parts:
        noun = WORDS.nouns[part.name]
        names = [*noun.synonyms, *map(english.plural, noun.synonyms), noun.name, noun.plural]
        yield from [] if any(name in said for name in names) else [part.name]
        yield from [fact for fact in (part.colour, part.material, part.words) if fact and fact not in said]
        yield from [f"{c} {g}" for c, g in part.outfit if f"{c} {g}".strip() not in said]
        if part.form and part.form not in said and FORM_ADJECTIVE.get(part.form, "-") not in said:
            yield part.form
        if part.count > 1 and COUNTS[part.count][0] not in said and str(part.count) not in said:
            yield str(part.count)
        if part.size and not re.search({"small": "small|little|tiny", "big": "big|large"}[part.size], said):
            yield part.size
    for value, table in (
        (plan.style, en.STYLED),
        (plan.view, en.VIEWED),
        (plan.light, en.LIT),
        (plan.lower_style, en.LOWER),
    ):
        if value and not literal(table[value], said):
            yield value


def lost_in_chinese(plan: ScenePlan, said: str) -> Iterator[str]:
    for part in plan.parts:
        noun = WORDS.nouns[part.name]
        yield from [] if any(name in said for name in (noun.zh, *noun.zh_synonyms)) else [part.name]
        if part.colour and COLOURS_ZH[part.colour].removesuffix("色") not in said:
            yield part.colour
        if part.material and WORDS.nouns[part.material].zh not in said:
            yield part.material
        if part.words and part.words not in said:
            yield part.words
        for colour, garment in part.outfit:
            names = zh.GARMENT_WORDS.get(garment, (GARMENTS[garment][1],))
            if not any(COLOURS_ZH.get(colour, "") + name in said for name in names):
                yield garment
        if part.form and not any(
            name in said for name in (*zh.FORM_WORDS.get(part.form, ()), WORDS.nouns[part.form].zh)
        ):
            yield part.form
        if part.count > 1 and COUNTS[part.count][1] not in said:
            yield str(part.count)
        if part.size and {"small": "小", "big": "大"}[part.size] not in said:
            yield part.size
    for value, table in (
        (plan.style, zh.STYLED),
        (plan.view, zh.VIEWED),
        (plan.lower_style, zh.LOWER),
        (plan.light, zh.LIT),
    ):
        if value and not literal(table[value], said):
            yield value


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_caption_loses_a_fact(language: Language) -> None:
    """Names, colours, forms, materials, clothes, words, counts, sizes, style, view and light: all in every one."""
    lost = lost_in_chinese if language == "zh" else lost_in_english
    for scene, said in told(language):
        plan = meaning(scene)
        for caption in said[1:]:
            assert not list(lost(plan, caption)), (plan, caption)


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (Part("person", "sprite", size="big"), "大人"),
        (Part("panda", "sprite", size="big"), "大熊猫"),
        (Part("panda", "sprite", size="small"), "小熊猫"),
        (Part("chicken", "sprite", size="small"), "小鸡"),
        (Part("radish", "sprite", "red"), "红萝卜"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_chinese_adjective_makes_another_thing_of_a_name(part: Part, other: str) -> None:
    """An adult, any panda, a red panda, a chick, a carrot: none of them is a big person, ..., a red radish."""
    words = lexicon("full")
    assert other not in chinese.noun_phrase(part, words)
    name = words.nouns[part.name].zh
    assert all(other not in phrase_zh(part, words, Dice("other", seed), name).body for seed in range(60))


SIDES = {
    "left": (r"\bleft\b|左", 0, 0.0, 0.4),
    "right": (r"\bright\b|右", 0, 0.6, 1.0),
    "top": (r"\btop\b|\bupper\b|上方|上部|上角", 1, 0.0, 0.4),
    "bottom": (r"\bbottom\b|\blower\b|下方|下部|下角", 1, 0.6, 1.0),
}


def lies(box: Box, said: str) -> bool:
    """Whether the box lies on every side of the picture that the words name."""
    for pattern, axis, low, high in SIDES.values():
        centre = (box[axis] + box[axis + 2]) / 2
        if re.search(pattern, said) and not low <= centre <= high:
            return False
    return True


def test_places_in_the_picture_are_true() -> None:
    """Of one thing alone, and of each of two that a caption puts somewhere."""
    alone = both = 0
    for index, scene in enumerate(SCENES):
        for k in range(4):
            said = english_free.say(scene, WORDS, Dice("rich", index, k), True, True)
            said_zh = chinese_free.say(scene, WORDS, Dice("rich", index, k), True, True)
            if len(scene.items) == 1 and scene.lower_style is None:
                assert lies(scene.items[0].box, said), (scene.items[0].box, said)
                assert lies(scene.items[0].box, said_zh), (scene.items[0].box, said_zh)
                alone += any(re.search(pattern, said) is not None for pattern, *_ in SIDES.values())
            if scene.pattern == "colour_attribution" and scene.style is None:
                for one, piece in named(scene, re.split(" and |, |，", said)):
                    assert lies(one.box, piece), (scene, said)
                    both += any(re.search(pattern, piece) is not None for pattern, *_ in SIDES.values())
                for one, piece in named_zh(scene, re.split("，", said_zh)):
                    assert lies(one.box, piece), (scene, said_zh)
    assert alone > 500 and both > 200  # it is said often


def named(scene: Scene, pieces: list[str]) -> Iterator[tuple[Item, str]]:
    """The pieces of a sentence that speak of one coloured item."""
    for item in scene.items:
        yield from ((item, piece) for piece in pieces if re.search(rf"\b{item.colour}\b(?! background)", piece))


def named_zh(scene: Scene, pieces: list[str]) -> Iterator[tuple[Item, str]]:
    colours = [COLOURS_ZH[item.colour or "red"] for item in scene.items]
    for item, colour in zip(scene.items, colours, strict=True):
        found = [piece for piece in pieces if colour in piece and "背景" not in piece]
        yield from ((item, piece) for piece in found if sum(c in piece for c in colours) == 1)


@pytest.mark.parametrize(
    ("box", "place", "corner"),
    [
        ((0.05, 0.05, 0.35, 0.35), ("left", "top"), True),
        ((0.6, 0.7, 0.95, 0.95), ("right", "bottom"), True),
        ((0.4, 0.4, 0.6, 0.6), ("middle", "middle"), False),
        ((0.05, 0.3, 0.35, 0.7), ("left", "middle"), False),
        ((0.02, 0.02, 0.98, 0.98), ("middle", "middle"), False),
        ((0.0, 0.0, 0.7, 0.3), ("left", "top"), False),  # its centre at 0.35, but it reaches across the middle
        ((0.3, 0.3, 0.54, 0.54), ("", ""), False),  # at 0.42: neither left nor in the middle without dispute
    ],
)
def test_where_a_box_lies(box: Box, place: tuple[str, str], corner: bool) -> None:
    across = "" if box[2] == 0.7 else place[0]
    assert where(box) == (across, place[1])
    assert in_corner(box) == corner


def test_sizes_are_told_only_beyond_the_sizes_that_the_plan_calls_so() -> None:
    def alone(side: float, **facts: str) -> Scene:
        return Scene("single_object", (Item("cat", "sprite", (0.0, 0.0, side, side)),), **facts)  # type: ignore[arg-type]

    assert sizes(alone(17 / 64)) == ["small"] and sizes(alone(48 / 64)) == ["big"]
    assert sizes(alone(26 / 64)) == [None] == sizes(alone(46 / 64))
    assert sizes(alone(12 / 64, view="from afar")) == [None] == sizes(alone(62 / 64, view="close-up"))


FAMOUS = {famous.name: famous for famous in famous_sentences()}


@pytest.mark.parametrize("famous", FAMOUS.values(), ids=list(FAMOUS))
def test_famous_sentences_are_sentences_of_the_grammar(famous: Famous) -> None:
    """Word for word in both languages, though no training scene has their facts together."""
    scene = famous.scene()
    ground = famous.plan.may_mention_ground
    for expected, say in ((famous.en, english_free.say), (famous.zh, chinese_free.say)):
        tries = (say(scene, WORDS, Dice("famous", k), ground and k % 2 == 0, False) for k in range(40000))
        assert any(said == expected for said in tries), expected


def test_the_tokens_of_the_famous_sentences_are_in_the_vocabulary() -> None:
    def tokens(text: str) -> list[str]:
        return re.findall(r"[A-Za-z]+|[一-鿿]", text)

    known = {
        token for tongue in ("en", "zh") for _, said in told(tongue) for caption in said for token in tokens(caption)
    }
    expected = {token for famous in FAMOUS.values() for token in tokens(famous.en + " " + famous.zh)}
    assert expected - known <= {"OPENAI"}


def test_noun_phrases_put_things_in_many_words() -> None:
    def english_of(part: Part) -> set[str]:
        return {phrase(part, WORDS, Dice(k)) for k in range(600)}

    def chinese_of(part: Part) -> set[str]:
        return {phrase_zh(part, WORDS, Dice(k)).bare for k in range(600)}

    clock = Part("clock", "made", "green", form="triangle")
    assert {"a clock in the shape of a green triangle", "a green triangle-shaped clock"} <= english_of(clock)
    assert {"三角形绿色的钟", "绿色三角形的钟", "三角形的绿色时钟", "绿色的三角形时钟"} & chinese_of(clock)
    snail = Part("snail", "sprite", material="harp")
    assert {"a snail made of a harp", "a snail built from a harp", "a baby snail made of a harp"} <= english_of(snail)
    assert {"竖琴状的蜗牛", "用竖琴做的蜗牛"} <= chinese_of(snail)
    dressed = Part("person", "sprite", outfit=(("blue", "shirt"), ("", "tutu")))
    assert {"a person in a blue shirt and a tutu", "a person wearing a blue shirt and a tutu"} <= english_of(dressed)
    assert "穿着蓝色衬衫和芭蕾舞裙的人" in chinese_of(dressed)
    assert {"three cats", "3 cats"} <= english_of(Part("cat", "sprite", count=3))
    assert {"coffee", "a cup of coffee"} <= english_of(Part("cup of coffee", "sprite"))


def test_a_caption_that_tells_all_tells_ground_and_place() -> None:
    scene = Scene("single_object", (Item("penguin", "sprite", (0.03, 0.6, 0.33, 0.97)),), place="blue")
    said = {english_free.say(scene, WORDS, Dice(k), True, True) for k in range(400)}
    assert "a penguin at the bottom left on a blue background" in said
    assert all("blue" in s and "left" in s and ("bottom" in s or "lower" in s) for s in said)
    said_zh = {chinese_free.say(scene, WORDS, Dice(k), True, True) for k in range(400)}
    assert "左下角有一只企鹅，蓝色背景" in said_zh
    assert all("蓝色" in s and "左下" in s for s in said_zh)
