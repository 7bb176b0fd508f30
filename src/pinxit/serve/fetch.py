"""Pictures at URLs that clients name: fetched only from hosts that the settings list, and from nowhere within.

A name is resolved once, its address is checked, and that very address is connected to: a name that leads elsewhere a
moment later (DNS rebinding) changes nothing. A redirect is a new URL, and passes every check again.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from pinxit import __version__
from pinxit.errors import UsageError
from pinxit.serve.errors import RefusedError
from pinxit.serve.uploads import data_url

log = logging.getLogger("pinxit.serve")
SECONDS = 15.0  # from the first word to the last byte, redirects included
REDIRECTS = 3
LONGEST = 4096  # characters of a URL
PORTS = {"http": 80, "https": 443}
HEADERS = {"user-agent": f"pinxit/{__version__}", "accept": "image/png, image/jpeg, image/webp"}
HEADERS |= {"accept-encoding": "identity"}
EMBEDDED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses behind a translator
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NotFetchedError(Exception):
    """A URL that is not fetched; what it says is for the log alone, as it could tell what there is within."""


@dataclass(frozen=True)
class Place:
    """What a URL comes to."""

    url: SplitResult
    host: str
    port: int
    address: str


class Allowed:
    """Hosts: `example.org`, `*.example.org`, either with `:PORT`; addresses and networks, which may be private ones."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """Raises UsageError for what is none of these."""
        self.names: list[tuple[str, int | None]] = []
        self.networks: list[tuple[Network, int | None]] = []
        for one in hosts:
            host, port = _with_port(one)
            try:
                self.networks.append((ipaddress.ip_network(host), port))
                continue
            except ValueError:
                pass
            name = host.removeprefix("*.").lower()
            if not name or not all(part.replace("-", "").isalnum() for part in name.split(".")):
                raise UsageError(f"fetch_from: '{one}' is no host, such as pictures.example.org or *.example.org.")
            self.names.append((host.lower(), port))

    def place(self, text: str) -> Place:
        """Where a URL leads, resolved. Raises NotFetchedError for where it must not."""
        try:
            url = urlsplit(text)
            host, port = (url.hostname or "").rstrip("."), url.port or PORTS.get(url.scheme, 0)
            host = host.encode("idna").decode() if not host.isascii() else host
        except ValueError as error:
            raise NotFetchedError("it is no URL") from error
        if url.scheme not in PORTS or not host or url.username is not None or len(text) > LONGEST:
            raise NotFetchedError("it is no http or https URL")
        try:
            literal: Address | None = ipaddress.ip_address(host)
        except ValueError:
            literal = None
        if literal is None and not self._named(host, port, url.scheme):
            raise NotFetchedError("its host is not listed")
        for found in [literal] if literal is not None else _resolved(host, port):
            if self._listed(found, port, url.scheme) or (literal is None and _public(found)):
                return Place(url, host, port, str(found))
        raise NotFetchedError("its host leads to no public address")

    def _named(self, host: str, port: int, scheme: str) -> bool:
        return any(
            (host.endswith(name[1:]) if name.startswith("*.") else host == name) and port == (wanted or PORTS[scheme])
            for name, wanted in self.names
        )

    def _listed(self, address: Address, port: int, scheme: str) -> bool:
        return any(
            address.version == network.version and address in network and (wanted is None or port == wanted)
            for network, wanted in self.networks
        )


class Fetcher:
    """Fetches what clients name, a few at a time."""

    def __init__(self, hosts: Sequence[str], most_bytes: int) -> None:
        self.allowed, self.on, self.most_bytes = Allowed(hosts), bool(hosts), most_bytes
        self.seconds = SECONDS
        self.threads = ThreadPoolExecutor(4, "pinxit-fetch")

    async def data(self, given: str, param: str) -> bytes:
        """What a data: URL holds, or what lies behind another one. Raises RefusedError."""
        if given.startswith("data:") or not self.on:
            return data_url(given, param)
        fetched = asyncio.get_running_loop().run_in_executor(self.threads, self._fetch, given)
        try:
            return await asyncio.wait_for(fetched, self.seconds + 1)
        except (NotFetchedError, OSError, http.client.HTTPException, TimeoutError, ValueError) as error:
            log.info("a URL was not fetched: %s", error if isinstance(error, NotFetchedError) else type(error).__name__)
            told = f"{param}: the URL is not one that this server fetches, or gives no picture of at most"
            told = f"{told} {self.most_bytes / 2**20:g} MB."
            raise RefusedError(400, told, param, "invalid_image_url") from error

    def close(self) -> None:
        """End the threads that wait."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, url: str) -> bytes:
        until = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            place = self.allowed.place(url)
            data, onwards = self._got(place, until)
            if onwards is None:
                return data
            following = urljoin(url, onwards)
            if place.url.scheme == "https" and not following.startswith("https:"):
                raise NotFetchedError("it leads from https to http")
            url = following
        raise NotFetchedError("it leads on and on")

    def _got(self, place: Place, until: float) -> tuple[bytes, str | None]:
        """The body, or where it leads on to."""
        left = until - time.monotonic()
        if left <= 0:
            raise NotFetchedError("it took too long")
        connection, late = _towards(place, left), threading.Event()

        def stop() -> None:
            late.set()
            with suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(left, stop)
        timer.daemon = True
        timer.start()
        try:
            path = (place.url.path or "/") + (f"?{place.url.query}" if place.url.query else "")
            connection.connect()
            connection.request("GET", path, headers=HEADERS | {"host": place.url.netloc})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and (onwards := answer.headers.get("location")):
                return b"", onwards
            if answer.status != 200:
                raise NotFetchedError(f"it was answered by {answer.status}")
            return self._read(answer, late), None
        finally:
            timer.cancel()
            connection.close()

    def _read(self, answer: http.client.HTTPResponse, late: threading.Event) -> bytes:
        if int(answer.headers.get("content-length") or 0) > self.most_bytes:
            raise NotFetchedError("it is too large")
        found = bytearray()
        while part := answer.read1(65536):
            found += part
            if len(found) > self.most_bytes:
                raise NotFetchedError("it is too large")
        if late.is_set():
            raise NotFetchedError("it took too long")
        if answer.length:
            raise NotFetchedError("it was cut short")
        return bytes(found)


def _towards(place: Place, seconds: float) -> http.client.HTTPConnection:
    """To the address that was checked, by the name that was asked for."""

    def to_it(*_: Any, **__: Any) -> socket.socket:
        return socket.create_connection((place.address, place.port), seconds)

    connection: http.client.HTTPConnection
    if place.url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(place.host, place.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=seconds)
    connection._create_connection = to_it  # type: ignore[attr-defined]  # where http.client itself connects
    return connection


def _resolved(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(where[4][0]).partition("%")[0]) for where in found]


def _public(address: Address) -> bool:
    """Whether it leads out into the world, also where an IPv4 address hides in an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in EMBEDDED or address.teredo is not None:
            return False
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def _with_port(text: str) -> tuple[str, int | None]:
    """(host, port) of `host`, `host:80`, `[::1]:80`; an address of colons alone has no port."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"fetch_from: '{text}' has no port between 1 and 65535.")
    return host, int(port) if port else None
