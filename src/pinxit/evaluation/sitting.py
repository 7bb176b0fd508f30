"""A painter sits an exam, a few prompts at a time; what has been answered survives an interruption."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.config import from_dict
from pinxit.errors import DataError, UsageError
from pinxit.evaluation.evaluators import Answer, Look, Painter, answer
from pinxit.evaluation.geneval import Rules
from pinxit.evaluation.questions import Question
from pinxit.files import write_text

if TYPE_CHECKING:
    from pinxit.types import Picture

CHUNK = 8  # prompts painted together


@dataclass
class Sitting:
    """Answers so far, and the best picture of each of the first `shown` questions."""

    answers: list[Answer] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def sit(
    asked: Sequence[Question],
    paint: Painter,
    candidates: int,
    look: Look,
    rules: Rules,
    *,
    shown: int = 0,
    part: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> Sitting:
    """Paint and judge every question.

    With `part`, answers are kept in that file after every few prompts and taken up again from there; `identity` says
    whose they are. `watch` hears how many questions are done. Raises UsageError when the file belongs to another exam.
    """
    done = _resume(part, identity or {}) if part else Sitting()
    watch(len(done.answers))
    for start in range(len(done.answers), len(asked), CHUNK):
        chunk = asked[start : start + CHUNK]
        painted = paint([one.prompt for one in chunk], [one.seed for one in chunk], candidates)
        for question, ranked in zip(chunk, painted, strict=True):
            done.answers.append(answer(question, ranked, look, rules))
            if len(done.pictures) < shown:
                done.pictures.append(ranked[0].picture)
        if part:
            _keep(part, done, identity or {})
        watch(len(done.answers))
    return done


def _keep(path: Path, done: Sitting, identity: Mapping[str, Any]) -> None:
    answers = [asdict(one) for one in done.answers]
    pictures = [_to_text(picture) for picture in done.pictures]
    write_text(path, json.dumps({"identity": identity, "answers": answers, "pictures": pictures}, ensure_ascii=False))


def _resume(path: Path, identity: Mapping[str, Any]) -> Sitting:
    if not path.is_file():
        return Sitting()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        answers = [from_dict(Answer, one) for one in data["answers"]]
        found = Sitting(answers, [_to_picture(text) for text in data["pictures"]])
        owner = data["identity"]
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it to start the exam again.") from error
    if owner != json.loads(json.dumps(identity)):
        raise UsageError(f"{path} holds half of an exam with other settings; remove it, or choose another --out.")
    return found


def _to_text(picture: Picture) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def _to_picture(text: str) -> Picture:
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.array(image.convert("RGB"))
