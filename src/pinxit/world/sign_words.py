"""What is written on signs: words that people know, and strings of letters that nobody does.

Who has met "OPEN" a thousand times need not know its letters; who meets a new string every time has to spell it.
"""

from __future__ import annotations

from pinxit.world.dice import Dice
from pinxit.world.roles import SIGN_WORDS

KNOWN = 0.4  # how often the word is one that people know
SHORTEST, LONGEST = 3, 6  # letters: more cannot be read at 64 pixels
_VOWELS, _CONSONANTS = "AEIOU", "BCDFGHJKLMNPQRSTVWXYZ"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def sign_word(dice: Dice) -> str:
    """A word for a sign: 2 to 6 capital letters."""
    return dice.pick(SIGN_WORDS) if dice.chance(KNOWN) else _spelled(dice)


def _spelled(dice: Dice) -> str:
    """Letters of which about half are vowels, as in words."""
    length = dice.between(SHORTEST, LONGEST)
    return "".join(dice.pick(_VOWELS if dice.chance(0.45) else _CONSONANTS) for _ in range(length))


def misspelled(word: str) -> list[str]:
    """Every word that differs from this one in one letter."""
    return [word[:i] + letter + word[i + 1 :] for i in range(len(word)) for letter in LETTERS if letter != word[i]]
