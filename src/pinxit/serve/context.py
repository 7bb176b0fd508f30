"""What all routes are given: the running server, and who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from pinxit.serve.errors import RefusedError, ended
from pinxit.serve.parts import Parts

if TYPE_CHECKING:
    from pinxit.serve.jobs import Jobs
    from pinxit.serve.keys import Caller

TELLING = 1.0  # seconds before the end of draining that an error takes to every client, at most


@dataclass
class Context(Parts):
    """A running server."""

    jobs: Jobs = field(init=False)

    def drain(self) -> None:
        """Take no more work, and tell whoever would be cut off at the end. From a signal's handler, too."""
        self.draining = True
        self.jobs.feeds.close()
        most, loop = self.settings.drain_seconds, self.hub.loop
        seconds = max(most - TELLING, most / 2)
        loop.call_soon_threadsafe(
            loop.call_later, seconds, self.hub.leave, ended("this server ended before it was done")
        )


def context_of(request: Request) -> Context:
    """The running server's. Raises RefusedError while it loads."""
    found = getattr(request.app.state, "context", None)
    if found is None:
        raise RefusedError(503, "this server is still loading.", headers={"retry-after-ms": "2000", "retry-after": "2"})
    return cast("Context", found)


def caller_of(request: Request) -> Caller:
    """Who asks."""
    return cast("Caller", request.state.caller)


def owner_of(request: Request, here: Context) -> str:
    """Where there are keys, everybody has jobs of their own."""
    return caller_of(request).name if here.settings.api_keys else ""


Here = Annotated[Context, Depends(context_of)]
