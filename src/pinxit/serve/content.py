"""What may be painted here: a check of one's own on sentences and pictures, `content_hook = "module:function"`.

The function is given a `Content` and gives None, or a sentence that says why not. Whatever else it does, raise, take
too long, give True, refuses too: nothing passes unchecked.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pinxit.errors import UsageError
from pinxit.serve.errors import RefusedError

if TYPE_CHECKING:
    from pinxit.types import Picture, Ranked

log = logging.getLogger("pinxit.serve")
CODE = "content_policy_violation"  # OpenAI's
UNCHECKED = "it could not be checked whether that may be painted here."


@dataclass(frozen=True)
class Content:
    """What is judged: a sentence, a picture that was sent, or one that was painted (a look at one, too)."""

    kind: Literal["prompt", "upload", "painted"]
    text: str = ""
    picture: Picture | None = None  # uint8 [H, W, 3]


Hook = Callable[[Content], Any]


class Policy:
    """The hook, asked in threads of its own. Without one everything is let through."""

    def __init__(self, hook: Hook | None = None, seconds: float = 10.0) -> None:
        self.hook, self.seconds = hook, seconds
        self.threads = ThreadPoolExecutor(2, "pinxit-content")

    @classmethod
    def opened(cls, spec: str, seconds: float) -> Policy:
        """That of `module:function`; "": none. Raises UsageError for one that cannot be found."""
        return cls(_found(spec) if spec else None, seconds)

    async def check_prompt(self, text: str) -> None:
        """Raise RefusedError for a sentence that is not painted here."""
        if text.strip():
            await self._check(Content("prompt", text=text), "prompt")

    async def check_upload(self, picture: Picture, param: str) -> None:
        """Raise RefusedError for a picture that is not worked on here."""
        await self._check(Content("upload", picture=picture), param)

    async def shows(self, picture: Picture) -> bool:
        """Whether a look may be told."""
        try:
            await self._check(Content("painted", picture=picture), None)
        except RefusedError:
            return False
        return True

    async def allowed(self, ranked: Sequence[Ranked]) -> list[Ranked]:
        """Those that may be told. Raises RefusedError where that is none of them."""
        if self.hook is None:
            return list(ranked)
        found, last = [], None
        for one in ranked:
            try:
                await self._check(Content("painted", picture=one.picture), None)
            except RefusedError as refused:
                last = refused
            else:
                found.append(one)
        if last is not None and not found:
            raise last
        return found

    def close(self) -> None:
        """End the threads that wait."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def _check(self, content: Content, param: str | None) -> None:
        if self.hook is None:
            return
        try:
            asked = asyncio.get_running_loop().run_in_executor(self.threads, self.hook, content)
            said = await asyncio.wait_for(asked, self.seconds)
        except Exception as error:
            log.error(
                "the content hook failed by %s", type(error).__name__, exc_info=not isinstance(error, TimeoutError)
            )
            raise RefusedError(400, UNCHECKED, param, CODE) from error
        if said is None:
            return
        if not isinstance(said, str) or not said.strip():
            log.error("the content hook gave %s, which is neither None nor a sentence", type(said).__name__)
            raise RefusedError(400, UNCHECKED, param, CODE)
        raise RefusedError(400, said, param, CODE)


def left_out(before: Sequence[Ranked], after: Sequence[Ranked]) -> list[str]:
    """What is said of pictures that were not let through."""
    count = len(before) - len(after)
    return [f"{count} of the pictures may not be shown here."] if count else []


def _found(spec: str) -> Hook:
    module, _, name = spec.partition(":")
    if not module or not name.isidentifier():
        raise UsageError(f"content_hook: '{spec}' is not written module:function.")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UsageError(f"content_hook: the module {module} cannot be imported: {error}.") from error
    except AttributeError as error:
        raise UsageError(f"content_hook: {module} has no {name}.") from error
    if not callable(found):
        raise UsageError(f"content_hook: {spec} is no function.")
    hook: Hook = found
    return hook
