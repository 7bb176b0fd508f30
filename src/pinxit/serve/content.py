"""Content policy: a user's own check of prompts and pictures, `content_hook = "module:function"`.

The function is called with a `Content` and returns None to allow it, or a sentence that says why it is refused. An
exception, a timeout or any other return value refuses too: nothing passes unchecked.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pinxit.errors import UsageError
from pinxit.serve.daemon_threads import DaemonThreads
from pinxit.serve.errors import PassingError, RefusedError

if TYPE_CHECKING:
    from pinxit.types import Picture, Ranked

log = logging.getLogger("pinxit.serve")
CODE = "content_policy_violation"  # OpenAI's


class UncheckedError(PassingError):
    """The hook failed: nothing passes unchecked, but the same content may be allowed later."""

    def __init__(self, param: str | None) -> None:
        super().__init__(400, "it could not be checked whether that may be painted here.", param, CODE)


@dataclass(frozen=True)
class Content:
    """What is checked: a prompt, an uploaded picture, or a painted one (previews included)."""

    kind: Literal["prompt", "upload", "painted"]
    text: str = ""
    picture: Picture | None = None  # uint8 [H, W, 3]


Hook = Callable[[Content], Any]


class ContentPolicy:
    """Calls the hook in threads of its own; without a hook everything is allowed."""

    def __init__(self, hook: Hook | None = None, seconds: float = 10.0) -> None:
        self.hook, self.seconds = hook, seconds
        self.threads = DaemonThreads("pinxit-content", 2)

    @classmethod
    def opened(cls, spec: str, seconds: float) -> ContentPolicy:
        """The policy of `module:function`; "": one that allows everything. Raises UsageError if it does not exist."""
        return cls(_import_hook(spec) if spec else None, seconds)

    async def check_prompt(self, text: str) -> None:
        """Raise RefusedError (400) for a prompt that the policy does not allow."""
        if text.strip():
            await self._check(Content("prompt", text=text), "prompt")

    async def check_upload(self, picture: Picture, param: str) -> None:
        """Raise RefusedError (400) for an uploaded picture that the policy does not allow."""
        await self._check(Content("upload", picture=picture), param)

    async def shows(self, picture: Picture) -> bool:
        """Whether a preview may be shown."""
        try:
            await self._check(Content("painted", picture=picture), None)
        except RefusedError:
            return False
        return True

    async def allowed(self, ranked: Sequence[Ranked]) -> list[Ranked]:
        """The pictures that may be shown. Raises RefusedError (400) if there are none."""
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

    async def _check(self, content: Content, param: str | None) -> None:
        if self.hook is None:
            return
        try:
            reason = await self.threads.run(self.seconds, self.hook, content)
        except Exception as error:
            log.error(
                "the content hook failed by %s", type(error).__name__, exc_info=not isinstance(error, TimeoutError)
            )
            raise UncheckedError(param) from error
        if reason is None:
            return
        if not isinstance(reason, str) or not reason.strip():
            log.error("the content hook gave %s, which is neither None nor a sentence", type(reason).__name__)
            raise UncheckedError(param)
        raise RefusedError(400, reason, param, CODE)


def omission_warnings(before: Sequence[Ranked], after: Sequence[Ranked]) -> list[str]:
    """A warning, if pictures were left out."""
    count = len(before) - len(after)
    return [f"{count} of the pictures may not be shown here."] if count else []


def _import_hook(spec: str) -> Hook:
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
