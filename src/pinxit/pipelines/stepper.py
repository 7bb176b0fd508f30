"""The one way to generate: a machine with a fixed number of slots that advances every occupied one by a step at a time.

Autoregression and denoising are both steppers. A recipe fills the slots with one prompt's candidates, a server with
everybody's; since shapes never change and slots never see each other, the pictures are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

Request = TypeVar("Request", contravariant=True)
Result = TypeVar("Result")
Asked = TypeVar("Asked")


class Stepper(Protocol[Request, Result]):
    """What every generator looks like between steps, when requests may come, go and be looked at."""

    @property
    def free(self) -> int:
        """How many requests can be admitted now."""
        ...

    def admit(self, request: Request) -> int:
        """Give the request a slot and return its number. Raises UsageError for a request it cannot serve."""
        ...

    def step(self) -> None:
        """Advance every occupied slot by one step."""
        ...

    def collect(self) -> list[tuple[int, Result]]:
        """What has been finished since the last call, with its slot, which is free from now on."""
        ...

    def cancel(self, slot: int) -> None:
        """Free an occupied slot; its work is lost."""
        ...

    def progress(self, slot: int) -> float:
        """How far an occupied slot has come, 0 to 1."""
        ...


def run(
    stepper: Stepper[Asked, Result], requests: Iterable[Asked], watch: Callable[[dict[int, int]], Any] | None = None
) -> list[Result]:
    """Serve all requests, in their order, keeping the slots full.

    Between steps `watch` sees {slot: number of the request} of the slots at work. Whatever ends the run early, the
    slots it took are freed.
    """
    waiting = enumerate(requests)
    at_work: dict[int, int] = {}
    made: dict[int, Result] = {}
    try:
        while True:
            while stepper.free and (following := next(waiting, None)) is not None:
                number, request = following
                at_work[stepper.admit(request)] = number
            if not at_work:
                return [made[number] for number in sorted(made)]
            stepper.step()
            for slot, result in stepper.collect():
                made[at_work.pop(slot)] = result
            if watch is not None:
                watch(at_work)
    finally:
        for slot in at_work:
            stepper.cancel(slot)
