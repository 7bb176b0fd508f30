"""Device, autocast, compilation, and the memory allocator: how a step is computed, not what."""

from __future__ import annotations

import ctypes
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from pinxit.errors import UsageError
from pinxit.models.dtypes import fast_products, fastest_dtype
from pinxit.texts import printable
from pinxit.training.plan import Plan

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
DEVICES = re.compile(r"cpu|cuda(:\d{1,3})?")


def pick_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is the GPU if there is one. Raises UsageError for a device that is not there."""
    name = str(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not DEVICES.fullmatch(name):
        raise UsageError(f"the device must be auto, cpu, cuda or cuda:N, not '{printable(name)}'.")
    device, gpus = torch.device(name), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        there = f"{gpus}, counted from cuda:0" if gpus else "no GPU"
        raise UsageError(f"device '{name}' cannot be used here: torch finds {there}; try auto or cpu.")
    return device


def autocast(plan: Plan, device: torch.device, native: bool = False) -> AbstractContextManager[object]:
    """Matrix products in `product_dtype` with fp32 weights; if `native`, as on a device that has bf16.

    Sharded weights (FSDP) are gathered only for a while: autocast must not keep its bf16 copies of them.
    """
    return fast_products(device, plan.precision == "bf16", cached=not plan.shard, native=native)


def product_dtype(plan: Plan, device: torch.device) -> torch.dtype:
    """The type of the plan's matrix products: plans in bf16 fall back to float32 where bf16 would be emulated."""
    return fastest_dtype(device) if plan.precision == "bf16" else torch.float32


def place(modules: Mapping[str, nn.Module], plan: Plan, device: torch.device) -> None:
    """Move the modules to `device` in the plan's memory layout, and set them to training mode."""
    for module in modules.values():
        module.to(device)
        if plan.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module.train()


def compile_modules(modules: list[nn.Module], plan: Plan, device: torch.device, trial: Callable[[], None]) -> str:
    """Compile `modules` in place if the plan says so; `trial` runs one step, so that a failure to compile shows here.

    Returns one sentence for the log. If compilation fails, the modules are left uncompiled and training goes on.
    """
    if plan.compile == "no" or (plan.compile == "auto" and device.type != "cuda"):
        return "not compiled"
    if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        return "not compiled: this machine has no C++ compiler"
    for module in modules:
        module.compile()
    try:
        trial()
    except torch.OutOfMemoryError:  # uncompiled training would need as much memory
        raise
    except Exception as error:  # compilers fail in many ways; uncompiled training still works
        for module in modules:
            module._compiled_call_impl = None
        return f"not compiled: {type(error).__name__}: {_ends(error)}"
    return "compiled"


def _ends(error: Exception) -> str:
    """The first and the last line of an error: compilers that run in processes of their own say last what failed."""
    lines = [line.strip()[:200] for line in str(error).splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys((*lines[:1], *lines[-1:])))


def keep_freed_memory() -> bool:
    """Let glibc reuse the memory of freed tensors instead of returning it to the kernel after every operation.

    A training step frees and allocates the same large activations again and again; by default each is a fresh
    mapping whose pages the kernel must zero. Returns whether it worked: False if the C library is not glibc.
    """
    return _mallopt(MMAP_THRESHOLD, 2**30) and _mallopt(TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Let glibc return the memory of freed tensors to the kernel at once, inside the block.

    By default it keeps that of up to 32 MB, in pieces between which small tensors that stay may lie.
    """
    _mallopt(MMAP_THRESHOLD, 2**17)
    try:
        yield
    finally:
        _mallopt(MMAP_THRESHOLD, 2**25)


def _mallopt(option: int, value: int) -> bool:
    """Set an option of glibc's allocator. Returns whether it worked: False if the C library is not glibc."""
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(option, value))
    except (OSError, AttributeError):
        return False
