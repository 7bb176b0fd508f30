"""`--engine ray`: engines as replicas of Ray Serve, behind the interface of one `Runner`.

A job is one stream of events from one replica. The stream is abandoned when the job is cancelled; when the replica
dies, the whole job is sent to another: the same seed, the same pictures. A replica on which it only waited does not
count against it. All of this runs in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit import cluster
from pinxit.errors import PinxitError
from pinxit.pipelines.work import Event, Job
from pinxit.serve.dispatcher import TERMINAL
from pinxit.serve.errors import RefusedError
from pinxit.serve.replica import BEGUN, RemoteEvent, RemoteJob, Replica
from pinxit.serve.runner import EngineLoad, Publish, StageUsage
from pinxit.texts import counted

if TYPE_CHECKING:
    from pinxit.pipelines.graph import Graph
    from pinxit.serve.catalog import ServerJob
    from pinxit.serve.settings import Settings

log = logging.getLogger("pinxit.serve")
NAME = "pinxit"  # of Ray Serve's application and deployment
MAX_ONGOING = 10_000  # jobs of a replica; admission control limits them
HEALTH_SECONDS, GRACE_SECONDS, RETRY_SECONDS = 2.0, 10.0, 0.5
MOST_WAITS = 30  # replicas on which a job may be lost before it has begun: the whole cluster may have gone


class _LostError(Exception):
    """The stream of a job has ended before the job; `begun`: a replica had begun it."""

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class Deployment:
    """The deployed replicas; `handle` calls one of them."""

    def __init__(self, settings: Settings) -> None:
        """Join a cluster and wait until every replica is loaded. Raises PinxitError if that fails."""
        import torch

        self.cleanup = ExitStack()
        ray = self.cleanup.enter_context(cluster.connected())
        from ray import serve

        self.serve = serve
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        try:
            serve.start(proxy_location="Disabled")
            self.cleanup.callback(serve.shutdown)
            machines, processors, gpus = cluster.resources(ray)
            self.count = settings.replicas or gpus or machines
            share = {"num_cpus": 1, "num_gpus": 1} if gpus else {"num_cpus": max(1, processors // self.count)}
            deployment = serve.deployment(Replica).options(
                name=NAME,
                num_replicas=self.count,
                max_ongoing_requests=MAX_ONGOING,
                ray_actor_options=share,
                health_check_period_s=HEALTH_SECONDS,
            )
            bound = deployment.bind(settings, str(Path.cwd()), torch.get_num_threads())
            self.handle = serve.run(bound, name=NAME, route_prefix=None).options(stream=True)
        except BaseException as error:
            self.cleanup.close()
            if isinstance(error, Exception):
                raise cluster.cause_of(error) from error
            raise

    def running(self) -> int:
        """How many replicas are running."""
        application = self.serve.status().applications.get(NAME)
        found = application.deployments.get(NAME) if application else None
        return 0 if found is None else int(found.replica_states.get("RUNNING", 0))

    def close(self) -> None:
        """End the replicas, and the cluster if it was started here."""
        self.cleanup.close()


class RemoteEngine:
    """The interface of an `Engine` that the server uses; jobs are computed by replicas."""

    def __init__(self, graph: Graph, deployment: Deployment, publish: Publish, most_tries: int) -> None:
        self.graph, self.deployment, self.publish, self.most_tries = graph, deployment, publish, most_tries
        self.clock: Callable[[], float] = time.perf_counter
        self.usage = {name: StageUsage() for name in graph.stages}
        self.costs: dict[Job, Mapping[str, float]] = {}  # seconds by stage, of a job that ends
        self.shares: dict[Job, float] = {}
        self.last_event = self.clock()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._seq = count()

    def submit(self, job: ServerJob) -> None:
        """Start a job. Raises UsageError for a route that the graph does not have."""
        for route, _ in job.starts:
            self.graph.check(route)
        self.shares[job] = 0.0
        self._tasks[job] = asyncio.ensure_future(self._follow(job))

    def cancel(self, job: Job) -> None:
        """Cancel a job; one that has ended stays as it is."""
        if job in self.shares:
            self._tasks.pop(job).cancel()  # a task that has not begun yet would not remove itself
            self._end(job, RemoteEvent("cancelled", None, 1.0))

    def move_to_front(self, job: Job) -> None:
        """Raises RefusedError: each replica has a queue of its own."""
        raise RefusedError(400, "the order of jobs on replicas cannot be changed.", code="unsupported")

    async def _follow(self, job: ServerJob) -> None:
        tries, waits = 0, 0  # streams that were lost when the job had begun, and before
        try:
            while True:
                left = job.deadline - self.clock()
                if left <= 0:
                    return self._end(job, RemoteEvent("expired", None, 1.0))
                try:
                    async with asyncio.timeout(None if left == float("inf") else left + GRACE_SECONDS):
                        return await self._relay(job, left)
                except TimeoutError:
                    return self._end(job, RemoteEvent("expired", None, 1.0))
                except _LostError as lost:
                    log.warning("a replica died (%s); its job is sent to another one", type(lost.__cause__).__name__)
                    tries, waits = tries + lost.begun, waits + (not lost.begun)
                    if tries == self.most_tries:
                        return self._give_up(job, f"{counted(tries, 'replica')} died while painting it.")
                    if waits == MOST_WAITS:
                        return self._give_up(job, f"{waits} replicas died while it waited there.")
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._tasks.pop(job, None)

    async def _relay(self, job: ServerJob, left: float) -> None:
        """Pass a replica's events of a job on, until the job has ended. Raises _LostError if they end before it."""
        options: dict[str, Any] = {"previews": job.previews, "looked_at": job.looked_at, "shares": list(job.shares)}
        options |= {"reports_candidates": job.reports_candidates, "brief": job.brief}
        remote, begun = RemoteJob(job.starts, job.request, job.client, job.weight, left, options), False
        try:
            stream = self.deployment.handle.paint.remote(remote)
            try:
                async for report in stream:
                    self.last_event, begun = self.clock(), begun or bool(report.kind or report.progress)
                    if begun and not await self._begin(job):
                        return
                    self._pass_on(job, report)
                    if report.kind in TERMINAL:
                        return
            finally:
                stream.cancel()
            raise ConnectionError("a stream ended before its job")
        except Exception as error:
            raise _LostError(begun) from error

    def _pass_on(self, job: ServerJob, report: RemoteEvent) -> None:
        if report.kind in TERMINAL:
            self._end(job, report)
            return
        if job in self.shares:
            self.shares[job] = report.progress
        if report.kind == "preview" and job.shares:
            job.shares.pop(0)  # another replica does not show it again
        if report.kind not in ("", BEGUN):
            self.publish([Event(report.kind, job, report.data, next(self._seq))])

    async def _begin(self, job: ServerJob) -> bool:
        """Store that a replica has begun a job, before anything of it is used here; False if that fails the job."""
        try:
            if (stored := job.begin()) is not None:
                await asyncio.wrap_future(stored)
        except PinxitError as error:
            self._end(job, RemoteEvent("failed", error, 1.0))
            return False
        return True

    def _give_up(self, job: Job, reason: str) -> None:
        self._end(job, RemoteEvent("failed", RefusedError(503, reason), 1.0))

    def _end(self, job: Job, report: RemoteEvent) -> None:
        if self.shares.pop(job, None) is None:
            return
        for stage, seconds in report.costs.items():
            self.usage[stage].seconds += seconds
        self.costs[job] = report.costs
        self.publish([Event(report.kind, job, report.data, next(self._seq))])
        del self.costs[job]


class Replicas:
    """All replicas, with the interface of `Runner`."""

    error: BaseException | None = None  # a replica that fails is replaced

    def __init__(self, graph: Graph, publish: Publish, deployment: Deployment, most_tries: int) -> None:
        self.deployment, self.engines, self.alive = deployment, deployment.count, deployment.count
        self.engine = RemoteEngine(graph, deployment, publish, most_tries)
        self._watching: asyncio.Task[None] | None = None

    @property
    def load(self) -> EngineLoad:
        """What is known of their load."""
        last_event = self.engine.last_event if self.engine.shares else self.engine.clock()
        return EngineLoad(self.engine.shares, {}, 0, last_event)

    @property
    def well(self) -> bool:
        """Whether any replica is running."""
        return self.alive > 0

    def start(self) -> None:
        """Start monitoring them."""
        self._watching = asyncio.ensure_future(self._watch())

    def stop(self) -> None:
        """Stop monitoring them."""
        if self._watching is not None:
            self._watching.cancel()

    def join(self, seconds: float) -> None:
        """End them."""
        self.deployment.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            try:
                self.alive = await asyncio.to_thread(self.deployment.running)
            except Exception as error:
                log.warning("the Ray cluster does not answer: %s", error)
                self.alive = 0
