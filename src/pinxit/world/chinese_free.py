"""Chinese captions of the worlds beyond `small`: a sentence is assembled from randomly chosen phrases."""

from __future__ import annotations

from pinxit.world import chinese_free_templates as templates
from pinxit.world.chinese_phrases import Phrase, name_of, phrase
from pinxit.world.dice import Dice
from pinxit.world.plan import ScenePlan, meaning
from pinxit.world.positions import around, in_corner, seen_in_place, where, with_sizes
from pinxit.world.scene import Scene
from pinxit.world.vocabulary import COLOURS_ZH, HORIZON, PLACES, Lexicon

NUMBERED = 0.6  # share of nouns with number and measure word: "一只猫" and not "猫"
INTRO = 0.3  # share of captions without style or view that begin with "a picture of" or the like
PHOTO = 0.3  # of those, the share that say "photo"
POSED = 0.4  # share in which a creature "in" a place is said to sit or stand there
WITH_PLACES = 0.75  # share of rich captions that say where each of two things is
ONE_MANNER = 0.6  # share in which things of one name get their colours in the same form: 蓝方块上的绿方块
OF_THE_THING = ("upside down", "cross-section")  # views expressed inside the noun phrase: 倒立的猫


def say(scene: Scene, words: Lexicon, dice: Dice, ground: bool, rich: bool) -> str:
    """One caption. `ground` mentions the ground, too; `rich` also positions and sizes, which only the boxes give."""
    plan = with_sizes(scene) if rich else meaning(scene)
    placed = rich and seen_in_place(scene)
    wrapped = plan.style is not None or plan.view is not None or plan.lower_style is not None
    introduced = not wrapped and not placed and dice.chance(INTRO)
    tell = _one if len(plan.parts) == 1 and plan.lower_style is None else _several
    said, clause = tell(plan, scene, words, dice, ground and not introduced, placed)
    if introduced:
        said = _introduced(said, plan, clause, dice)
        return _grounded(said, plan, dice, True) if ground else said
    if plan.view is not None and plan.view not in OF_THE_THING:
        said = _fitting(templates.VIEWED[plan.view], said, dice)
    return _fitting(templates.STYLED[plan.style], said, dice) if plan.style is not None else said


def _fitting(ways: tuple[str, ...], said: str, dice: Dice) -> str:
    """One of the ways that this sentence fits: what is more than a noun phrase only a colon or a comma."""
    clause = "，" in said or "有" in said
    fits = [way for way in ways if not clause or "：" in way or "，" in way]
    if _numbered(said):
        fits = [way for way in fits if not way.startswith(("一张{}", "一幅{}"))]
    return dice.pick(fits).format(said)


def _numbered(said: str) -> bool:
    return said.startswith(("一", "两", "三", "四", "五", "六"))


def _one(plan: ScenePlan, scene: Scene, words: Lexicon, dice: Dice, ground: bool, placed: bool) -> tuple[str, bool]:
    """One kind of thing, and whether the sentence is more than a noun phrase."""
    part = plan.parts[0]
    noun_phrase = phrase(part, words, dice)
    quantity = noun_phrase.number if part.count > 1 or dice.chance(NUMBERED) else ""
    thing = noun_phrase.bare
    ways = templates.WRITTEN if part.words else templates.VIEWED[plan.view] if plan.view in OF_THE_THING else ()
    if ways:
        said = dice.pick(ways).format(a=quantity + thing, n=thing, q=quantity, w=part.words)
        at = _where(scene, dice) if placed else ""
        said = dice.pick(templates.LIES_CLAUSE).format(x=said, at=at) if at else said
        return (_grounded(said, plan, dice, True) if ground else said), True
    at = _where(scene, dice) if placed else ""
    if at:
        wrapped = plan.style is not None or plan.view is not None
        said = dice.pick(templates.LIES_OF if wrapped else templates.LIES).format(x=quantity + thing, at=at)
        return _lit(_grounded(said, plan, dice, True) if ground else said, plan, dice), not wrapped
    return _standing(quantity, thing, plan, words, dice, ground)


def _standing(quantity: str, thing: str, plan: ScenePlan, words: Lexicon, dice: Dice, ground: bool) -> tuple[str, bool]:
    """日出时坐在田野上的水豚."""
    light = dice.pick(templates.LIT[plan.light]) if plan.light else ""
    if ground and plan.place in PLACES and dice.chance(0.5):
        verb = dice.pick(templates.POSED) if _poses(plan, words) and dice.chance(POSED) else "在"
        place = dice.pick((*templates.PLACES[plan.place], *templates.BESIDE.get(plan.place, ())))
        return f"{quantity}{light}{verb}{place}的{thing}", False
    if light and (not ground or dice.chance(0.5)):
        thing, light = f"{light}的{thing}", ""
    said = quantity + thing
    said = _grounded(said, plan, dice, False) if ground else said
    return (f"{light}，{said}" if light else said), bool(ground or light)


def _creature(plan: ScenePlan, words: Lexicon) -> bool:
    """Whether the first part can sit and stand."""
    return bool({"mammal", "bird", "person"}.intersection(words.nouns[plan.parts[0].name].groups))


def _poses(plan: ScenePlan, words: Lexicon) -> bool:
    return _creature(plan, words) and plan.place in HORIZON and plan.view is None and plan.parts[0].count == 1


def _lit(said: str, plan: ScenePlan, dice: Dice) -> str:
    return f"{dice.pick(templates.LIT[plan.light])}，{said}" if plan.light else said


def _several(plan: ScenePlan, scene: Scene, words: Lexicon, dice: Dice, ground: bool, placed: bool) -> tuple[str, bool]:
    """Several things or a pair of pictures, and whether the sentence is more than a noun phrase."""
    said, clause = _together(plan, scene, words, dice, placed)
    return (_grounded(said, plan, dice, clause), True) if ground else (said, clause)


def _together(plan: ScenePlan, scene: Scene, words: Lexicon, dice: Dice, placed: bool) -> tuple[str, bool]:
    parts = plan.parts
    alike = len(parts) > 1 and len({part.name for part in parts}) == 1
    called = name_of(parts[0], words, dice) if alike or plan.lower_style else None
    manner = dice.unit() if alike and dice.chance(ONE_MANNER) else None
    phrases = [phrase(part, words, dice, called, manner) for part in parts]
    slots = _slots(phrases, dice) | {"p": called or "", "s": ""}
    slots |= {key: COLOURS_ZH.get(part.colour or "", "") for key, part in zip("xyz", parts, strict=False)}
    if plan.lower_style is not None:
        return dice.pick(templates.PAIR).format(**slots | {"s": dice.pick(templates.LOWER[plan.lower_style])}), True
    if not plan.mentions_relations:
        both = [_where(scene, dice, (k,)) for k in (0, 1)] if placed and dice.chance(WITH_PLACES) else []
        if both and all(both):
            way = dice.pick(templates.LIE_BOTH)
            return way.format(a=phrases[0].full, b=phrases[1].full, p=both[0], q=both[1]), True
        return dice.pick(templates.AND).format(**slots), False
    said = dice.pick(_ways(plan, words, alike)).format(**slots)
    at = _where(scene, dice) if placed else ""
    return (dice.pick(templates.LIES_CLAUSE).format(x=said, at=at) if at else said), True


def _slots(phrases: list[Phrase], dice: Dice) -> dict[str, str]:
    """What fills a template; "一只猫" or "猫" at once for all, since one of each reads like two different things."""
    numbered = dice.chance(NUMBERED)
    slots = {letter: one.full if numbered else one.bare for letter, one in zip("abcd", phrases, strict=False)}
    slots |= {letter: one.bare for letter, one in zip("ABCD", phrases, strict=False)}
    first = phrases[0]
    return slots | {"q": first.number if numbered else "", "W": first.clothes, "M": first.body, "n": first.bare}


def _ways(plan: ScenePlan, words: Lexicon, alike: bool) -> tuple[str, ...]:
    if len(plan.relations) == 1:
        ways = templates.RELATED[plan.relations[0]]
        lively = _creature(plan, words)
        return tuple(way for way in ways if lively or not any(verb in way for verb in templates.LIVELY))
    if plan.relations[0] == "riding":
        return templates.TWO_RIDING
    return templates.SAME_NAME if alike else templates.STACKED


def _where(scene: Scene, dice: Dice, members: tuple[int, ...] | None = None) -> str:
    """左上角: where these items or all of them lie; nothing where that may be disputed."""
    box = around(scene.items[k] for k in members or range(len(scene.items)))
    position = where(box)
    if position not in templates.WHERE:
        return ""
    return dice.pick(
        templates.CORNER[position] if position in templates.CORNER and in_corner(box) else templates.WHERE[position]
    )


def _grounded(said: str, plan: ScenePlan, dice: Dice, clause: bool) -> str:
    """白色背景上的一只企鹅, 一只企鹅，白色背景, 草地上有一只企鹅."""
    if plan.place in PLACES:
        places = templates.PLACED_CLAUSE if clause else templates.PLACED
        return dice.pick(places).format(p=dice.pick(templates.PLACES[plan.place]), x=said)
    grounds = templates.GROUNDS if clause else (*templates.GROUNDS, *templates.GROUND_OF)
    return dice.pick(grounds).format(c=COLOURS_ZH[plan.place], x=said)


def _introduced(said: str, plan: ScenePlan, clause: bool, dice: Dice) -> str:
    photo = dice.chance(PHOTO)
    if clause:
        return dice.pick(templates.PHOTO_CLAUSE if photo else templates.INTRO_CLAUSE).format(said)
    if not _numbered(said) and dice.chance(0.7):
        return dice.pick(templates.PHOTO_OF if photo else templates.INTRO_OF).format(said)
    several = plan.parts[0].count > 1 or len(plan.parts) > 1
    return dice.pick(templates.PHOTO if photo else templates.INTRO_SEVERAL if several else templates.INTRO).format(said)
