"""pinxit: type a sentence, get a picture; train your own painter; measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinxit.api import load, load_clip, load_upsampler

__version__ = "0.1.0"
__all__ = ["__version__", "load", "load_clip", "load_upsampler"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, so the public names are fetched on first use.
    if name in __all__:
        from pinxit import api

        return getattr(api, name)
    raise AttributeError(f"module 'pinxit' has no attribute '{name}'")


def __dir__() -> list[str]:
    # The interpreter's completion offers what is fetched on first use, too.
    return sorted({*globals(), *__all__})
