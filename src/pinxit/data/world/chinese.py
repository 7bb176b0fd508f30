"""The Chinese grammar: the same plans, with measure words."""

from __future__ import annotations

from pinxit.data.world.dice import Dice
from pinxit.data.world.phrasing import Way, different, ways
from pinxit.data.world.plan import Part, Plan
from pinxit.data.world.scene import RelationName
from pinxit.data.world.vocabulary import COLOURS_ZH, COUNTS, FORM_ZH, PLACES, Lexicon

_SIZES = {"small": "小", "big": "大"}


def noun_phrase(part: Part, words: Lexicon) -> str:
    """一只企鹅, 三个绿色的三角形, 一个红色的小立方体, 一个绿色的三角形时钟."""
    noun = words.nouns[part.name]
    return f"{COUNTS[part.count][1] if part.count > 1 else '一'}{noun.measure}{bare(part, words)}"


def bare(part: Part, words: Lexicon) -> str:
    """The phrase without its number: 红色的小立方体."""
    colour = f"{COLOURS_ZH[part.colour]}的" if part.colour else ""
    size = _SIZES[part.size] if part.size else ""
    form = FORM_ZH[part.form] if part.form else ""
    return f"{colour}{size}{form}{words.nouns[part.name].zh}"


ONE = ("{a}", "一张{n}的图片", "图中有{a}", "这是{a}", "画面上是{a}")
MANY = ("{a}", "一张有{a}的图片", "图中有{a}", "这里有{a}", "画面上是{a}")
AND = ("{a}和{b}", "{b}和{a}", "图中有{a}和{b}", "{a}与{b}在一起", "画面上是{a}和{b}")
PAIR = (
    "上面是{a}，下面是同样的{n}的素描",
    "{a}，下方是它的素描",
    "上方是{a}，下方是它的铅笔素描",
    "{a}在上面，同样的{n}的素描在下面",
)
SKETCH = ("{a}的铅笔素描", "{a}的素描", "用铅笔画的{a}", "一张{n}的素描", "铅笔画的{a}")
RELATED: dict[RelationName, tuple[str, ...]] = {
    "left of": ("{a}在{b}的左边", "{a}在{b}左侧", "{b}的左边有{a}", "左边是{a}，右边是{b}", "{a}在左边，{b}在右边"),
    "right of": ("{a}在{b}的右边", "{a}在{b}右侧", "{b}的右边有{a}", "右边是{a}，左边是{b}", "{a}在右边，{b}在左边"),
    "above": ("{a}在{b}的上方", "{b}的上方有{a}", "{b}上方是{a}", "上方是{a}，下方是{b}", "{a}在上方，{b}在下方"),
    "below": ("{a}在{b}的下方", "{b}的下方有{a}", "{b}下方是{a}", "下方是{a}，上方是{b}", "{a}在下方，{b}在上方"),
    "on top of": ("{a}在{b}上面", "{b}上面有{a}", "{a}放在{b}上面", "{a}站在{b}上", "{b}顶上是{a}"),
}


def plain(plan: Plan, words: Lexicon) -> str:
    """The plainest true sentence."""
    said = fill(templates(plan)[0], plan, words)
    return grounded(said, plan, None) if plan.pattern == "single_object" and plan.place != "white" else said


def variants(plan: Plan, words: Lexicon, dice: Dice, with_ground: list[bool], plainest: bool = False) -> list[str]:
    """Further phrasings, all different; `with_ground[k]` says whether the k-th tells the ground, `plainest` whether the
    plainest may be among them."""

    def say(way: Way, ground: bool) -> str:
        said = fill(way.template, way.plan, words)
        return grounded(said, plan, dice) if ground else said

    taken = [] if plainest else [plain(plan, words)]
    return different(taken, dice.shuffled(ways(plan, templates(plan), RELATED)), say, with_ground)


def templates(plan: Plan) -> tuple[str, ...]:
    """Every way to say the plan, the plainest first."""
    if plan.lower_style is not None:
        return PAIR
    if plan.style == "pencil sketch":
        return SKETCH
    if len(plan.parts) == 1:
        return ONE if plan.parts[0].count == 1 else MANY
    if plan.told:
        return RELATED[plan.relations[0]]
    return AND


def fill(template: str, plan: Plan, words: Lexicon) -> str:
    """The template with the plan's noun phrases in it."""
    first = plan.parts[0]
    slots = {"a": noun_phrase(first, words), "n": bare(first, words)}
    if len(plan.parts) > 1:
        slots["b"] = noun_phrase(plan.parts[1], words)
    return template.format(**slots)


def grounded(said: str, plan: Plan, dice: Dice | None) -> str:
    """白色背景上的一只企鹅, 一只企鹅，白色背景, 草地上有一只企鹅."""
    if plan.place in PLACES:
        place = PLACES[plan.place][1]
        return f"{said}，{place}" if dice and dice.chance(0.5) else f"{place}，{said}"
    colour = COLOURS_ZH[plan.place]
    simple = said.startswith("一") and "，" not in said and not plan.told
    if simple and dice and dice.chance(0.5):
        return f"{colour}背景上的{said}"
    return f"{said}，{colour}背景"
