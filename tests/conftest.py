"""One thread of torch a process: as quiet beside others as alone, and as many workers as there are cores fill them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache

import hypothesis
import pytest
import typer.main

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported, here and in the commands that tests start

# Before usearch, whose own C++ library makes torch.jit hang where it was loaded first (usearch 2.26, torch 2.13).
import torch

# A process builds its table of all commands and options once, not again for every command that a test gives in it.
typer.main.get_command = cache(typer.main.get_command)

hypothesis.settings.register_profile("any machine", deadline=None)  # others may be busy on it
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """No garbage is looked for among what is imported: 740,000 objects, 0.4 s for each of hundreds of collections."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def make_brief(patch: pytest.MonkeyPatch) -> None:
    """Trainings measure the matrix rate for a second and may end with a preview of sixteen steps: both can be rough."""
    from pinxit.recipes.diffusion import task
    from pinxit.training import flops

    patch.setattr(flops, "MEASURED", 0.0)
    patch.setattr(task, "STEPS", 2)


@pytest.fixture(scope="session", autouse=True)
def brief_trainings() -> Iterator[pytest.MonkeyPatch]:
    """The patch, which a test that looks at the true numbers undoes."""
    with pytest.MonkeyPatch.context() as patch:
        make_brief(patch)
        yield patch


@pytest.fixture
def native_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is computed as where the processor multiplies it natively: slowly where it does not."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.fixture(scope="session", autouse=True)
def torch_where_no_engine_is_named() -> Iterator[None]:
    """OpenVINO compiles a tower for seconds, for each of which a test would do its sums once or twice."""
    from pinxit.recipes.clip import encoder, engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            encoder,
            "pick_engine",
            lambda wanted, device: engine.pick_engine("torch" if wanted == "auto" else wanted, device),
        )
        yield
