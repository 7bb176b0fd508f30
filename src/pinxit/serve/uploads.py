"""Uploaded pictures, decoded in a separate process (`serve.upload_decoder`)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pinxit.serve.errors import PassingError, RefusedError
from pinxit.serve.upload_decoder import ANSWER, LENGTH
from pinxit.types import Mask

if TYPE_CHECKING:
    from pinxit.types import Picture

log = logging.getLogger("pinxit.serve")
SECONDS = 15.0  # timeout of one picture
UNCOUNTED = 4  # pictures of requests that are not admitted yet, unless one request has more
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True)
class Upload:
    """A decoded picture."""

    picture: Picture
    alpha: np.ndarray[tuple[int, int], np.dtype[np.uint8]] | None

    def mask(self, param: str = "mask") -> Mask:
        """The mask of its transparent pixels, as in the OpenAI API. Raises RefusedError (400) if there are none."""
        if self.alpha is None or not (paint := self.alpha < 128).any():
            message = f"{param}: no pixel is transparent; make those transparent that are to be repainted."
            raise RefusedError(400, message, param, "invalid_image")
        return Mask(paint)


class UploadSlots:
    """Room for `most` pictures, or for all of one request that has more."""

    def __init__(self, most: int) -> None:
        self.most = self.free = most
        self.turn, self.freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def of(self, count: int) -> AsyncIterator[None]:
        """Hold the places of `count` pictures for the block; waits for them. A request without pictures never waits."""
        count = min(count, self.most)
        if count:
            async with self.turn:  # in the order of arrival: requests of few do not keep one of many waiting for ever
                while self.free < count:
                    self.freed.clear()
                    await self.freed.wait()
                self.free -= count
        try:
            yield
        finally:
            self.free += count
            self.freed.set()


class Uploads:
    """Runs one decoding process, started when it is first needed."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.lock = asyncio.Lock()
        self.places = UploadSlots(UNCOUNTED)  # held until a request is admitted, which counts its pictures

    async def decode(self, data: bytes, param: str) -> Upload:
        """The pixels. Raises RefusedError (400) for what is no picture, or too large.

        Raises PassingError (400) if it takes too long, or the process dies of it or otherwise.
        """
        if not data.startswith(MAGIC):
            raise RefusedError(400, f"{param}: send a PNG, JPEG or WebP picture.", param, "invalid_image")
        async with self.lock:
            try:
                return await asyncio.wait_for(self._decode(data, param), SECONDS)
            except (OSError, EOFError, TimeoutError) as error:
                log.warning("the decoding process of uploads failed: %s", type(error).__name__)
                await self.close()
                raise PassingError(400, f"{param}: the picture cannot be read.", param, "invalid_image") from error
            except asyncio.CancelledError:  # the pipe may contain a part of the answer
                await self.close()
                raise

    async def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _decode(self, data: bytes, param: str) -> Upload:
        process = await self._started()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(LENGTH.pack(len(data)) + data)
        await process.stdin.drain()
        status, height, width, has_alpha = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
        if status:
            (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
            message = (await process.stdout.readexactly(length)).decode(errors="replace")
            raise RefusedError(400, f"{param}: {message.rstrip('.')}.", param, "invalid_image")
        rgb = await process.stdout.readexactly(height * width * 3)
        alpha = await process.stdout.readexactly(height * width) if has_alpha else None
        picture: Picture = np.frombuffer(rgb, np.uint8).reshape(height, width, 3)
        return Upload(picture, None if alpha is None else np.frombuffer(alpha, np.uint8).reshape(height, width))

    async def _started(self) -> asyncio.subprocess.Process:
        if self.process is None or self.process.returncode is not None:
            inherited = {name: os.environ[name] for name in ("PYTHONPATH", "PATH", "HOME") if name in os.environ}
            pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pinxit.serve.upload_decoder", stdin=pipe, stdout=pipe, stderr=nowhere,
                env=inherited | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        return self.process


def data_url(text: str, param: str) -> bytes:
    """The content of a data: URL. Raises RefusedError (400) for any other URL: nothing is fetched here."""
    head, comma, data = text.partition(",")
    if not head.startswith("data:") or not comma:
        raise RefusedError(400, f"{param}: send the picture itself as a data: URL; other URLs are not fetched.", param)
    if not head.endswith(";base64"):
        raise RefusedError(400, f"{param}: a data: URL must hold base64.", param, "invalid_image")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(400, f"{param}: it is not base64.", param, "invalid_image") from error
