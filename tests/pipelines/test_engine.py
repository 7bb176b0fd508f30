"""The engine with workers that tell on it: jobs come, go, break and are looked at in every order."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pinxit.errors import UsageError
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.policy import FairPolicy, WaitingItems
from pinxit.pipelines.work import Event, Job, WorkItem
from pinxit.pipelines.worker import FunctionWorker
from tests.pipelines.fakes import POISON, Asked, CrashError, House, best, candidates, drawn, job, mixed, solo

CLIENTS = ("ada", "bo", "cy")
ENDS = ("done", "failed", "cancelled", "expired")


class Counting(FairPolicy):
    """Notes what it charges."""

    def __init__(self) -> None:
        super().__init__()
        self.charged = 0.0

    def charge(self, shares: Any, seconds: float) -> None:
        self.charged += seconds
        super().charge(shares, seconds)


class Windows(FairPolicy):
    """Notes whom every call that took time was for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, float]] = []

    def charge(self, shares: Any, seconds: float) -> None:
        before = dict(self.spent)
        super().charge(shares, seconds)
        if seconds:
            self.calls.append({name: spent - before[name] for name, spent in self.spent.items()})


def doomed(asked: Asked, without: set[int]) -> bool:
    """Whether some value of the job can be drawn by nobody."""
    left = [value for k, value in enumerate(candidates(asked)) if k not in without]
    kept = best([mixed(drawn(value), 99) for value in left], asked.keep)
    return any(value % POISON == 0 or value % 17 == 0 for value in [*left, *kept])


class Schedule(RuleBasedStateMachine):
    """Every order in which things may happen; what must hold whatever happens."""

    engine_type: type[Engine] = Engine
    policy_type: type[Counting] = Counting

    def __init__(self) -> None:
        super().__init__()
        self.house, self.told = House(), list[Event]()
        self.policy = self.policy_type()
        self.engine = self.engine_type(self.house.graph, self.policy, self.house.clock, self.told.extend)
        self.jobs: list[Job] = []
        self.dropped: dict[Job, set[int]] = {}
        self.crashes = 0

    @rule(
        client=st.sampled_from(CLIENTS),
        value=st.integers(1, 10_000),
        count=st.integers(1, 6),
        keep=st.integers(1, 3),
        deadline=st.sampled_from([None, None, 3.0]),
        previews=st.sampled_from([None, 0.0, 2.0]),
    )
    def submit(
        self, client: str, value: int, count: int, keep: int, deadline: float | None, previews: float | None
    ) -> None:
        about: dict[str, Any] = {} if deadline is None else {"deadline": self.house.clock.now + deadline}
        about |= {} if previews is None else {"previews": previews}
        self.jobs.append(job(Asked(value, count, keep), client=client, **about))
        self.engine.submit(self.jobs[-1])

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        self.engine.cancel(self.jobs[which % len(self.jobs)])

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100), candidate=st.integers(0, 5))
    def drop(self, which: int, candidate: int) -> None:
        one = self.jobs[which % len(self.jobs)]
        if (0, candidate) in {item.place for item in one.items}:
            self.dropped.setdefault(one, set()).add(candidate)
        self.engine.drop(one, (0, candidate))
        self.engine.turn()

    @rule(stage=st.sampled_from(["draw", "up"]))
    def crash(self, stage: str) -> None:
        self.crashes += 1
        (self.house.draw if stage == "draw" else self.house.up).crash = True

    @rule(count=st.integers(1, 12))
    def turns(self, count: int) -> None:
        for _ in range(count):
            self.engine.turn()

    @invariant()
    def shares_are_shares(self) -> None:
        for one in self.jobs:
            assert -1e-9 <= self.engine.share(one) <= 1 + 1e-9

    @invariant()
    def charges_are_busy_time(self) -> None:
        assert self.policy.charged == pytest.approx(self.house.draw.busy + self.house.up.busy)

    def teardown(self) -> None:
        for _ in range(5000):
            if not self.engine.turn():
                break
        assert not self.engine.turn() and not self.engine.jobs and not self.engine.started, "nothing is left behind"
        assert not self.engine.waiting.lists and not self.engine.again
        assert self.house.draw.cells.count(None) == len(self.house.draw.cells), "all cells are free again"
        ends = [event for event in self.told if event.kind in ENDS]
        assert sorted(map(id, (event.job for event in ends))) == sorted(map(id, self.jobs)), "every job ends once"
        assert [event.seq for event in self.told] == sorted(event.seq for event in self.told)
        for event in ends:
            self._ended_rightly(event)
        joined = [one for one, _ in self.house.joins]
        for one, living in self.house.joins:
            assert living == one.request.candidates - len(self.dropped.get(one, set())), "a join is of the living"
        assert len(set(map(id, joined))) == len(joined), "a join fires once"

    def _ended_rightly(self, event: Event) -> None:
        asked, without = event.job.request, self.dropped.get(event.job, set())
        if event.kind == "done":
            assert event.data == solo(asked, sorted(without)), "a result is the solo run's"
        elif event.kind == "failed":
            hopeless = doomed(asked, set()) or doomed(asked, without)  # whoever is dropped, others are kept instead
            assert hopeless or self.crashes > 1, "one crash is forgiven"


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


class RetriesInCompany(Engine):
    def _chosen(self, head: WorkItem) -> list[WorkItem]:
        tries, head.tries = head.tries, 0
        try:
            return super()._chosen(head)
        finally:
            head.tries = tries


class JoinsOnCandidates(Engine):
    def _perhaps_join(self, job: Job) -> None:
        if len(job.parked) == job.request.candidates:
            super()._perhaps_join(job)


class ForgetsAnEnd(Engine):
    def _close(self, job: Job, kind: str, data: Any = None) -> None:
        if kind == "cancelled":
            self.started = [item for item in self.started if item.job is not job]
        super()._close(job, kind, data)


class TrustsWhatFailed(Engine):
    def _failed(self, stage: Stage, tile: Any, error: BaseException) -> None:
        for item in tile:
            item.tries = 1


class EndsTwice(Engine):
    def _close(self, job: Job, kind: str, data: Any = None) -> None:
        super()._close(job, kind, data)
        if kind == "failed":
            self._tell(kind, job, data)


class FreeOfCharge(Counting):
    def charge(self, shares: Any, seconds: float) -> None:
        super().charge(shares[:1], seconds if len(shares) < 3 else 0.0)


@pytest.mark.parametrize(
    "mutant", [RetriesInCompany, JoinsOnCandidates, ForgetsAnEnd, TrustsWhatFailed, EndsTwice, FreeOfCharge]
)
def test_engines_with_one_mistake_are_found_out(mutant: Any) -> None:
    kind = "policy_type" if issubclass(mutant, FairPolicy) else "engine_type"
    machine = type("Mutant", (Schedule,), {kind: mutant})
    found = settings(max_examples=500, stateful_step_count=30, deadline=None, phases=[Phase.generate], database=None)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(machine, settings=found)


class KeyWithoutTheSpent(FairPolicy):
    def key(self, item: WorkItem) -> Any:
        return super().key(item)[1:]


def until_done(engine: Engine, one: Job) -> None:
    while one.outcome is None:
        assert engine.turn()


def plain(values: int) -> list[int]:
    """Requests that nothing is wrong with, of three candidates."""
    good = (value for value in range(1, 100_000) if not doomed(Asked(value, 3, 1), set()))
    return [next(good) for _ in range(values)]


def waits_behind(policy: FairPolicy, queued: int) -> tuple[float, float]:
    """Seconds of a newcomer's job alone, and behind another client's `queued` jobs."""
    *before, own = plain(queued + 1)

    def took(jobs: list[int]) -> float:
        house = House()
        engine = Engine(house.graph, policy, house.clock)
        for value in jobs:
            engine.submit(job(Asked(value, 3, 1), client="first"))
        for _ in range(5 * bool(jobs)):
            engine.turn()
        began, newcomer = house.clock.now, job(Asked(own, 3, 1), client="newcomer")
        engine.submit(newcomer)
        until_done(engine, newcomer)
        return house.clock.now - began

    return took([]), took(before)


def test_a_newcomer_waits_about_twice_its_time_behind_twenty_jobs() -> None:
    alone, behind = waits_behind(FairPolicy(), 20)
    assert behind <= 2.5 * alone + 2  # and the calls that were under way, whose rows are pinned
    alone, behind = waits_behind(KeyWithoutTheSpent(), 20)
    assert behind > 4 * alone, "in order of arrival it would wait for all of them"


@pytest.mark.parametrize("clients", [2, 3])
def test_every_busy_client_gets_its_share_of_any_window(clients: int) -> None:
    """At least 1 / (n + 1) of the rows of every window, however uneven the jobs."""
    house, values, policy = House(), plain(60), Windows()
    engine = Engine(house.graph, policy, house.clock)
    for number, value in enumerate(values):
        client = CLIENTS[: clients - 1][number % (clients - 1)] if number < 50 else CLIENTS[clients - 1]
        engine.submit(job(Asked(value, 3, 1), client=client))
    busy = set(CLIENTS[:clients])
    while all(any(one.client == name for one in engine.jobs.values()) for name in busy) or not engine.jobs:
        assert engine.turn()
    window = 40
    assert len(policy.calls) > 2 * window
    for start in range(len(policy.calls) - window):
        had = {name: sum(one.get(name, 0.0) for one in policy.calls[start : start + window]) for name in busy}
        assert min(had.values()) >= sum(had.values()) / (clients + 1), had


def test_a_weight_is_a_larger_share() -> None:
    house, values = House(), plain(40)
    engine = Engine(house.graph, clock=house.clock)
    for number, value in enumerate(values):
        client = CLIENTS[number % 2]
        engine.submit(job(Asked(value, 3, 1), client=client, weight=4.0 if client == "ada" else 1.0))
    ended: list[str] = []
    engine.publish = lambda events: ended.extend(event.job.client for event in events if event.kind == "done")
    while len(ended) < 15:
        engine.turn()
    assert ended.count("ada") >= 2.5 * ended.count("bo")


@pytest.mark.parametrize("error", [CrashError, KeyboardInterrupt])
def test_one_crash_breaks_nobody(error: type[BaseException]) -> None:
    """Nor does an interrupt, which may be meant for another thread's job in the same call."""
    house, values = House(), plain(3)
    engine, jobs = Engine(house.graph, clock=house.clock), [job(Asked(value, 3, 1)) for value in values]
    for one in jobs:
        engine.submit(one)
    for _ in range(5):
        engine.turn()
    for _ in range(
        1 if issubclass(error, Exception) else 2
    ):  # an interrupt is not an item's fault the second time either
        house.draw.crash, house.draw.error = True, error
        with nullcontext() if issubclass(error, Exception) else pytest.raises(error):
            while engine.turn():
                pass
    while engine.turn():
        pass
    assert not house.draw.crash
    assert [one.outcome.data for one in jobs if one.outcome] == [solo(one.request) for one in jobs]


def test_poison_fails_its_own_job_alone() -> None:
    house, (good, *_) = House(), plain(1)
    engine = Engine(house.graph, clock=house.clock)
    value = next(v for v in range(1, 9999) if candidates(Asked(v, 1, 1))[0] % POISON == 0)
    bad, well = job(Asked(value, 1, 1)), job(Asked(good, 3, 1))
    engine.submit(bad)
    engine.submit(well)
    while engine.turn():
        pass
    assert bad.outcome and bad.outcome.kind == "failed" and isinstance(bad.outcome.data, CrashError)
    assert well.outcome and well.outcome.data == solo(well.request)


def test_candidates_of_several_jobs_share_calls() -> None:
    house, values = House(), plain(12)
    engine = Engine(house.graph, clock=house.clock)
    for value in values:
        engine.submit(job(Asked(value, 1, 1), client="one"))
    while engine.turn():
        pass
    alone = sum(1 + v % 4 for value in values for v in candidates(Asked(value, 1, 1)))
    assert house.draw.calls < 0.6 * alone


@pytest.mark.parametrize("brief", [False, True])
def test_a_brief_job_goes_before_the_others_of_its_client(brief: bool) -> None:
    house = House()
    engine, (own, other, late) = Engine(house.graph, clock=house.clock), plain(3)
    under_way = [job(Asked(own, 3, 1), client="a"), job(Asked(other, 3, 1), client="a")]
    for one in under_way:
        engine.submit(one)
    for _ in range(3):
        assert engine.turn()
    asked = job(Asked(late, 1, 1), client="a", brief=brief)
    engine.submit(asked)
    until_done(engine, asked)
    assert [one.outcome is None for one in under_way] == [brief, brief]


def test_deadlines_free_the_machine() -> None:
    house, (one, other) = House(), plain(2)
    engine = Engine(house.graph, clock=house.clock)
    late, well = job(Asked(one, 3, 1), deadline=0.7), job(Asked(other, 3, 1))
    for each in (late, well):
        engine.submit(each)
    while engine.turn():
        pass
    assert late.outcome and late.outcome.kind == "expired"
    assert well.outcome and well.outcome.data == solo(well.request)


def test_previews_are_seen_through_their_stage_and_superseded() -> None:
    house, told = House(), list[Event]()
    engine = Engine(house.graph, clock=house.clock, publish=told.extend)
    value = next(v for v in plain(300) if all(1 + one % 4 > 2 for one in candidates(Asked(v, 3, 1))))
    engine.submit(job(Asked(value, 3, 1), previews=0.0))
    while engine.turn():
        pass
    seen = [event.data for event in told if event.kind == "preview"]
    once = {mixed(mixed(one, 0), 99) for one in candidates(Asked(value, 3, 1))}
    assert once & {value for _, value in seen}, "a look is what the row holds, through pixels"
    assert {place for place, _ in seen} >= {(0, 0)}
    assert told[-1].kind == "done"


def test_threads_may_submit_and_cancel_while_it_turns() -> None:
    house, values, ended = House(), plain(80), list[Event]()
    engine = Engine(house.graph, clock=house.clock, publish=lambda events: ended.extend(e for e in events))
    jobs = [job(Asked(value, 3, 1), client=CLIENTS[number % 3]) for number, value in enumerate(values)]

    def ask(mine: list[Job]) -> None:
        for number, one in enumerate(mine):
            engine.submit(one)
            if number % 3 == 0:
                engine.cancel(one)

    threads = [threading.Thread(target=ask, args=(jobs[k::8],)) for k in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if not engine.turn():
            engine.wait(0.01)
    while engine.turn():
        pass
    assert sorted(map(id, (event.job for event in ended))) == sorted(map(id, jobs))
    for one in jobs:
        assert one.outcome and (one.outcome.kind == "cancelled" or one.outcome.data == solo(one.request))


def test_waiting_ends_with_an_order_or_when_its_time_is_up() -> None:
    engine = Engine(House().graph)
    for seconds, order in ((0.01, False), (60.0, True)):
        waiting = threading.Thread(target=engine.wait, args=(seconds,), daemon=True)
        waiting.start()
        if order:
            engine.submit(job(Asked(1, 1, 1)))
        waiting.join(20)
        assert not waiting.is_alive(), seconds
    assert engine.jobs


def test_what_is_saved_up_is_not_spent_and_a_debt_stays() -> None:
    policy = FairPolicy()
    policy.admit_client("ada", set())
    policy.charge([(Job([], client="ada"), 2)], 10.0)
    policy.admit_client("bo", {"ada"})
    assert policy.spent == {"ada": 10.0, "bo": 10.0}
    policy.charge([(Job([], client="bo"), 1), (Job([], client="ada"), 3)], 4.0)
    assert policy.spent == {"ada": 13.0, "bo": 11.0}
    policy.admit_client("ada", {"bo"})
    assert policy.spent == {"ada": 13.0, "bo": 11.0}


def test_graphs_that_cannot_be_are_refused() -> None:
    stages = [Stage("a", FunctionWorker(list)), Stage("b", FunctionWorker(list))]
    with pytest.raises(UsageError, match=r"through c; the stages are a, b"):
        Graph(stages, {"paint": ("a", "c")})
    with pytest.raises(UsageError, match="circle"):
        Graph(stages, {"paint": ("a", "b"), "back": ("b", "a")})
    with pytest.raises(UsageError, match="share a name"):
        Graph([*stages, stages[0]], {})
    with pytest.raises(UsageError, match="leads through nothing"):
        Graph(stages, {"paint": ()})
    with pytest.raises(UsageError, match="through x"):
        Graph([Stage("a", FunctionWorker(list), shown="x")], {})
    with pytest.raises(UsageError, match="through d"):
        Engine(Graph(stages, {})).submit(Job(starts=[(("d",), 1)]))


def test_an_item_wider_than_a_call_is_refused() -> None:
    house = House()
    house.draw.rows = lambda item: 5  # type: ignore[method-assign]
    engine, one = Engine(house.graph, clock=house.clock), job(Asked(plain(1)[0], 1, 1))
    engine.submit(one)
    while engine.turn():
        pass
    assert one.outcome and one.outcome.kind == "failed" and "wider than draw" in str(one.outcome.data)


def test_a_graph_is_printed() -> None:
    told = str(House().graph)
    assert "paint: text -> draw -> pixels -> rank -> up" in told
    assert "rank    FunctionWorker, 1 row a call, waits for all that live" in told


def test_different_routes_meet_at_a_join() -> None:
    """As when two painters are compared: two routes, one ranking."""
    graph = Graph(
        [
            Stage("double", FunctionWorker(lambda items: [2 * item.value for item in items])),
            Stage("minus", FunctionWorker(lambda items: [-item.value for item in items])),
            Stage(
                "sum",
                FunctionWorker(lambda items: [sum(one.value for one in item.value) for item in items]),
                gather=True,
            ),
        ],
        {},
    )
    engine, one = Engine(graph), Job(starts=[(("sum",), 1), (("double", "sum"), 5), (("minus", "sum"), 3)])
    engine.submit(one)
    until_done(engine, one)
    assert one.outcome and one.outcome.data == [8]


def test_a_turn_is_cheap_beside_a_call() -> None:
    """Much that waits must not cost much: the order is kept, not made anew."""
    import time

    graph = Graph([Stage("a", FunctionWorker(lambda items: [0 for _ in items], 4))], {"r": ("a",)})
    engine = Engine(graph)
    engine.submit(Job(starts=[(("a",), k) for k in range(20_000)]))
    engine.turn()
    began = time.perf_counter()
    for _ in range(200):
        engine.turn()
    assert (time.perf_counter() - began) / 200 < 0.005


class Unread(list[Any]):
    """A list that is not gone through from its beginning."""

    def __iter__(self) -> Any:
        raise AssertionError("somebody looks at everything that waits")


def test_a_job_leaves_without_a_look_at_all_that_wait() -> None:
    """Ten thousand prompts that were interrupted were let go one after the other, each with a look at all others."""
    waiting, jobs = WaitingItems(), [Job([], client="ada", number=k) for k in range(5)]
    for one in jobs:
        for place, preview in ((0, False), (1, False), (0, True), (1, True)):
            waiting.add(WorkItem(one, ("a",), 0, (place,), None, preview=preview))
    waiting.lists = {key: Unread(items) for key, items in waiting.lists.items()}
    waiting.forget(jobs[1])
    waiting.forget(jobs[3], previews=True)
    (items,) = waiting.lists.values()
    left = [(items[k][1].job.number, items[k][1].preview) for k in range(len(items))]
    assert left == [(k, True) for k in (0, 0, 2, 2, 4, 4)] + [(k, False) for k in (0, 0, 2, 2, 3, 3, 4, 4)]
    for one in jobs:
        waiting.forget(one)
    assert not waiting.lists


class Looked(dict[int, Job]):
    """Counts how often all jobs are gone through."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        return super().values()


def test_a_job_comes_without_a_look_at_all_others() -> None:
    """Clients are counted: one is busy as long as any of its jobs is there."""
    engine = Engine(Graph([Stage("a", FunctionWorker(lambda items: [0 for _ in items]))], {}))
    engine.jobs = looked = Looked()
    jobs = [Job([(("a",), 0)], client=client) for client in "abab"]
    for one in jobs:
        engine.submit(one)
    engine.settle()
    assert engine.clients == {"a": 2, "b": 2} and looked.looks == 1, "for deadlines"
    for _ in range(2):
        engine.cancel(jobs[0])
    engine.settle()
    assert engine.clients == {"a": 1, "b": 2}
    while engine.turn():
        pass
    assert not engine.clients and not engine.jobs


def test_waiting_keeps_the_order_of_arrival() -> None:
    waiting, jobs = WaitingItems(), [Job([], client="ada", number=k) for k in (2, 0, 1)]
    for one in jobs:
        waiting.add(WorkItem(one, ("a",), 0, (0,), None))
    policy = FairPolicy()
    policy.admit_client("ada", set())
    assert [item.job.number for item in waiting.at("a", 2, policy)] == [0, 1]


def test_pinxit_pipelines_core_needs_no_torch_and_no_asserts() -> None:
    import subprocess
    import sys

    modules = "work, graph, policy, job_tracker, engine, worker"
    script = f"""import sys; from pinxit.pipelines import {modules}; from pinxit.pipelines.run import run
assert False, "never under -O"
sys.exit('torch' in sys.modules or run(worker.FunctionWorker(lambda x: [one.value + 1 for one in x]), [1]) != [2])"""
    assert subprocess.run([sys.executable, "-O", "-c", script], check=False, timeout=60).returncode == 0


def test_a_graph_under_a_name_stands_beside_its_like() -> None:
    one = Graph([Stage("a", FunctionWorker(list), shown="b"), Stage("b", FunctionWorker(list))], {"paint": ["a", "b"]})
    both = one.prefixed("x").joined_with(one.prefixed("y"))
    assert both.routes == {"x/paint": ("x/a", "x/b"), "y/paint": ("y/a", "y/b")}
    assert (both["y/a"].shown, both["y/b"].shown) == ("y/b", "")


def test_a_function_has_come_nowhere_until_it_has_returned() -> None:
    worker = FunctionWorker(lambda items: [None] * len(items))
    state = worker.begin(WorkItem(Job([]), ("it",), 0, (), None))
    assert worker.progress(state) == 0.0 and not worker.done(state)
    worker.step([state])
    assert worker.done(state) and worker.progress(state) == 0.0
