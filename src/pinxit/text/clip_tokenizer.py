"""The tokenizer of the published CLIP models, from its list of merges (Radford et al. 2021, section 2.4).

A byte-pair encoding over lower-cased text in which every word's last symbol carries an end-of-word mark: 256 bytes, the
same 256 with the mark, the merges, and two ids for start and end. Equal to transformers' `CLIPTokenizer`, except that
no text can produce the special tokens.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import tokenizers as library
from tokenizers import models, normalizers, pre_tokenizers

from pinxit.errors import CheckpointError, UsageError
from pinxit.files import read_json, write_json, write_text
from pinxit.text.tokenizers import Tokenizer
from pinxit.texts import check_list, check_text, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

END = "</w>"
MERGES_FILE = "merges.txt"
SHIPPED = Path(__file__).with_name("clip_merges.txt.gz")
MERGES = 49152 - 256 - 2  # that the published models use; OpenAI's file has more
_PIECE = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


class ClipTokenizer:
    """Text to ids: `sot`, the text, `eot`, then zeros. Make one with `published`, `open` or `from_merges`."""

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        alphabet = _alphabet()
        tokens = [*alphabet, *(symbol + END for symbol in alphabet), *("".join(pair) for pair in merges)]
        vocab = {token: index for index, token in enumerate(tokens)}
        self.sot, self.eot = len(tokens), len(tokens) + 1
        self._merges = list(merges)
        engine = library.Tokenizer(models.BPE(vocab=vocab, merges=list(merges), end_of_word_suffix=END))
        one_space = normalizers.Replace(library.Regex(r"\s+"), " ")
        engine.normalizer = normalizers.Sequence([normalizers.NFC(), one_space, normalizers.Lowercase()])
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(library.Regex(_PIECE), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self._engine = engine

    @classmethod
    def published(cls) -> ClipTokenizer:
        """The tokenizer of all models that OpenAI published: 49,408 ids."""
        return cls.from_merges(SHIPPED)

    @classmethod
    def from_merges(cls, path: str | Path) -> ClipTokenizer:
        """From a file of merges, one pair per line after a header line; `.gz` is decompressed.

        Raises CheckpointError when it is missing or not such a file.
        """
        path = Path(path)
        try:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            lines = raw.decode("utf-8").split("\n")[1 : MERGES + 1]
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is no readable list of merges: {error}.") from error
        pairs = [tuple(line.split()) for line in lines if line.strip()]
        wrong = next((number for number, pair in enumerate(pairs, 2) if len(pair) != 2), None)
        if wrong is not None:
            raise CheckpointError(f"{path}, line {wrong}: a merge is two symbols with a space between them.")
        return cls([(one, other) for one, other in pairs])

    @classmethod
    def open(cls, folder: str | Path, vocab: int) -> ClipTokenizer:
        """The tokenizer of a model of transformers or open_clip in `folder`: its merges, or the published ones.

        `vocab` is the model's. Raises CheckpointError when the merges make another number of ids.
        """
        folder = Path(folder)
        path = next((p for p in (folder / MERGES_FILE, folder / "tokenizer.json") if p.is_file()), None)
        if path is None:
            published = cls.published()
        else:
            published = cls.from_merges(path) if path.name == MERGES_FILE else cls(_merges_in(path))
        if published.vocab_size != vocab:
            raise CheckpointError(f"{folder} has a tokenizer of {published.vocab_size} ids, but a model of {vocab}.")
        return published

    def save(self, folder: str | Path) -> None:
        """Write merges.txt and vocab.json, as transformers' `CLIPTokenizer` reads them, into `folder`."""
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self._merges)]
        write_text(Path(folder) / MERGES_FILE, "\n".join(lines) + "\n")
        special = {"<|startoftext|>": self.sot, "<|endoftext|>": self.eot}
        write_json(Path(folder) / "vocab.json", self._engine.get_vocab() | special)

    @property
    def vocab_size(self) -> int:
        """Number of ids, start and end included."""
        return self.eot + 1

    def count(self, text: str) -> int:
        """How many ids `text` has, without start and end."""
        return len(self._engine.encode(check_text(text)).ids)

    def unknown_words(self, text: str) -> list[str]:
        """None: the words of the captions that published CLIPs were trained on are not known."""
        return []

    def encode_clip(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """Ids int64 [B, length] of texts, cut where they are too long, as for training."""
        return self.encode(texts, length, cut=True)

    def encode(self, texts: Sequence[str], length: int = 77, cut: bool = False) -> NDArray[np.int64]:
        """Ids int64 [B, length].

        Raises UsageError for a text over length - 2 ids, unless it may be `cut`, and for a length below 2.
        """
        check_list(texts, "texts")
        if length < 2:
            raise UsageError(f"CLIP needs room for its start and end tokens: at least 2 positions, not {length}.")
        result = np.zeros((len(texts), length), dtype=np.int64)
        for place, encoding in enumerate(self._engine.encode_batch_fast([check_text(text) for text in texts])):
            ids = encoding.ids
            if not cut:
                check_length(texts[place], len(ids), length)
            row = [self.sot, *ids[: length - 2], self.eot]
            result[place, : len(row)] = row
        return result


def clip_tokens(folder: Path, vocab: int) -> Tokenizer | ClipTokenizer:
    """The tokenizer of a run or a checkpoint with a CLIP: pinxit's own, or that of the published CLIP it came from."""
    if (folder / MERGES_FILE).is_file():
        return ClipTokenizer.open(folder, vocab)
    return Tokenizer.open(folder)


def check_length(text: str, count: int, length: int) -> None:
    """Raise UsageError for a text of `count` ids when a CLIP of `length` positions cannot read all of it."""
    if count > length - 2:
        raise UsageError(f"'{printable(text[:60])}' has {count} tokens, but CLIP reads {length - 2}: shorten it.")


def _merges_in(path: Path) -> list[tuple[str, str]]:
    merges = read_json(path, _File, CheckpointError, "it is no byte-pair tokenizer")["model"]["merges"]
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    wrong = next((pair for pair in pairs if len(pair) != 2), None)
    if wrong is not None:
        raise CheckpointError(f"{path} is no byte-pair tokenizer: {wrong} are not two symbols.")
    return [(one, other) for one, other in pairs]


class _Model(TypedDict):
    merges: list[str | list[str]]


class _File(TypedDict):
    model: _Model


def _alphabet() -> list[str]:
    """A printable character for each of the 256 bytes, in CLIP's order: printable bytes first, as themselves."""
    printables = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printables]
    return [chr(byte) for byte in printables] + [chr(256 + place) for place in range(len(others))]
