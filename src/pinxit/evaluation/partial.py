"""Work half done, kept in a file beside its result so that an interruption costs little."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pinxit.errors import DataError, UsageError
from pinxit.files import alone, write_text

if TYPE_CHECKING:
    from pinxit.types import Picture

T = TypeVar("T")


def part_of(out: Path | None) -> Path | None:
    """Where the half-done work for a result is kept; nowhere without a result."""
    return out.with_name(f"{out.name}.part") if out else None


@contextmanager
def alone_for(out: Path | None) -> Iterator[None]:
    """Inside the block nobody else works at the result `out`. Raises UsageError while somebody does."""
    with nullcontext() if out is None else alone(out.with_name(f".{out.name}.lock"), f"the report {out}"):
        yield


def keep(path: Path, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write JSON-ready `content`; `identity` says whose it is."""
    write_text(path, json.dumps({"identity": identity, **content}, ensure_ascii=False))


def resume(path: Path | None, identity: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T | None:
    """What `read` makes of the kept content; None where there is none.

    Raises UsageError when it has another identity, DataError when it cannot be read.
    """
    if path is None or not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found, owner = read(data), data["identity"]
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it to start the exam again.") from error
    if owner != json.loads(json.dumps(identity)):
        raise UsageError(f"{path} holds half of an exam with other settings; remove it, or choose another --out.")
    return found


def to_text(picture: Picture) -> str:
    """A picture as letters: a PNG in base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def to_picture(text: str) -> Picture:
    """What `to_text` was given."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.array(image.convert("RGB"))
