"""What a new process does with the jobs and pictures that an earlier one left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from pinxit.errors import PinxitError
from pinxit.files import LEFT
from pinxit.serve import records
from pinxit.serve.errors import PassingError, RefusedError, as_refused
from pinxit.serve.job_requests import NAME, plan_of_request
from pinxit.texts import counted

if TYPE_CHECKING:
    from pinxit.serve.jobs import Jobs
    from pinxit.serve.paint_plan import PaintPlan
    from pinxit.serve.records import Record


async def recover(jobs: Jobs) -> None:
    """Run unfinished jobs from their start, with the same seeds for the same pictures; remove files of no job.

    One that cannot be checked now, as by a hook whose first call takes long, or whose upload is not decoded in time,
    stays queued until it can be, and so do those after it: each could take as long, and the server is not ready before.
    """
    referenced = await jobs.store.do(records.referenced_pictures)
    await asyncio.to_thread(_remove_others, jobs.store.folder, referenced)
    at_once = True
    for record in await jobs.store.do(records.unfinished):
        try:
            plan = await _plan(jobs, record, at_once)
        except PassingError:
            plan, at_once = None, False
        except Exception as error:  # whatever is wrong with one job must not keep the server from starting
            reason = str(error) if isinstance(error, PinxitError) else as_refused(error).message
            await jobs.store.do(records.finish(record.id, records.FAILED, error=reason))
            continue
        jobs.start(record, plan)


async def _plan(jobs: Jobs, record: Record, at_once: bool) -> PaintPlan | None:
    """The plan, or None if it is not to be made `at_once`.

    Raises RefusedError and PinxitError for a job that cannot be painted any more, or that killed its processes.
    """
    if record.tries >= jobs.services.settings.most_tries:
        message = f"the server died {counted(record.tries, 'time')} while this was painted; it is not tried again."
        raise RefusedError(500, message)
    return await plan_of_request(jobs.services, jobs.store, record.request) if at_once else None


def _remove_others(folder: Path, referenced: set[str]) -> None:
    """Remove pictures of jobs that were never acknowledged, never reported as done, or deleted, and half-written ones.

    Files whose names are not ours stay: --data may name any folder.
    """
    for path in folder.iterdir():
        half = LEFT.fullmatch(path.name)
        name, _, kind = (half[1] if half else path.name).rpartition(".")
        if kind == "png" and NAME.fullmatch(name) and (half or name not in referenced):
            path.unlink(missing_ok=True)
