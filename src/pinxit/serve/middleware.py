"""ASGI middleware: request ids, checks of Host, Origin and API key, a limit on the body's size, security headers."""

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

from pinxit.serve.errors import RefusedError, as_refused, error_response
from pinxit.serve.keys import Caller, Keys

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("pinxit.serve")
MAX_DISCARDED = 2**28  # bytes of a refused request that are still read
KEY_PATHS = ("/v1/", "/api/")  # paths that need an API key, if there are any
LOCAL_HOSTS = frozenset({"localhost"})
SAFE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
# For what is behind a URL that cannot be guessed: whoever has it may show it. Browsers do not say for which page an
# <img> is loaded.
FOR_ALL_PAGES = {"cross-origin-resource-policy": "cross-origin"}


class AccessMiddleware:
    """Plain ASGI instead of Starlette's base class, so that streams pass unbuffered."""

    def __init__(
        self, app: ASGIApp, keys: Keys | None, hosts: Sequence[str], origins: Sequence[str], max_bytes: int
    ) -> None:
        self.app, self.keys, self.max_bytes = app, keys, max_bytes
        self.hosts = LOCAL_HOSTS | set(map(_without_port, hosts))
        self.origins = {origin.lower().rstrip("/") for origin in origins}  # as browsers write them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, request_id, status = time.perf_counter(), secrets.token_hex(8), 0
        headers, read, more = Headers(scope=scope), 0, True
        method, ended = scope["method"], False
        if method == "HEAD":  # answered as GET: the protocol, which has the scope as it was, leaves the body out
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            nonlocal status, ended
            if ended:
                return
            if method == "HEAD" and message["type"] == "http.response.body":  # a stream might never end
                message, ended = {**message, "more_body": False}, True
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400 and more and "expect" not in headers:
                    await _discard_body(receive)
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                if self.origins:  # else a browser would give what it holds for an <img> to a script, which is refused
                    out.add_vary_header("origin")
                if headers.get("origin") in self.origins:
                    out.update(self._cors_headers(headers["origin"]))
                out["openai-processing-ms"] = str(round(1000 * (time.perf_counter() - began)))
                for name, value in SAFE_HEADERS.items():
                    out.setdefault(name, value)
            await send(message)

        async def receive_limited() -> Message:
            nonlocal read, more
            message: Message = {"type": "http.disconnect"} if ended else await receive()
            read, more = read + len(message.get("body", b"")), message.get("more_body", False)
            if read > self.max_bytes:
                raise self._too_large()
            return message

        try:
            if method == "OPTIONS" and "access-control-request-method" in headers:
                self._check_host_and_origin(scope, headers)  # a CORS preflight has no key
                await Response(status_code=204)(scope, receive_limited, send_with_headers)
                return
            scope.setdefault("state", {}).update(caller=self._caller(scope, headers))
            await self.app(scope, receive_limited, send_with_headers)
        except Exception as error:
            if status:
                raise
            await error_response(as_refused(error))(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "-")  # the route's pattern: never what a client wrote
            log.info("%s %s %s %d %.3f s", request_id, method, route, status, seconds)

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        self._check_host_and_origin(scope, headers)
        size = headers.get("content-length", "0")
        if size.isdigit() and int(size) > self.max_bytes:
            raise self._too_large()
        address = (scope.get("client") or ("unknown", 0))[0]
        if self.keys is None or not scope["path"].removeprefix(scope.get("root_path", "")).startswith(KEY_PATHS):
            return Caller(f"address:{address}")
        scheme, _, key = headers.get("authorization", "").partition(" ")
        caller = self.keys.caller(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            message = "this server needs a key: send Authorization: Bearer KEY." if not key else "the key is not known."
            raise RefusedError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        return caller

    def _check_host_and_origin(self, scope: Scope, headers: Headers) -> None:
        """Against cross-origin requests of foreign pages, and against DNS rebinding."""
        host = headers.get("host", "")
        if not self._is_known_host(host):
            raise RefusedError(
                403, "this server has another name; the setting `hosts` lists the names that it answers to."
            )
        origin = headers.get("origin")
        if origin is None or origin in self.origins:
            return
        try:
            same = bool(origin) and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            same = False
        if not same:
            raise RefusedError(
                403, "pages of that origin may not call this server; the setting `origins` lists those that may."
            )

    @staticmethod
    def _cors_headers(origin: str) -> dict[str, str]:
        """CORS headers for an origin that the settings allow."""
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-headers": "*, authorization",
            "access-control-allow-methods": "GET, POST, PATCH, DELETE",
            "access-control-expose-headers": "x-request-id, retry-after-ms, retry-after",
            "access-control-max-age": "600",
        } | FOR_ALL_PAGES

    def _is_known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return "/" not in host and "@" not in host and _without_port(host) in self.hosts
        return True  # an address cannot be rebound

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the request is larger than {self.max_bytes / 2**20:g} MB.", code="request_too_large")


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0].lower()


async def _discard_body(receive: Receive) -> None:
    """Read the rest of a refused request: a client still sending would see a reset connection, not the response."""
    read = 0
    while read < MAX_DISCARDED:
        message = await receive()
        read += len(message.get("body", b""))
        if not message.get("more_body", False):  # the end of the body, or the client has disconnected
            return
