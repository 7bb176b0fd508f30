"""`--engine ray`: whole engines as replicas of Ray Serve, seen by the server as its one engine (`runner.Runner`).

A job is one stream of events from one replica. It is given up when nobody listens any more, and sent again, whole, to
another one when the replica dies: the same seed, the same pictures. Everything here lives in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from pinxit import cluster
from pinxit.pipelines.work import Event, Job
from pinxit.serve.errors import RefusedError
from pinxit.serve.hub import ENDS
from pinxit.serve.replica import Replica, Report, Sent
from pinxit.serve.runner import Load, Publish, Spent

if TYPE_CHECKING:
    from pinxit.pipelines.graph import Graph
    from pinxit.serve.catalog import Order
    from pinxit.serve.settings import Settings

log = logging.getLogger("pinxit.serve")
NAME = "pinxit"  # of the application
AT_A_TIME = 10_000  # jobs of a replica; admission says what may wait
LOOK_SECONDS, GRACE_SECONDS, AGAIN_SECONDS = 2.0, 10.0, 0.5


class Placed:
    """The replicas, from their start to their end; `handle` calls one of them."""

    def __init__(self, settings: Settings) -> None:
        """Join a cluster and wait until every replica is loaded. Raises PinxitError where that cannot be."""
        import torch

        self.leaving = ExitStack()
        ray = self.leaving.enter_context(cluster.joined())
        from ray import serve

        self.serve = serve
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        try:
            serve.start(proxy_location="Disabled")
            self.leaving.callback(serve.shutdown)
            machines, processors, gpus = cluster.resources(ray)
            self.count = settings.replicas or gpus or machines
            share = {"num_cpus": 1, "num_gpus": 1} if gpus else {"num_cpus": max(1, processors // self.count)}
            placed = serve.deployment(Replica).options(
                name=NAME,
                num_replicas=self.count,
                max_ongoing_requests=AT_A_TIME,
                ray_actor_options=share,
                health_check_period_s=LOOK_SECONDS,
            )
            bound = placed.bind(settings, str(Path.cwd()), torch.get_num_threads())
            self.handle = serve.run(bound, name=NAME, route_prefix=None).options(stream=True)
        except BaseException as error:
            self.leaving.close()
            if isinstance(error, Exception):
                raise cluster.cause_of(error) from error
            raise

    def running(self) -> int:
        """How many replicas are well."""
        application = self.serve.status().applications.get(NAME)
        found = application.deployments.get(NAME) if application else None
        return 0 if found is None else int(found.replica_states.get("RUNNING", 0))

    def close(self) -> None:
        """End the replicas, and the cluster where it was started here."""
        self.leaving.close()


class Distant:
    """What of an `Engine` the server asks: jobs go to a replica and their events come back."""

    def __init__(self, graph: Graph, placed: Placed, publish: Publish, most_tries: int) -> None:
        self.graph, self.placed, self.publish, self.most_tries = graph, placed, publish, most_tries
        self.clock: Callable[[], float] = time.perf_counter
        self.spent = {name: Spent() for name in graph.stages}
        self.costs: dict[Job, Mapping[str, float]] = {}  # seconds by stage, of a job that ends
        self.shares: dict[Job, float] = {}
        self.turned = self.clock()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._seq = count()

    def submit(self, job: Order) -> None:
        """Ask for a job. Raises UsageError for a route that the graph has not."""
        for route, _ in job.starts:
            self.graph.check(route)
        self.shares[job] = 0.0
        self._tasks[job] = asyncio.ensure_future(self._follow(job))

    def cancel(self, job: Job) -> None:
        """Let go of a job; one that has ended stays as it ended."""
        if job in self.shares:
            self._tasks[job].cancel()
            self._end(job, Report("cancelled", None, 1.0))

    def hasten(self, job: Job) -> None:
        """Raises RefusedError: each replica has an order of its own."""
        raise RefusedError(400, "the order of jobs on replicas cannot be changed.", "first", "unsupported")

    async def _follow(self, job: Order) -> None:
        try:
            for tries in count(1):
                left = job.deadline - self.clock()
                if left <= 0:
                    return self._end(job, Report("expired", None, 1.0))
                try:
                    async with asyncio.timeout(None if left == float("inf") else left + GRACE_SECONDS):
                        if await self._heard(job, left):
                            return None
                except TimeoutError:
                    return self._end(job, Report("expired", None, 1.0))
                except Exception as error:
                    log.warning("a replica was lost (%s); its job is sent again", type(error).__name__)
                    if tries == self.most_tries:
                        lost = RefusedError(503, f"{tries} replicas were lost while they painted it.")
                        return self._end(job, Report("failed", lost, 1.0))
                    await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self._tasks.pop(job, None)

    async def _heard(self, job: Order, left: float) -> bool:
        """Pass on what a replica tells of a job; whether it came to its end."""
        looks = {"previews": job.previews, "looked_at": job.looked_at, "shows_drawn": job.shows_drawn}
        how = looks | {"shares": list(job.shares)}
        stream = self.placed.handle.paint.remote(Sent(job.starts, job.request, job.client, job.weight, left, how))
        try:
            async for told in stream:
                self.turned = self.clock()
                if told.kind in ENDS:
                    self._end(job, told)
                    return True
                if job in self.shares:
                    self.shares[job] = told.share
                if told.kind:
                    if told.kind == "preview" and job.shares:
                        job.shares.pop(0)  # a replica that comes after does not show it again
                    self.publish([Event(told.kind, job, told.data, next(self._seq))])
        finally:
            stream.cancel()
        raise ConnectionError("a stream ended before its job")

    def _end(self, job: Job, report: Report) -> None:
        if self.shares.pop(job, None) is None:
            return
        for stage, seconds in report.costs.items():
            self.spent[stage].seconds += seconds
        self.costs[job] = report.costs
        self.publish([Event(report.kind, job, report.data, next(self._seq))])
        del self.costs[job]


class Replicas:
    """All replicas, as the server's one `Runner`."""

    error: BaseException | None = None  # a replica that fails is replaced

    def __init__(self, graph: Graph, publish: Publish, placed: Placed, most_tries: int) -> None:
        self.placed, self.engines, self.alive = placed, placed.count, placed.count
        self.engine = Distant(graph, placed, publish, most_tries)
        self._watching: asyncio.Task[None] | None = None

    @property
    def load(self) -> Load:
        """What they are doing, as far as they have told."""
        turned = self.engine.turned if self.engine.shares else self.engine.clock()
        return Load(self.engine.shares, {}, 0, turned)

    @property
    def well(self) -> bool:
        """Whether one of them is there."""
        return self.alive > 0

    def start(self) -> None:
        """Look after them from now on."""
        self._watching = asyncio.ensure_future(self._watch())

    def stop(self) -> None:
        """No longer."""
        if self._watching is not None:
            self._watching.cancel()

    def join(self, seconds: float) -> None:
        """End them."""
        self.placed.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.alive = await asyncio.to_thread(self.placed.running)
            except Exception as error:
                log.warning("the Ray cluster does not answer: %s", error)
                self.alive = 0
