"""Unfinished work, saved in a file beside its result, so that an interruption costs little."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from pinxit.errors import DataError, UsageError
from pinxit.files import check_file, read_json, write_text
from pinxit.locks import file_lock
from pinxit.schema import plain_number

if TYPE_CHECKING:
    from pinxit.types import Picture

DIGEST = "sha256"  # the field with that of all others
AGAIN = "remove it to start the exam again"
T = TypeVar("T")


class PartialResults(TypedDict):
    """The field that every such file has besides its content."""

    identity: dict[str, Any]


def partial_path(out: Path | None) -> Path | None:
    """The file for the unfinished work of a result; None without a result."""
    return out.with_name(f"{out.name}.part") if out else None


@contextmanager
def report_lock(out: Path | None) -> Iterator[None]:
    """Inside the block no other process works on the result `out`.

    Raises UsageError while one does, PinxitError where the file cannot be written.
    """
    check_file(out)
    with nullcontext() if out is None else file_lock(out.with_name(f".{out.name}.lock"), f"the report {out}"):
        yield


def save_partial(path: Path, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write JSON-ready `content`; `identity` describes the work that it belongs to."""
    body = _text({"identity": identity, **content})
    write_text(path, f'{{"{DIGEST}": "{_digest(body)}", {body[1:]}')


def as_stored(content: T) -> T:
    """JSON-ready content as it comes back from a file: numbers of NumPy are Python's own, tuples are lists.

    Raises UsageError for what JSON does not have.
    """
    stored: T = json.loads(json.dumps(content, default=_plain))
    return stored


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, default=_plain)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode(errors="surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if (number := plain_number(value)) is not value:
        return number
    if isinstance(value, PurePath):
        return str(value)
    raise UsageError(f"{value!r} cannot be stored beside unfinished work: give text, numbers, lists.")


def load_partial(
    path: Path | None, identity: Mapping[str, Any], kind: type[PartialResults], read: Callable[[Mapping[str, Any]], T]
) -> T | None:
    """The saved content, checked to be a `kind` and converted by `read`; None if there is none.

    Raises UsageError when it has another identity, or `identity` cannot be stored, DataError when it cannot be read.
    """
    identity = as_stored(identity)
    if path is None or not path.is_file():
        return None
    try:
        data: Mapping[str, Any] = read_json(path, kind, DataError, AGAIN)
        content = read(data)
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, UsageError) as error:
        raise DataError(f"{path} is damaged ({error}); {AGAIN}.") from error
    body = _text({name: value for name, value in data.items() if name != DIGEST})
    if data.get(DIGEST, _digest(body)) != _digest(body):  # files of older versions have none
        raise DataError(f"{path} is damaged: it is not as it was written; {AGAIN}.")
    if data["identity"] != identity:
        raise UsageError(f"{path} holds half of an exam with other settings; remove it, or choose another --out.")
    return content


def to_text(picture: Picture) -> str:
    """A picture as text: a PNG in base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def to_picture(text: str) -> Picture:
    """The inverse of `to_text`."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.array(image.convert("RGB"))
