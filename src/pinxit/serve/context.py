"""What all routes share, made once when the server starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from pinxit.serve.errors import RefusedError

if TYPE_CHECKING:
    from pinxit.serve.admission import Admission
    from pinxit.serve.catalog import Catalog
    from pinxit.serve.files import Urls
    from pinxit.serve.hub import Hub
    from pinxit.serve.keys import Caller
    from pinxit.serve.metrics import Metrics
    from pinxit.serve.settings import Settings
    from pinxit.serve.uploads import Uploads


@dataclass
class Context:
    """The parts of a running server."""

    settings: Settings
    catalog: Catalog
    hub: Hub
    admission: Admission
    metrics: Metrics
    urls: Urls
    uploads: Uploads
    encoders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "pinxit-encoder"))
    draining: bool = False

    def drain(self) -> None:
        """Take no more work."""
        self.draining = True

    def check_open(self) -> None:
        """Raise RefusedError once no more work is taken."""
        if self.draining:
            headers = {"retry-after-ms": "2000", "retry-after": "2"}
            raise RefusedError(503, "this server is about to end: try again in 2 s.", headers=headers)


def context_of(request: Request) -> Context:
    """The running server's. Raises RefusedError while it loads."""
    found = getattr(request.app.state, "context", None)
    if found is None:
        raise RefusedError(503, "this server is still loading.", headers={"retry-after-ms": "2000", "retry-after": "2"})
    return cast("Context", found)


def caller_of(request: Request) -> Caller:
    """Who asks."""
    return cast("Caller", request.state.caller)


Here = Annotated[Context, Depends(context_of)]
