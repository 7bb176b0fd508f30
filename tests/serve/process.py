"""`pinxit serve` as its users run it, in processes that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import httpx2 as httpx

HEAVY = ["torch", "pinxit.api", "pinxit.cli.serve", "pinxit.serve.server", "pinxit.recipes.dalle.painter"]


def _serve(words: list[str], told: Connection) -> None:
    """`pinxit serve WORDS`; tells its port."""
    import uvicorn

    from pinxit.cli import main

    startup = uvicorn.Server.startup

    async def telling(self: uvicorn.Server, sockets: object = None) -> None:
        await startup(self, sockets)  # type: ignore[arg-type]
        told.send(self.servers[0].sockets[0].getsockname()[1])

    uvicorn.Server.startup = telling  # type: ignore[method-assign]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.argv = ["pinxit", "serve", *words]
    main()


class Process:
    """`pinxit serve` in a process of its own, which begins with torch imported: hundreds are started in a test."""

    def __init__(self, checkpoint: Path, data: Path, **changes: object) -> None:
        words = ["--recipes", f"dalle={checkpoint}", "--port", "0", "--data", str(data), "--device", "cpu"]
        settings: dict[str, object] = {"clip": "", "most_tries": 1000, "candidates": 2} | changes
        words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        began, kind = time.monotonic(), multiprocessing.get_context("forkserver")
        kind.set_forkserver_preload(HEAVY)
        port, told = kind.Pipe(duplex=False)
        self.process = kind.Process(target=_serve, args=(words, told), daemon=True)
        self.process.start()
        told.close()
        self.url = f"http://127.0.0.1:{port.recv()}"
        for _ in range(1200):
            if httpx.get(self.url + "/ready", timeout=60).status_code == 200:
                self.started_in = time.monotonic() - began
                return
            time.sleep(0.05)
        raise AssertionError("the server does not get ready")

    @property
    def memory(self) -> float:
        """MB that it has in memory now."""
        (line,) = (one for one in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmRSS" in one)
        return int(line.split()[1]) / 1024

    @property
    def descriptors(self) -> int:
        """That it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def kill(self, number: int = signal.SIGKILL) -> int | None:
        """Its exit code."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        self.process.join(60)
        return self.process.exitcode
