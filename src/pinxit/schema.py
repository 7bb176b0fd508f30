"""Types that carry their ranges, and validation of plain values against them (by msgspec).

A field declared `lr: NotNegative` needs no further check: whatever is read from a file, a command line or another
program goes through `checked`, whose error names the field, the values that it may have and the one it has.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import operator
import re
import types
import typing
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from pinxit.errors import PinxitError, UsageError

T = TypeVar("T")

LARGEST = 2**63 - 1  # of whole numbers: they become int64
FLOAT32, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38  # the largest and the least normal float32
DEEPEST = 256  # of a part's blocks, each built and traced by itself: presets have up to 64, and thousands take hours
STRONGEST = 1e6  # of a weight or a scale: beyond it float32 loses the other terms of a sum

Count = Annotated[int, Meta(ge=1, le=LARGEST)]
Several = Annotated[int, Meta(ge=2, le=LARGEST)]
Whole = Annotated[int, Meta(ge=0, le=LARGEST)]
Depth = Annotated[int, Meta(ge=1, le=DEEPEST)]
SomeDepth = Annotated[int, Meta(ge=0, le=DEEPEST)]
Seed = Annotated[int, Meta(ge=0, le=LARGEST)]
Finite = Annotated[float, Meta(ge=-FLOAT32, le=FLOAT32)]
NotNegative = Annotated[float, Meta(ge=0.0, le=FLOAT32)]
Positive = Annotated[float, Meta(ge=SMALLEST, le=FLOAT32)]
Strength = Annotated[float, Meta(ge=0.0, le=STRONGEST)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Grey = Annotated[int, Meta(ge=0, le=255)]
SomeShare = Annotated[float, Meta(gt=0.0, le=1.0)]
Decay = Annotated[float, Meta(ge=0.0, lt=1.0)]  # of a running mean

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
_PATH = re.compile(r" - at `\$(?P<path>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<place>\d+)\]|\[\.\.\.\]")


def checked(kind: type[T], data: Any, where: str = "", error: type[PinxitError] = UsageError, advice: str = "") -> T:
    """`data`, plain values as JSON has them, converted to `kind`: a dataclass, a TypedDict, a list ...

    Raises `error` naming the first field that does not fit; `where` is put before its dotted name, and `advice` at the
    end of the message.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as wrong:
        raise error(f"{_sentence(kind, data, where, wrong)}{f'; {advice}' if advice else ''}.") from wrong


def check_fields(config: Any, where: str) -> None:
    """Raise UsageError for a field of a dataclass that is out of its range; called where Python code makes configs.

    A number of NumPy becomes Python's own. Nested dataclasses are skipped: they have checked themselves.
    """
    kind: Any = type(config)
    for name, hint in _leaves(kind):
        given = getattr(config, name)
        if (value := plain_number(given)) is not given:
            object.__setattr__(config, name, value)  # configs are frozen
        checked(hint, value, joined(where, name))


def plain_number(value: Any) -> Any:
    """A number of NumPy as Python's own, which goes into JSON and is what types ask for; anything else as it is.

    So are those in a tuple or a list.
    """
    if type(value) in (tuple, list):
        plain = type(value)(map(plain_number, value))
        return value if all(map(operator.is_, value, plain)) else plain
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, int) else value


@cache
def _leaves(kind: Any) -> list[tuple[str, Any]]:
    return [(name, hint) for name, hint in fields_of(kind).items() if not dataclasses.is_dataclass(plain(hint))]


def joined(where: str, name: str) -> str:
    """The dotted name of a field inside `where`."""
    return f"{where}.{name}" if where else name


def _item(where: str, place: int, value: Any) -> str:
    """The dotted name of an item of a list: by its `name` where it has one, else by its index."""
    name = value.get("name") if isinstance(value, dict) else None
    return joined(where, name) if isinstance(name, str) else f"{where}[{place}]"


def unknown_field(kind: Any, data: Any, where: str = "") -> tuple[str, list[str]] | None:
    """The dotted name of the first field that the dataclasses in `kind` do not have, and the fields they have there."""
    kind = plain(kind)
    if isinstance(data, list | tuple) and typing.get_origin(kind) in (list, tuple):
        inner = typing.get_args(kind)[0]
        items = (unknown_field(inner, value, _item(where, place, value)) for place, value in enumerate(data))
        return next((one for one in items if one is not None), None)
    if isinstance(data, dict) and typing.get_origin(kind) is dict:
        inner = typing.get_args(kind)[1]
        items = (unknown_field(inner, value, joined(where, str(name))) for name, value in data.items())
        return next((one for one in items if one is not None), None)
    if not hasattr(kind, "__dataclass_fields__") or not isinstance(data, dict):
        return None
    hints = fields_of(kind)
    for name, value in data.items():
        if name not in hints:
            return joined(where, str(name)), list(hints)
        unknown = unknown_field(hints[name], value, joined(where, name))
        if unknown is not None:
            return unknown
    return None


@cache
def fields_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass or a TypedDict with their types, ranges included: a table to read from."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return hints


def plain(hint: Any) -> Any:
    """A type without its ranges (`Annotated`) and without None."""
    while True:
        if typing.get_origin(hint) in (Annotated, typing.Required, typing.NotRequired):
            hint = typing.get_args(hint)[0]
        elif _is_union(hint) and len(_choices(hint)) == 1:
            hint = _choices(hint)[0]
        else:
            return hint


def allowed_values(hint: Any, value: Any = None) -> str:
    """The values that a field may have, in words, for the message that refuses `value`."""
    if _is_union(hint):
        empty = " or null" if type(None) in typing.get_args(hint) else ""
        return " or ".join(allowed_values(choice, value) for choice in _choices(hint)) + empty
    kind, limits = plain(hint), _limits(hint)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    if origin in (list, tuple) or kind in (list, tuple):
        return _list(kind, limits)
    if kind in (int, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and not (kind is int and value != value)
        whole = kind is int and not isinstance(value, int)
        return _range(limits, value, kind) if fits and not whole and limits else _KINDS[kind]
    return _KINDS.get(kind, "a section of fields")


def shortened(value: Any) -> str:
    """A value for an error message, cut where it is long."""
    text = repr(value) if isinstance(value, str | float | list | dict | tuple) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _sentence(kind: Any, data: Any, where: str, wrong: msgspec.ValidationError) -> str:
    match = _PATH.search(str(wrong))
    at, hint, value = _located(kind, data, where, match["path"] if match else "")
    reason = str(wrong)[: match.start()] if match else str(wrong)
    if wrong.__cause__ is not None:  # raised by the dataclass's own __post_init__
        return f"{at}: {reason}" if at else reason
    if reason.startswith("Object missing required field"):
        return f"{joined(at, reason.split('`')[1])} is missing"
    return f"{at or 'the value'} must be {allowed_values(hint, value)}, not {shortened(value)}"


def _located(kind: Any, data: Any, where: str, path: str) -> tuple[str, Any, Any]:
    """The dotted name, the type and the value at a path such as ".plan.betas[0]"."""
    hint = kind
    for step in _STEP.finditer(path):
        inner = plain(hint)
        if step["name"] is not None:
            where, hint, data = joined(where, step["name"]), fields_of(inner).get(step["name"], Any), data[step["name"]]
        elif step["place"] is not None:
            place, parts = int(step["place"]), typing.get_args(inner)
            hint = parts[place] if len(parts) > 1 and parts[1] is not ... else parts[0]
            where, data = _item(where, place, data[place]), data[place]
        else:  # a dictionary's value, which msgspec does not name
            hint = typing.get_args(inner)[1]
            name = next(name for name, value in data.items() if not _fits(hint, value))
            where, data = joined(where, str(name)), data[name]
    return where, hint, data


def _fits(hint: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _choices(hint: Any) -> list[Any]:
    return [choice for choice in typing.get_args(hint) if choice is not type(None)]


def _limits(hint: Any) -> Meta | None:
    limits = (one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Meta))
    return next(limits, None)


def _list(kind: Any, limits: Meta | None) -> str:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is tuple and parts and parts[-1] is not ...:
        return f"a list of {len(parts)}"
    least = limits.min_length if limits and limits.min_length else 0
    return f"a list of at least {least}" if least else "a list"


def _range(limits: Meta | None, value: float, kind: type) -> str:
    assert limits is not None
    low = "above 0" if limits.ge == SMALLEST else None
    if low is None:
        low = f"at least {limits.ge:g}" if limits.ge is not None else f"above {limits.gt:g}"
    if limits.ge == -FLOAT32:
        low = ""
    open_ended = limits.le in (LARGEST, FLOAT32, STRONGEST)
    if not open_ended and limits.lt is None:
        return f"from {limits.ge:g} to {limits.le:g}" if limits.ge is not None else f"{low} and at most {limits.le:g}"
    if limits.lt is not None:
        return f"{low} and below {limits.lt:g}"
    if kind is int:
        return low if value < LARGEST else f"{low} and below 2**63"
    assert limits.le is not None
    most = f"{limits.le:.2g}".replace("+0", "").replace("+", "")
    end = "finite" if not math.isfinite(value) or value <= limits.le else f"at most {most}"
    return f"{low} and {end}" if low else end
