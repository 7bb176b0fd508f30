"""The noun phrases of the free-form Chinese captions: one thing in many words."""

from __future__ import annotations

from dataclasses import dataclass

from pinxit.world.chinese import names, number, sized
from pinxit.world.chinese_free_templates import FORM_WORDS, FORMED, GARMENT_WORDS, MATERIAL
from pinxit.world.dice import Dice
from pinxit.world.plan import Part
from pinxit.world.roles import GARMENTS
from pinxit.world.vocabulary import COLOURS_ZH, FORM_ZH, Lexicon

SYNONYM = 0.3  # how often a thing is called by another name than its first
_SHORT = frozenset({"red", "yellow", "green", "blue", "purple", "black", "white"})  # 红 for 红色, but not 橙 for 橙色


@dataclass(frozen=True, slots=True)
class Phrase:
    """一根 + 穿着芭蕾舞裙 + 萝卜."""

    number: str
    clothes: str  # without 的
    body: str

    @property
    def bare(self) -> str:
        """Without its number."""
        return f"{self.clothes}的{self.body}" if self.clothes else self.body

    @property
    def full(self) -> str:
        """With its number."""
        return self.number + self.bare


def phrase(part: Part, words: Lexicon, dice: Dice, called: str | None = None, manner: float | None = None) -> Phrase:
    """The thing in some words; `called` fixes its name, `manner` (uniform in [0, 1)) how its colour is put."""
    name = called or name_of(part, words, dice)
    described = _described(part, words, dice, name, dice.unit() if manner is None else manner)
    return Phrase(number(part, words), clothes(part, dice), described)


def name_of(part: Part, words: Lexicon, dice: Dice) -> str:
    """One of the thing's names."""
    noun = words.nouns[part.name]
    return dice.pick(noun.zh_synonyms) if noun.zh_synonyms and dice.chance(SYNONYM) else noun.zh


def _described(part: Part, words: Lexicon, dice: Dice, name: str, manner: float) -> str:
    size = sized(part.size, name, words)
    if part.material:
        return dice.pick(MATERIAL).format(words.nouns[part.material].zh) + size + name
    if part.form is None:
        return _coloured(part.colour, size, name, manner, words) + size + name
    form = _form(part.form, words, dice)
    if part.colour is None:
        return form + ("的" if not form.endswith("的") and dice.chance(0.6) else "") + size + name
    colour = COLOURS_ZH[part.colour]
    of = "的" if dice.chance(0.6) else ""
    before = colour + of + form if dice.chance(0.55) else form + colour
    if before.endswith(colour) or not before.endswith("的"):
        before += "的" if dice.chance(0.6) else ""
    return before + size + name


def _coloured(colour: str | None, size: str, name: str, manner: float, words: Lexicon) -> str:
    """红色的, 红色 or 红, but not 红 before 萝卜: a 红萝卜 is a carrot."""
    if colour is None:
        return ""
    said = COLOURS_ZH[colour]
    short = said.removesuffix("色")
    if manner < 0.25 and colour in _SHORT and not size and len(name) > 1 and short + name not in names(words):
        return short
    return said if manner < 0.5 else f"{said}的"


def _form(form: str, words: Lexicon, dice: Dice) -> str:
    if form in FORM_ZH:
        return dice.pick(FORM_WORDS.get(form, (FORM_ZH[form],)))
    return dice.pick(FORMED).format(words.nouns[form].zh)


def clothes(part: Part, dice: Dice) -> str:
    """戴红色帽子，黄色手套，蓝色衬衫和绿色裤子, or sorted by their verbs."""
    if not part.outfit:
        return ""
    worn = [(GARMENTS[g][2], COLOURS_ZH.get(c, "") + _garment(g, dice)) for c, g in part.outfit]
    bare_verb = dice.chance(0.3)
    if dice.chance(0.5):
        names = [name for _, name in worn]
        return _verb(worn[0][0], bare_verb) + _listed(names, comma=dice.pick(("，", "、")))
    by_verb: dict[str, list[str]] = {}
    for verb, name in worn:
        by_verb.setdefault(verb, []).append(name)
    return "、".join(_verb(verb, bare_verb) + _listed(names) for verb, names in by_verb.items())


def _garment(garment: str, dice: Dice) -> str:
    return dice.pick(GARMENT_WORDS.get(garment, (GARMENTS[garment][1],)))


def _verb(verb: str, bare: bool) -> str:
    return verb.removesuffix("着") if bare else verb


def _listed(names: list[str], comma: str = "、") -> str:
    return "和".join([comma.join(names[:-1]), names[-1]] if names[1:] else names)
