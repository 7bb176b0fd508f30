"""The parts of a running server, made once when it starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pinxit.serve.errors import ended

if TYPE_CHECKING:
    from pinxit.serve.admission import Admission
    from pinxit.serve.catalog import Catalog
    from pinxit.serve.content import Policy
    from pinxit.serve.fetch import Fetcher
    from pinxit.serve.files import Urls
    from pinxit.serve.hub import Hub
    from pinxit.serve.metrics import Metrics
    from pinxit.serve.plan import Plan
    from pinxit.serve.settings import Settings
    from pinxit.serve.signing import Signer
    from pinxit.serve.uploads import Uploads
    from pinxit.types import Ranked


@dataclass
class Parts:
    """All but the jobs, which stand on them."""

    settings: Settings
    catalog: Catalog
    hub: Hub
    admission: Admission
    metrics: Metrics
    urls: Urls
    uploads: Uploads
    policy: Policy
    fetcher: Fetcher
    signer: Signer | None
    encoders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "pinxit-encoder"))
    draining: bool = False

    def file(self, plan: Plan, one: Ranked) -> bytes:
        """The file of a finished picture, signed where there is a certificate."""
        data = plan.file(one)
        return data if self.signer is None else self.signer.signed(data, plan.form, plan.of_others)

    def check_open(self) -> None:
        """Raise RefusedError once no more work is taken."""
        if self.draining:
            raise ended("this server is about to end")
