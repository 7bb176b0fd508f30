"""The services of a running server, made once at startup."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pinxit.serve.errors import unavailable

if TYPE_CHECKING:
    from pinxit.serve.admission import Admission
    from pinxit.serve.catalog import Catalog
    from pinxit.serve.content import ContentPolicy
    from pinxit.serve.dispatcher import Dispatcher
    from pinxit.serve.fetch import Fetcher
    from pinxit.serve.metrics import Metrics
    from pinxit.serve.paint_plan import PaintPlan
    from pinxit.serve.settings import Settings
    from pinxit.serve.signing import Signer
    from pinxit.serve.time_limit import TimeLimit
    from pinxit.serve.uploads import Uploads
    from pinxit.serve.url_files import UrlFiles
    from pinxit.types import Ranked


@dataclass
class Services:
    """Everything but the jobs, which use these."""

    settings: Settings
    catalog: Catalog
    dispatcher: Dispatcher
    admission: Admission
    metrics: Metrics
    url_files: UrlFiles
    uploads: Uploads
    policy: ContentPolicy
    fetcher: Fetcher
    signer: Signer | None
    time_limit: TimeLimit
    encoders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "pinxit-encoder"))
    draining: bool = False

    def file(self, plan: PaintPlan, one: Ranked) -> bytes:
        """The file of a finished picture, signed if there is a certificate."""
        data = plan.file(one)
        return data if self.signer is None else self.signer.signed(data, plan.form, plan.contains_upload)

    def check_open(self) -> None:
        """Raise RefusedError (503) if no more work is accepted."""
        if self.draining:
            raise unavailable("this server is shutting down")
