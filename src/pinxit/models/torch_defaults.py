"""What a program has set for all of torch does not reach pinxit: a notebook's default type or device, or its autocast.

Networks are built, and pictures drawn, as if nothing had been set, and the program finds its settings as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import torch


class _Float32:
    """Makes float32 torch's default type while any thread is inside: unlike the other settings, all threads share it.

    So what the last thread leaves to the program is what the first one found.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.found = Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.found = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                torch.set_default_dtype(self.found)


default_float32 = _Float32()


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Inside the block, or the function that it decorates, new tensors are float32 on the CPU, and there is no autocast
    but that of the block.
    """
    with ExitStack() as around, default_float32:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                around.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # asked first: inside such a block every operation is slower
            around.enter_context(torch.device("cpu"))
        yield


@contextmanager
def torch_defaults_for_loading() -> Iterator[None]:
    """`torch_defaults`, and torch's global generator stays where it was, though a new network draws weights from it.

    Weights that a program loads in inference mode are no inference tensors: CLIP guidance takes gradients through them.
    """
    with torch_defaults(), torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        yield


@contextmanager
def torch_defaults_for_training() -> Iterator[None]:
    """`torch_defaults_for_loading`, and there are gradients, though the program may have switched them off."""
    with torch_defaults_for_loading(), torch.enable_grad():
        yield
