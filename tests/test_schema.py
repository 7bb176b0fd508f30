"""Every field of every preset has a range, and nothing outside it gets past the door."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec import Meta

from pinxit.config import from_dict, override, to_dict
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.recipes import classifier
from pinxit.recipes.clip import presets as clip
from pinxit.recipes.dalle import presets as dalle
from pinxit.recipes.imagen import presets as imagen
from pinxit.recipes.judge.judge import config_for
from pinxit.recipes.unclip import presets as unclip
from pinxit.schema import (
    FLOAT32,
    LARGEST,
    Count,
    Depth,
    Seed,
    Share,
    SomeDepth,
    allowed_values,
    checked,
    fields_of,
    plain,
)


@cache
def presets() -> dict[str, Any]:
    recipes = (dalle, clip, imagen, unclip)
    found = {f"{module.__name__}:{name}": make() for module in recipes for name, make in module.PRESETS.items()}
    found |= {f"clip:{name}": clip.preset(name) for name in ("ViT-B/32", "RN50")}
    return found | {"judge": config_for("small"), "classifier": classifier.ClassifierConfig()}


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every field that is no section; those of a list go by their names."""
    for name, hint in fields_of(config if isinstance(config, type) else type(config)).items():
        inner = plain(hint)
        if dataclasses.is_dataclass(inner):
            value = None if isinstance(config, type) else getattr(config, name)
            if value is not None:
                yield from leaves(value, f"{prefix}{name}.")
        elif typing.get_origin(inner) is tuple and dataclasses.is_dataclass(typing.get_args(inner)[0]):
            for section in getattr(config, name):
                within = f"{prefix}{name}.{section.name}."
                yield from (leaf for leaf in leaves(section, within) if leaf[0] != f"{within}name")
        else:
            yield prefix + name, hint


def element(hint: Any) -> Any:
    """The type of a list's elements, or the type itself."""
    inner = hint
    while typing.get_origin(inner) not in (Annotated, tuple, typing.Literal) and typing.get_args(inner):
        inner = next(part for part in typing.get_args(inner) if part is not type(None))
    return typing.get_args(inner)[0] if typing.get_origin(inner) is tuple else inner


FIELDS = [(preset, name, hint) for preset, config in presets().items() for name, hint in leaves(config)]


def test_every_number_of_every_preset_has_its_range() -> None:
    bare = {name for _, name, hint in FIELDS if element(hint) in (int, float)}
    assert not bare


def test_no_part_has_more_blocks_than_can_be_built() -> None:
    counts = ("depth", "layers", "blocks", "decoder_blocks", "mixing", "refiner_layers", "vision.stages", "dvae.groups")
    ends = tuple(f".{one}" for one in counts)
    deep = {name: element(hint) for _, name, hint in FIELDS if f".{name}".endswith(ends)}
    assert len(deep) > 20 and set(deep.values()) == {Depth, SomeDepth}


def test_presets_are_within_their_ranges() -> None:
    for config in presets().values():
        assert from_dict(type(config), to_dict(config)) == config


def refused(hint: Any) -> st.SearchStrategy[Any]:
    """Values that the type excludes."""
    kind = plain(element(hint))
    limits: Any = next((one for one in getattr(element(hint), "__metadata__", ()) if isinstance(one, Meta)), Meta())
    wrong: list[st.SearchStrategy[Any]] = [st.just({}), st.just([[]])]
    if kind is int:
        wrong += [
            st.floats(),
            st.text(),
            st.booleans(),
            st.integers(max_value=limits.ge - 1),
            st.integers(limits.le + 1),
        ]
    elif kind is float:
        wrong += [st.sampled_from([math.nan, math.inf, -math.inf, 1e39, -1e39]), st.text(), st.booleans()]
        if limits.ge not in (None, -FLOAT32):
            wrong += [st.floats(max_value=limits.ge, exclude_max=True)]
        if limits.le not in (None, FLOAT32):
            wrong += [st.floats(min_value=limits.le, exclude_min=True)]
        if limits.lt is not None:
            wrong += [st.floats(min_value=limits.lt)]
    else:
        wrong += [st.integers()] if kind is not bool else [st.integers(), st.text()]
    drawn = st.one_of(wrong)
    return st.lists(drawn, min_size=1, max_size=3) if "tuple" in str(hint) else drawn


@given(st.data())
def test_bad_values_of_every_field_are_refused_by_name(data: st.DataObject) -> None:
    preset, name, hint = data.draw(st.sampled_from(FIELDS))
    value = data.draw(refused(hint))
    config = presets()[preset]
    with pytest.raises(UsageError) as told:
        override(config, [f"{name}={json.dumps(value)}"])
    assert name in str(told.value) and "must be" in str(told.value)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


@given(st.data())
def test_whatever_stands_in_a_field_the_answer_is_a_config_or_a_sentence(data: st.DataObject) -> None:
    preset, name, _ = data.draw(st.sampled_from(FIELDS))
    scalar = st.none() | st.booleans() | st.integers(-3, 70) | st.floats() | st.text(max_size=5)
    value = data.draw(scalar | st.lists(scalar, max_size=4) | st.dictionaries(st.text(max_size=3), scalar, max_size=2))
    config = presets()[preset]
    try:
        assert type(override(config, [f"{name}={json.dumps(value)}"])) is type(config)
    except PinxitError as told:
        assert str(told)


class Conditions(TypedDict):
    seed: Seed
    names: dict[str, list[Count]]
    share: Share


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "file must be a section of fields, not []; mend it."),
        ({}, "file.seed is missing; mend it."),
        (
            {"seed": 2**63, "names": {}, "share": 0},
            "file.seed must be at least 0 and below 2**63, not 9223372036854775808",
        ),
        (
            {"seed": 0, "names": {"a.b": [1], "c": [1, 0]}, "share": 0},
            "file.names.c[1] must be at least 1, not 0; mend it.",
        ),
        ({"seed": 0, "names": {}, "share": 2.5}, "file.share must be from 0 to 1, not 2.5; mend it."),
        ({"seed": 0, "names": [], "share": 0}, "file.names must be a section of fields, not []; mend it."),
    ],
)
def test_the_sentence_names_the_field_what_may_stand_there_and_what_does(data: Any, sentence: str) -> None:
    with pytest.raises(DataError) as told:
        checked(Conditions, data, "file", DataError, "mend it")
    assert sentence in str(told.value)


@given(st.floats())
@example(LARGEST)
def test_what_may_stand_somewhere_is_said_of_any_value(value: float) -> None:
    assume(not 0 <= value <= 1)
    assert allowed_values(Share, value) == "from 0 to 1"
