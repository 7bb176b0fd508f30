"""What all routes depend on: the running server, and who is calling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from pinxit.serve.errors import RefusedError
from pinxit.serve.services import Services
from pinxit.serve.time_limit import shut_down

if TYPE_CHECKING:
    from pinxit.serve.jobs import Jobs
    from pinxit.serve.keys import Caller

ERROR_SECONDS = 1.0  # kept at the end of draining for sending errors to all clients, at most


@dataclass
class Context(Services):
    """A running server: its services, and the jobs built on them."""

    jobs: Jobs = field(init=False)

    def drain(self) -> None:
        """Accept no more work, and schedule an error for requests that would be cut off. Safe in a signal handler."""
        self.draining = True
        self.jobs.feeds.close()
        limit, loop = self.settings.drain_seconds, self.dispatcher.loop
        seconds = max(limit - ERROR_SECONDS, limit / 2)
        loop.call_soon_threadsafe(loop.call_later, seconds, self._end_requests)

    def _end_requests(self) -> None:
        self.dispatcher.fail_waiting(shut_down())
        self.time_limit.end()  # of what is not waiting for a job: its job has ended, or is not submitted yet


def context_of(request: Request) -> Context:
    """The running server. Raises RefusedError (503) while it loads."""
    found = getattr(request.app.state, "context", None)
    if found is None:
        raise RefusedError(503, "this server is still loading.", headers={"retry-after-ms": "2000", "retry-after": "2"})
    return cast("Context", found)


def caller_of(request: Request) -> Caller:
    """Who is calling, as the middleware found out."""
    return cast("Caller", request.state.caller)


def owner_of(request: Request, context: Context) -> str:
    """Whose jobs a request may see: with API keys the caller's own, without them everybody's."""
    return caller_of(request).name if context.settings.api_keys else ""


ContextDep = Annotated[Context, Depends(context_of)]
