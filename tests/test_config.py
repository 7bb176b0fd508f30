from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pinxit.config import as_set, from_dict, override, to_dict
from pinxit.errors import UsageError


@dataclass(frozen=True)
class Inner:
    codes: int = 512
    levels: tuple[int, ...] = (8, 5)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    rate: float = 1e-3
    name: str | None = None


def test_round_trip() -> None:
    config = Outer(Inner(7, (3,)), 2.0, "x")
    assert from_dict(Outer, to_dict(config)) == config


def test_dotted_override() -> None:
    assert override(Outer(), ["inner.codes=9", "rate=1", "name=cat", "inner.levels=[4, 4]"]) == Outer(
        Inner(9, (4, 4)), 1.0, "cat"
    )


@pytest.mark.parametrize("text", ["cat", "7", "true", "[1]", "9" * 5000])
def test_a_text_is_set_as_it_was(text: str) -> None:
    """Texts that read as numbers, too; Python reads no number of more than 4300 digits."""
    assert override(Outer(), [f"name={as_set(text)}"]) == Outer(name=text)


@pytest.mark.parametrize("change", ["inner.cods=1", "nothing.codes=1", "rate", "inner.codes=many", "inner=3"])
def test_bad_override_is_one_sentence(change: str) -> None:
    with pytest.raises(UsageError, match=r"codes|section|form"):
        override(Outer(), [change])
