"""What the grammar says, in English and Chinese, word for word."""

from __future__ import annotations

import re

import pytest

from pinxit.world import World, chinese, english
from pinxit.world import chinese_free_templates as zh
from pinxit.world import english_free_templates as en
from pinxit.world.captions import plain_caption
from pinxit.world.dice import Dice
from pinxit.world.plan import Part, ScenePlan, meaning
from pinxit.world.vocabulary import COLOURS_ZH, COUNTS, PLACES, lexicon

WORDS = lexicon("small")
RED, GREEN = Part("cube", "solid", "red", "small"), Part("cube", "solid", "green", "big")
CIRCLE, SQUARE = Part("circle", "shape", "orange"), Part("square", "shape", "purple")
CLOCK = Part("clock", "made", "green", form="triangle")
PENGUIN, CAR, CAT = Part("penguin", "sprite"), Part("car", "sprite"), Part("cat", "sprite")

PLAIN = [
    (ScenePlan("single_object", (PENGUIN,)), "a penguin", "一只企鹅"),
    (ScenePlan("single_object", (PENGUIN,), place="snow"), "a penguin in the snow", "在雪地里，一只企鹅"),
    (
        ScenePlan("single_object", (Part("umbrella", "sprite"),), place="orange"),
        "an umbrella on an orange background",
        "一把雨伞，橙色背景",
    ),
    (ScenePlan("two_objects", (PENGUIN, CAR), ("left of",)), "a penguin and a car", "一只企鹅和一辆汽车"),
    (ScenePlan("counting", (Part("penguin", "sprite", count=3),)), "three penguins", "三只企鹅"),
    (
        ScenePlan("counting", (Part("triangle", "shape", "green", count=3),)),
        "three green triangles",
        "三个绿色的三角形",
    ),
    (ScenePlan("colours", (CLOCK,)), "a triangular green clock", "一个绿色的三角形时钟"),
    (
        ScenePlan("position", (CIRCLE, SQUARE), ("left of",)),
        "an orange circle to the left of a purple square",
        "一个橙色的圆形在一个紫色的正方形的左边",
    ),
    (ScenePlan("position", (CAR, CAT), ("below",)), "a car below a cat", "一辆汽车在一只猫的下方"),
    (
        ScenePlan("colour_attribution", (CIRCLE, CLOCK), ("above",)),
        "an orange circle and a triangular green clock",
        "一个橙色的圆形和一个绿色的三角形时钟",
    ),
    (
        ScenePlan("on_top", (RED, GREEN), ("on top of",)),
        "a small red cube on top of a big green cube",
        "一个红色的小立方体在一个绿色的大立方体上面",
    ),
    (ScenePlan("sketch", (CAT,), style="pencil sketch"), "a pencil sketch of a cat", "一只猫的铅笔素描"),
    (
        ScenePlan("pair", (CAT,), lower_style="pencil sketch"),
        "the exact same cat on the top as a sketch on the bottom",
        "上面是一只猫，下面是同样的猫的素描",
    ),
]


@pytest.mark.parametrize(("plan", "said", "said_zh"), PLAIN, ids=[said for _, said, _ in PLAIN])
def test_the_plainest_caption(plan: ScenePlan, said: str, said_zh: str) -> None:
    assert english.plain(plan, WORDS) == said
    assert chinese.plain(plan, WORDS) == said_zh


FULL = [
    (
        ScenePlan(
            "stack", tuple(Part("cube", "solid", c) for c in ("red", "green", "blue")), ("on top of", "on top of")
        ),
        "a stack of three cubes, red on top, green in the middle and blue at the bottom",
        "三个叠在一起的立方体，红色在上，绿色在中间，蓝色在下",
    ),
    (
        ScenePlan(
            "outfit",
            (Part("penguin", "sprite", outfit=(("red", "hat"), ("yellow", "gloves"), ("blue", "shirt"))),),
        ),
        "a penguin wearing a red hat, yellow gloves and a blue shirt",
        "一只戴着红色帽子和黄色手套、穿着蓝色衬衫的企鹅",
    ),
    (
        ScenePlan("shaped", (Part("armchair", "made", form="avocado"),)),
        "an armchair in the shape of an avocado",
        "一把牛油果形状的扶手椅",
    ),
    (ScenePlan("words", (Part("sign", "made", words="HELLO"),)), "a sign that says HELLO", "一块写着HELLO的牌子"),
    (
        ScenePlan(
            "style",
            (Part("fox", "sprite"), Part("unicorn", "sprite")),
            ("left of",),
            "snowy forest",
            style="folded from paper",
        ),
        "a fox and a unicorn folded from paper in a snowy forest",
        "在下雪的森林里，用纸折成的一只狐狸和一只独角兽",
    ),
    (ScenePlan("riding", (CAT, Part("horse", "sprite")), ("riding",)), "a cat riding a horse", "一只猫骑着一匹马"),
    (
        ScenePlan(
            "riding", (CAT, Part("horse", "sprite"), PENGUIN, Part("pig", "sprite")), ("riding", "left of", "riding")
        ),
        "a cat riding a horse beside a penguin riding a pig",
        "一只猫骑着一匹马，旁边一只企鹅骑着一头猪",
    ),
    (
        ScenePlan("inside", (Part("star", "shape", "red"), CIRCLE), ("inside",)),
        "a red star inside an orange circle",
        "一个红色的星形在一个橙色的圆形里面",
    ),
    (ScenePlan("behind", (CAT, CAR), ("behind",)), "a cat behind a car", "一只猫在一辆汽车后面"),
    (ScenePlan("view", (CAT,), view="upside down"), "a cat upside down", "一只倒过来的猫"),
    (
        ScenePlan("light", (PENGUIN,), place="beach", light="sunrise"),
        "a penguin at sunrise with long shadows on a beach",
        "在沙滩上，日出时的一只企鹅，影子很长",
    ),
    (
        ScenePlan("pair", (CAT,), lower_style="watercolour"),
        "the exact same cat on the top as a watercolour on the bottom",
        "上面是一只猫，下面是同样的猫的水彩",
    ),
]


@pytest.mark.parametrize(("plan", "said", "said_zh"), FULL, ids=[said for _, said, _ in FULL])
def test_the_plainest_caption_of_the_full_world(plan: ScenePlan, said: str, said_zh: str) -> None:
    assert english.plain(plan, lexicon("full")) == said
    assert chinese.plain(plan, lexicon("full")) == said_zh


def phrasings(plan: ScenePlan, ground: bool = True) -> set[str]:
    """Everything the English grammar says of a plan in many tries."""
    return {said for k in range(2500) for said in english.variants(plan, WORDS, Dice(k), [ground] * 3)}


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            ScenePlan("counting", (Part("triangle", "shape", "green", count=3),)),
            "three green triangles on a white background",
        ),
        (
            ScenePlan("position", (CIRCLE, SQUARE), ("left of",)),
            "an orange circle to the left of a purple square on a white background",
        ),
        (
            ScenePlan("on_top", (RED, GREEN), ("on top of",)),
            "a small red cube on top of a big green cube on a white background",
        ),
        (
            ScenePlan("on_top", (RED, GREEN), ("on top of",)),
            "a small red block on a large green block on a white background",
        ),
        (
            ScenePlan("position", (CIRCLE, SQUARE), ("left of",)),
            "a purple square right of an orange circle on a white background",
        ),
        (ScenePlan("colours", (CLOCK,)), "a green clock in the shape of a triangle with a white background"),
        (
            ScenePlan("pair", (CAT,), lower_style="pencil sketch"),
            "a cat as a sketch below itself on a white background",
        ),
    ],
)
def test_the_sentences_of_the_readme_are_sentences_of_the_grammar(plan: ScenePlan, said: str) -> None:
    assert said in phrasings(plan)


def test_chinese_phrasings() -> None:
    plan = ScenePlan("counting", (Part("triangle", "shape", "green", count=3),), place="yellow")
    said = {s for k in range(200) for s in chinese.variants(plan, WORDS, Dice(k), [True], plainest=True)}
    assert {"三个绿色的三角形，黄色背景", "图中有三个绿色的三角形，黄色背景"} <= said
    plan = ScenePlan("position", (CAT, CAR), ("left of",))
    said = {s for k in range(200) for s in chinese.variants(plan, WORDS, Dice(k), [False])}
    assert {"一辆汽车的左边有一只猫", "左边是一只猫，右边是一辆汽车", "一辆汽车在一只猫的右边"} <= said


def test_synonyms_and_other_words_are_used_sometimes() -> None:
    plan = ScenePlan("single_object", (Part("airplane", "sprite", size="big"),))
    said = phrasings(plan, ground=False)
    assert {"this is a large airplane", "there is a big aeroplane"} <= said
    assert "four planes" in phrasings(ScenePlan("counting", (Part("airplane", "sprite", count=4),)), ground=False)


@pytest.mark.parametrize("preset", ["small", "full"])
def test_four_different_captions_and_the_ground_in_at_least_one(preset: str) -> None:
    for language, chinese_ones in (("mixed", 1), ("en", 0), ("zh", 4)):
        world = World(preset, language=language)  # type: ignore[arg-type]
        for index in range(400):
            scene = world.scene(index)
            said = world.captions(index)
            assert len(set(said)) == 4, said
            assert sum(not s.isascii() for s in said) == chinese_ones
            assert all(said) and not any(
                "{" in s or "  " in s or "None" in s or (s != s.lower() and not scene.items[0].words)
                for s in said
                if s.isascii()
            )
            words = {scene.place, *PLACES.get(scene.place, ())[:2], COLOURS_ZH.get(scene.place, "无")}
            if preset != "small":
                words |= {
                    *en.PLACES.get(scene.place, ()),
                    *zh.PLACES.get(scene.place, ()),
                }
            grounded = [s for s in said[1:] if any(str(word) in s for word in words)]
            assert grounded or not meaning(scene).may_mention_ground, (scene.place, said)


def test_the_ground_is_told_in_about_half_of_the_further_captions() -> None:
    world = World(language="en")
    told = [
        (world.scene(i).place if world.scene(i).place not in PLACES else PLACES[world.scene(i).place][0]) + end in said
        for i in range(1500)
        for said in world.captions(i)[1:]
        for end in ([" background"] if world.scene(i).place not in PLACES else [""])
    ]
    assert 0.45 < sum(told) / len(told) < 0.65


@pytest.mark.parametrize("preset", ["small", "full"])
def test_articles_agree(preset: str) -> None:
    world = World(preset, language="en")  # type: ignore[arg-type]
    exceptions = ("unicorn", "ukulele", "uniform", "one", "hour", "union", "usb")
    for index in range(1500):
        for said in world.captions(index):
            for article, word in re.findall(r"\b(an?) (\w+)", said):
                vowel = word[0] in "aeiou"
                if not word.startswith(exceptions):
                    assert (article == "an") == vowel, said


def test_every_number_and_every_fact_is_in_every_caption() -> None:
    """Whatever the phrasing, no told fact is lost: names or their synonyms, colours, counts."""
    world = World(language="en")
    for index in range(1500):
        plan = meaning(world.scene(index))
        for said in world.captions(index):
            for part in plan.parts:
                noun = WORDS.nouns[part.name]
                names = [noun.name, noun.plural, *noun.synonyms, *map(english.plural, noun.synonyms)]
                assert any(name in said for name in names), (said, part)
                assert part.colour is None or part.colour in said
                assert part.count == 1 or COUNTS[part.count][0] in said or str(part.count) in said
                assert part.size is None or any(
                    w in said for w in {"small": ("small", "little"), "big": ("big", "large")}[part.size]
                )


def test_plain_captions_of_scenes_are_the_first() -> None:
    world = World(language="en")
    assert all(world.captions(i)[0] == plain_caption(world.scene(i), WORDS) for i in range(200))
