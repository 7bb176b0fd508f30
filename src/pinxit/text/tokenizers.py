"""Tokenizes captions: a byte-level BPE over lower-cased NFKC text (DALL-E section 2.2), with seeded dropout.

Any text can be encoded, since every byte is a token; no text can produce a special token. Merges stay inside a piece:
a word with the space before it, a single digit, a run of signs, or one Chinese or Japanese character.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import numpy as np
import tokenizers as library
from msgspec import Meta
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from pinxit.errors import CheckpointError, DataError, UsageError
from pinxit.files import read_json, write_json, write_text
from pinxit.text.bpe_dropout import DropSequence, MergeTable
from pinxit.text.spelling import spelled
from pinxit.text.words import counting, most_frequent, stretches, unmarked, words
from pinxit.texts import check_list, check_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAD, UNK, SOT, EOT = range(4)
SPECIALS = ("⟨pad⟩", "⟨unk⟩", "⟨start⟩", "⟨end⟩")  # these brackets are outside the byte alphabet: no merge makes them
SMALLEST = len(SPECIALS) + 256
Vocabulary = Annotated[int, Meta(ge=SMALLEST, le=2**31 - 1)]
KNOWN_WORDS = 50_000

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTER = rf"[\p{{L}}\p{{M}}&&[^{_CJK}]]"
_PIECE = rf"[{_CJK}]| ?\p{{N}}| ?{_LETTER}+| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+"


class _Known(TypedDict):
    words: list[str]
    spell: NotRequired[bool]


class Tokenizer:
    """Text to ids and back; ids 0 to 3 are PAD, UNK, SOT and EOT. Make one with `train` or `open`."""

    def __init__(self, engine: library.Tokenizer, known_words: Sequence[str], spell: bool = False) -> None:
        self._engine, self.spell = engine, spell
        self._words = list(known_words)
        self._known = frozenset(known_words)
        self._table: MergeTable | None = None

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int, spell: bool = False) -> Tokenizer:
        """Learn at most `vocab_size` tokens, 260 of them bytes and specials; the order of captions does not matter.

        `spell`: words to be written in a picture are tokenised letter by letter (`spelling.py`).

        Raises UsageError for a vocabulary without room for the bytes, DataError when there are no words to learn from.
        """
        check_list(captions, "captions")
        if vocab_size < SMALLEST:
            raise UsageError(f"a vocabulary needs at least {SMALLEST} tokens (bytes and specials), not {vocab_size}.")
        engine = library.Tokenizer(models.BPE())
        engine.normalizer = _normalizer()
        engine.pre_tokenizer = _pre_tokenizer()
        engine.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            show_progress=False,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )
        counts: Counter[str] = Counter()
        captions = map(spelled, captions) if spell else captions
        engine.train_from_iterator(counting(captions, counts), trainer)
        if not counts:
            raise DataError("there are no words in the captions to train a tokenizer on.")
        return cls(_without_added_tokens(engine), most_frequent(counts, KNOWN_WORDS), spell)

    @classmethod
    def open(cls, folder: Path | str) -> Tokenizer:
        """Read tokenizer.json and words.json from `folder`. Raises CheckpointError when one is missing or damaged."""
        folder = Path(folder)
        text = _read(folder / "tokenizer.json")
        try:
            engine = library.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{folder / 'tokenizer.json'} is not a tokenizer of pinxit ({error}).") from error
        if [engine.id_to_token(place) for place in range(len(SPECIALS))] != list(SPECIALS):
            raise CheckpointError(
                f"{folder / 'tokenizer.json'} is not a tokenizer of pinxit: its special tokens differ."
            )
        _read(folder / "words.json")
        about = read_json(folder / "words.json", _Known, CheckpointError, "save the tokenizer again")
        return cls(engine, about["words"], about.get("spell", False))

    def save(self, folder: Path | str) -> None:
        """Write tokenizer.json (in the tokenizers library's format) and words.json into `folder`."""
        write_text(Path(folder) / "tokenizer.json", self._engine.to_str(pretty=True) + "\n")
        write_json(Path(folder) / "words.json", {"words": self._words} | ({"spell": True} if self.spell else {}))

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials included; less than was asked for if the captions gave too few merges."""
        return self._engine.get_vocab_size()

    def encode(
        self, texts: Sequence[str], length: int, dropout: float = 0.0, rng: np.random.Generator | None = None
    ) -> NDArray[np.int64]:
        """Ids int64 [B, length], cut at `length` and padded with 0.

        `dropout` is the probability of skipping a merge (0.1 in DALL-E's training) and needs `rng`, the only source of
        randomness. Raises UsageError when `dropout` lies outside [0, 1] or comes without `rng`.
        """
        return _padded(self._ids(texts, dropout, rng), length)

    def encode_clip(
        self, texts: Sequence[str], length: int, dropout: float = 0.0, rng: np.random.Generator | None = None
    ) -> NDArray[np.int64]:
        """Ids int64 [B, length] as CLIP sees them: SOT, the text cut at length - 2, EOT, then zeros.

        Raises UsageError for a length below 2, and as `encode` does.
        """
        if length < 2:
            raise UsageError(f"CLIP needs room for its start and end tokens: at least 2 positions, not {length}.")
        rows = self._ids(texts, dropout, rng)
        return _padded([[SOT, *row[: length - 2], EOT] for row in rows], length)

    def count(self, text: str) -> int:
        """How many tokens `text` has, without start, end and padding."""
        return len(self._engine.encode(self._read(text)).ids)

    def unknown_words(self, text: str) -> list[str]:
        """Words of `text` that no training caption held, each once, in order; Chinese is looked up by character.

        Characters that stand side by side are named as one word.
        """
        read = self._read(text)
        return stretches(read, {word for word in words(read) if not self._knows(word)})

    def _knows(self, word: str) -> bool:
        """Whether captions held it; tokenizers of older versions list a word in pieces, without the marks between."""
        pieces = unmarked(word)
        return word in self._known or (bool(pieces) and self._known.issuperset(pieces))

    def rows(self) -> dict[str, int]:
        """The id of every token."""
        return self._engine.get_vocab()

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, specials left out: lower-cased and with single spaces, as the tokenizer saw it."""
        return str(self._engine.decode([int(i) for i in ids if i >= len(SPECIALS)])).strip()

    def _ids(self, texts: Sequence[str], dropout: float, rng: np.random.Generator | None) -> list[list[int]]:
        if not 0.0 <= dropout <= 1.0:
            raise UsageError(f"BPE dropout is a chance between 0 and 1, not {dropout}.")
        check_list(texts, "texts")
        texts = [self._read(text) for text in texts]
        if dropout == 0.0:
            return [encoding.ids for encoding in self._engine.encode_batch_fast(texts)]
        if rng is None:
            raise UsageError("BPE dropout needs a random generator (rng).")
        table, drops = self._merge_table(), DropSequence(dropout, rng)
        return [[token for piece in self._pieces(text) for token in table.ids(piece, drops)] for text in texts]

    def _read(self, text: str) -> str:
        check_text(text)
        return spelled(text) if self.spell else text

    def _pieces(self, text: str) -> list[str]:
        normal = self._engine.normalizer.normalize_str(text)
        return [piece for piece, _ in self._engine.pre_tokenizer.pre_tokenize_str(normal)]

    def _merge_table(self) -> MergeTable:
        if self._table is None:
            model = json.loads(self._engine.to_str())["model"]
            self._table = MergeTable(model["vocab"], model["merges"])
        return self._table


def _normalizer() -> Any:
    one_space = normalizers.Replace(library.Regex(r"\s+"), " ")
    steps = [normalizers.NFKC(), normalizers.Lowercase(), one_space, normalizers.Strip(), normalizers.Prepend(" ")]
    return normalizers.Sequence(steps)


def _pre_tokenizer() -> Any:
    pieces = pre_tokenizers.Split(library.Regex(_PIECE), "isolated")
    lone_spaces = pre_tokenizers.Split(library.Regex("^ $"), "removed")  # left over before a Chinese character
    return pre_tokenizers.Sequence(
        [pieces, lone_spaces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def _without_added_tokens(engine: library.Tokenizer) -> library.Tokenizer:
    """Keep the specials' ids, but keep the library from recognising them in a text."""
    data = json.loads(engine.to_str())
    data["added_tokens"] = []
    return library.Tokenizer.from_str(json.dumps(data))


def _padded(rows: Iterable[Sequence[int]], length: int) -> NDArray[np.int64]:
    rows = list(rows)
    result = np.full((len(rows), length), PAD, dtype=np.int64)
    for place, row in enumerate(rows):
        kept = row[:length]
        result[place, : len(kept)] = kept
    return result


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; a tokenizer is tokenizer.json and words.json.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
