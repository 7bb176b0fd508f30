"""What every request passes: a number, checks of the name it calls us by, of its page and its key, a limit of size."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from pinxit.serve.errors import RefusedError, answer, told
from pinxit.serve.keys import Caller, Keys

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("pinxit.serve")
DISCARDED = 2**28  # bytes of a refused request that are still read
GUARDED = ("/v1/", "/api/")  # paths that need a key where there are keys
HERE = frozenset({"localhost"})
SAFE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Gate:
    """ASGI middleware, plain so that streams pass unbuffered."""

    def __init__(
        self, app: ASGIApp, keys: Keys | None, hosts: Sequence[str], origins: Sequence[str], most_bytes: int
    ) -> None:
        self.app, self.keys, self.most_bytes = app, keys, most_bytes
        self.hosts, self.origins = HERE | set(hosts), set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, number, status = time.perf_counter(), secrets.token_hex(8), 0
        headers, read, more = Headers(scope=scope), 0, True

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400 and more and "expect" not in headers:
                    await _discard(receive)
                out = MutableHeaders(scope=message)
                out["x-request-id"] = number
                if headers.get("origin") in self.origins:
                    out.update(self._shared(headers["origin"]))
                out["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - began)))
                for name, value in SAFE_HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        async def receiving() -> Message:
            nonlocal read, more
            message = await receive()
            read, more = read + len(message.get("body", b"")), message.get("more_body", False)
            if read > self.most_bytes:
                raise self._too_large()
            return message

        try:
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                self._check_names(scope, headers)  # a browser asks first, without a key
                await Response(status_code=204)(scope, receiving, sending)
                return
            scope.setdefault("state", {}).update(caller=self._caller(scope, headers), number=number)
            await self.app(scope, receiving, sending)
        except Exception as error:
            if status:
                raise
            await answer(told(error))(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "-")  # never what a stranger wrote
            log.info("%s %s %s %d %.3f s", number, scope["method"], route, status, seconds)

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        self._check_names(scope, headers)
        size = headers.get("content-length", "0")
        if size.isdigit() and int(size) > self.most_bytes:
            raise self._too_large()
        address = (scope.get("client") or ("unknown", 0))[0]
        if self.keys is None or not scope["path"].removeprefix(scope.get("root_path", "")).startswith(GUARDED):
            return Caller(f"address:{address}")
        scheme, _, key = headers.get("authorization", "").partition(" ")
        caller = self.keys.caller(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            message = "this server needs a key: send Authorization: Bearer KEY." if not key else "the key is not known."
            raise RefusedError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        return caller

    def _check_names(self, scope: Scope, headers: Headers) -> None:
        """Against pages of strangers, and against names that are made to lead here (DNS rebinding)."""
        host = headers.get("host", "")
        if not self._ours(host):
            raise RefusedError(403, "this server is not called by that name; `hosts` of its settings says by which.")
        origin = headers.get("origin")
        if origin is None or origin in self.origins:
            return
        try:
            same = bool(origin) and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            same = False
        if not same:
            raise RefusedError(
                403, "pages of that origin may not call this server; `origins` of its settings says which."
            )

    @staticmethod
    def _shared(origin: str) -> dict[str, str]:
        """What lets a page of another origin, one of the settings', read answers."""
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-headers": "*, authorization",
            "access-control-allow-methods": "GET, POST, PATCH, DELETE",
            "access-control-expose-headers": "x-request-id, retry-after-ms, retry-after",
            "access-control-max-age": "600",
            "cross-origin-resource-policy": "cross-origin",
            "vary": "origin",
        }

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return "/" not in host and "@" not in host and host.rsplit(":", 1)[0].lower() in self.hosts
        return True  # nobody can make an address lead elsewhere

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413, f"the request is larger than {self.most_bytes / 2**20:g} MB.", code="request_too_large"
        )


async def _discard(receive: Receive) -> None:
    """Read the rest of a request that is refused: who still sends sees a broken connection, and not the answer."""
    read = 0
    while read < DISCARDED:
        message = await receive()
        read += len(message.get("body", b""))
        if not message.get("more_body", False):  # all of it, or its client has left
            return
