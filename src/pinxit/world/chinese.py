"""The Chinese grammar: the same plans, with measure words."""

from __future__ import annotations

from functools import cache

from pinxit.world import chinese_templates
from pinxit.world.dice import Dice
from pinxit.world.phrasing import FilledTemplate, different, filled_templates, templates_of
from pinxit.world.plan import Part, ScenePlan, Size
from pinxit.world.roles import GARMENTS
from pinxit.world.vocabulary import COLOURS_ZH, COUNTS, FORM_ZH, PLACES, Lexicon

_SIZES = {"small": "小", "big": "大"}


def noun_phrase(part: Part, words: Lexicon) -> str:
    """一只企鹅, 三个绿色的三角形, 一个红色的小立方体, 一个绿色的三角形时钟."""
    return number(part, words) + bare(part, words)


def number(part: Part, words: Lexicon) -> str:
    """一只, 三个."""
    return (COUNTS[part.count][1] if part.count > 1 else "一") + words.nouns[part.name].measure


def bare(part: Part, words: Lexicon) -> str:
    """The phrase without its number: 红色的小立方体."""
    colour = f"{COLOURS_ZH[part.colour]}的" if part.colour else ""
    name = words.nouns[part.name].zh
    size = sized(part.size, name, words)
    material = f"{words.nouns[part.material].zh}做的" if part.material else ""
    return f"{material}{clothing(part)}{colour}{size}{_form(part, words)}{name}"


def sized(size: Size | None, name: str, words: Lexicon) -> str:
    """小 or 大 before a thing of this name; 大的 where 大 would run into the name (大的大象) or make another of it:
    大人 is an adult, 大熊猫 any panda, 小熊猫 a red panda, 小鸡 a chick."""
    if size is None:
        return ""
    said = _SIZES[size]
    return said + "的" if name[0] in "大小人" or name == "熊猫" or said + name in names(words) else said


@cache
def names(words: Lexicon) -> frozenset[str]:
    """Everything that a thing of the vocabulary is called in Chinese."""
    return frozenset(name for noun in words.nouns.values() for name in (noun.zh, *noun.zh_synonyms))


def _form(part: Part, words: Lexicon) -> str:
    if part.form is None:
        return ""
    return FORM_ZH.get(part.form) or f"{words.nouns[part.form].zh}形状的"


def clothing(part: Part) -> str:
    """戴着红色帽子和黄色手套、穿着蓝色衬衫的, or nothing."""
    worn: dict[str, list[str]] = {}
    for colour, garment in part.outfit:
        _, name, verb = GARMENTS[garment]
        worn.setdefault(verb, []).append(COLOURS_ZH.get(colour, "") + name)
    said = "、".join(verb + "和".join(names) for verb, names in worn.items())
    return f"{said}的" if said else ""


def plain(plan: ScenePlan, words: Lexicon) -> str:
    """The plainest true sentence."""
    said = fill(templates(plan)[0], plan, words)
    return grounded(said, plan, None) if plan.mentions_place else said


def variants(plan: ScenePlan, words: Lexicon, dice: Dice, with_ground: list[bool], plainest: bool = False) -> list[str]:
    """More phrasings, all different; `with_ground[k]`: whether the k-th mentions the ground; `plainest`: whether the
    plainest may be among them."""

    def say(way: FilledTemplate, ground: bool) -> str:
        said = fill(way.template, way.plan, words)
        return grounded(said, plan, dice) if ground else said

    taken = [] if plainest else [plain(plan, words)]
    return different(
        taken, dice.shuffled(filled_templates(plan, templates(plan), chinese_templates.RELATED)), say, with_ground
    )


def templates(plan: ScenePlan) -> tuple[str, ...]:
    """Every way to say the plan, the plainest first."""
    return templates_of(plan, chinese_templates)


def fill(template: str, plan: ScenePlan, words: Lexicon) -> str:
    """The template with the plan's noun phrases in it."""
    first = plan.parts[0]
    slots = {letter: noun_phrase(part, words) for letter, part in zip("abcd", plan.parts, strict=False)}
    colours = {letter: COLOURS_ZH.get(part.colour or "", "") for letter, part in zip("xyz", plan.parts, strict=False)}
    name = words.nouns[first.name].zh
    return template.format(**slots, **colours, n=bare(first, words), p=name, q=number(first, words), w=first.words)


def grounded(said: str, plan: ScenePlan, dice: Dice | None) -> str:
    """白色背景上的一只企鹅, 一只企鹅，白色背景, 草地上有一只企鹅."""
    if plan.place in PLACES:
        place = PLACES[plan.place][1]
        return f"{said}，{place}" if dice and dice.chance(0.5) else f"{place}，{said}"
    colour = COLOURS_ZH[plan.place]
    simple = said.startswith("一") and "，" not in said and "图片" not in said and not plan.mentions_relations
    if simple and dice and dice.chance(0.5):
        return f"{colour}背景上的{said}"
    return f"{said}，{colour}背景"
