"""Admission control: queued work is counted in estimated seconds, and refused with 429 above a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pinxit.serve.catalog import WARM_UP
from pinxit.serve.errors import RefusedError

if TYPE_CHECKING:
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.catalog import ServerJob
    from pinxit.serve.dispatcher import Dispatcher, JobHandle
    from pinxit.serve.settings import Settings

MAX_WAIT, MIN_WAIT = 60.0, 0.25  # of retry-after in seconds: the clients obey no more than a minute
SMOOTHING = 0.3  # weight of a new measurement in the running mean
MAX_HELD_UPLOADS = 32  # decoded uploads, of up to UPLOAD_BYTES each, that unfinished jobs may hold in memory
UPLOAD_BYTES = 48 * 2**20
DEFAULT_SECONDS = 0.1  # of a candidate, before anything has been measured
REASONS = {
    "backlog": "the queue is full",
    "client": "you have as much queued as one client may have while others wait",
    "uploads": "as many uploads are queued as this server holds in memory",
    "deadline": "it could not be done within your timeout",
    "timeout": "it takes longer than your timeout even with nothing else to do: wait longer, or ask for less",
}


class Costs:
    """Measured seconds of a candidate at each stage; at denoising stages, of a step.

    Values without a request (those for CLIP) are counted in calls, each of which takes as many as `widths` says.
    """

    def __init__(self, widths: Mapping[str, int] | None = None) -> None:
        self.measured, self.widths = dict[str, float](), widths or {}

    def estimate(self, job: ServerJob) -> float:
        """Seconds of compute that a job will need."""
        stages = list(dict.fromkeys(stage for route, _ in job.starts for stage in route))
        return sum(
            self.measured.get(stage, DEFAULT_SECONDS / len(stages)) * self._units(job, stage) for stage in stages
        )

    def learn(self, job: ServerJob, seconds: dict[str, float]) -> None:
        """Update the measurements with a finished job, by exponential smoothing."""
        for stage, spent in seconds.items():
            new = spent / self._units(job, stage)
            self.measured[stage] = self.measured.get(stage, new) * (1 - SMOOTHING) + new * SMOOTHING

    def _units(self, job: ServerJob, stage: str) -> float:
        """How many candidates, steps or calls a stage computes for a job."""
        request: PaintRequest | None = job.request
        if request is None:
            return math.ceil(sum(stage in route for route, _ in job.starts) / self.widths.get(stage, 1))
        steps = getattr(request.more, "steps", None) or request.settings.get("steps", 1)  # a blend has its own
        if stage.endswith("/invert"):
            return float(2 * steps)
        upsampling = "/up" in stage or "/low" in stage  # only what is kept is enlarged
        count = min(request.keep or request.candidates, request.candidates) if upsampling else request.candidates
        return float(count * (steps if stage.endswith(("/denoise", "/decoder")) else 1))


class Admission:
    """Decides whether a job may be queued."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher) -> None:
        self.budget, self.client_share, self.dispatcher = settings.budget_seconds, settings.client_share, dispatcher
        self.costs = Costs({name: one.worker.width for name, one in dispatcher.runner.engine.graph.stages.items()})
        self.reserved: dict[ServerJob, float] = {}  # estimated seconds of admitted jobs that are not submitted yet
        self.refused: dict[str, int] = {}  # by reason
        dispatcher.on_end.append(self._on_end)

    def backlog(self, client: str | None = None) -> float:
        """Estimated seconds of unfinished work, of one client or of all."""
        submitted = sum(
            one.cost * (1 - self.dispatcher.progress(one))
            for one in self.dispatcher.handles.values()
            if client in (None, one.job.client)
        )
        reserved = sum(cost for job, cost in self.reserved.items() if client in (None, job.client))
        return (submitted + reserved) / self.dispatcher.runner.engines

    def admit(self, *jobs: ServerJob, client_timeout: float = math.inf) -> float:
        """The estimated seconds of jobs of one client, which are admitted together or not at all.

        Raises RefusedError (429) if the budget does not allow them, or if they could not be done within
        `client_timeout`. When nothing else is queued, any job is admitted: `most_candidates` bounds its size.
        """
        client = jobs[0].client
        cost, total, own = sum(map(self.costs.estimate, jobs)), self.backlog(), self.backlog(client)
        unfinished = [*(one.job for one in self.dispatcher.handles.values()), *self.reserved]
        held, more = sum(map(_held_uploads, unfinished)), sum(map(_held_uploads, jobs))
        if more and held and held + more > MAX_HELD_UPLOADS:
            raise self._refused("uploads", total)
        clients = len({one.client for one in unfinished} - {WARM_UP} | {client})  # the server itself is none
        if total and total + cost > self.budget:
            raise self._refused("backlog", total + cost - self.budget)
        if clients > 1 and own and own + cost > self.budget * self.client_share:
            raise self._refused("client", own + cost - self.budget * self.client_share)
        if cost > client_timeout:
            raise self._refused("timeout")
        if min(total + cost, (own + cost) * clients) > client_timeout:
            raise self._refused("deadline", total)
        return cost

    def reserve(self, *jobs: ServerJob) -> None:
        """Count admitted jobs until they are submitted: several requests may be waiting for the disk at once."""
        self.reserved |= {job: self.costs.estimate(job) for job in jobs}

    def release(self, *jobs: ServerJob) -> None:
        """Stop counting reserved jobs, which have been submitted or will not be."""
        for job in jobs:
            self.reserved.pop(job, None)

    def rate_headers(self, cost: float) -> dict[str, str]:
        """Headers that say how many more requests of this cost would be admitted."""
        cost, backlog = max(cost, 1e-3), self.backlog()
        limit, free = int(self.budget / cost) or 1, max(0, int((self.budget - backlog) / cost))
        values = {"limit": str(limit), "remaining": str(min(free, limit)), "reset": f"{backlog:.1f}s"}
        return {f"x-ratelimit-{name}-requests": value for name, value in values.items()}

    def _refused(self, reason: str, seconds: float | None = None) -> RefusedError:
        """429: to be tried again once so many seconds of work are done; None: that cannot help."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
        if seconds is None:
            headers = {"x-should-retry": "false"}
            return RefusedError(429, f"{REASONS[reason]}.", code="rate_limit_exceeded", headers=headers)
        wait = min(MAX_WAIT, max(MIN_WAIT, seconds))
        headers = {"retry-after-ms": str(math.ceil(1000 * wait)), "retry-after": str(math.ceil(wait))}
        message = f"{REASONS[reason]}: try again in {math.ceil(wait)} s."
        return RefusedError(429, message, code="rate_limit_exceeded", headers=headers)

    def _on_end(self, handle: JobHandle, seconds: dict[str, float]) -> None:
        if handle.outcome is not None and handle.outcome.kind == "done":
            self.costs.learn(handle.job, seconds)


def _held_uploads(job: ServerJob) -> int:
    """How many uploads, of the largest size, a job holds in memory."""
    request: PaintRequest | None = job.request
    if request is not None:
        return 0 if request.more is None else 2 if request.route == "blend" else 1
    return math.ceil(sum(getattr(value, "nbytes", 0) for _, value in job.starts) / UPLOAD_BYTES)
