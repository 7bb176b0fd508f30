"""Input pictures by URL: fetched only from hosts that the settings list, and never from private networks by name.

A name is resolved once, its address is checked, and the connection is made to that address, so DNS rebinding has no
effect. A redirect is a new URL, which passes all checks again.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from pinxit import __version__
from pinxit.errors import UsageError
from pinxit.serve.daemon_threads import DaemonThreads
from pinxit.serve.errors import RefusedError
from pinxit.serve.uploads import data_url

log = logging.getLogger("pinxit.serve")
TIMEOUT = 15.0  # seconds for a whole fetch, redirects included
REDIRECTS = 3
LONGEST = 4096  # characters of a URL
PORTS = {"http": 80, "https": 443}
HEADERS = {"user-agent": f"pinxit/{__version__}", "accept": "image/png, image/jpeg, image/webp"}
HEADERS |= {"accept-encoding": "identity"}
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses behind NAT64
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NotFetchedError(Exception):
    """A URL that is not fetched. The reason goes to the log only: it could reveal what is on private networks."""


@dataclass(frozen=True)
class Target:
    """Where a URL leads: host, port, and the checked address."""

    url: SplitResult
    host: str
    port: int
    address: str


class AllowList:
    """Allowed hosts: `example.org`, `*.example.org`, either with `:PORT`; addresses and networks, even private ones."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """Raises UsageError for an entry that is none of these."""
        self.names: list[tuple[str, int | None]] = []
        self.networks: list[tuple[Network, int | None]] = []
        for one in hosts:
            host, port = _split_port(one)
            try:
                self.networks.append((ipaddress.ip_network(host), port))
                continue
            except ValueError:
                pass
            self.names.append((_host_name(host), port))

    def target(self, text: str) -> Target:
        """Resolve a URL. Raises NotFetchedError if it is not allowed."""
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
        if literal is None and not self._name_allowed(host, port, url.scheme):
            raise NotFetchedError("its host is not listed")
        for found in [literal] if literal is not None else _resolve(host, port):
            if self._address_allowed(found, port, url.scheme) or (literal is None and _is_public(found)):
                return Target(url, host, port, str(found))
        raise NotFetchedError("its host leads to no public address")

    def _name_allowed(self, host: str, port: int, scheme: str) -> bool:
        return any(
            (host.endswith(name[1:]) if name.startswith("*.") else host == name) and port == (wanted or PORTS[scheme])
            for name, wanted in self.names
        )

    def _address_allowed(self, address: Address, port: int, scheme: str) -> bool:
        return any(
            address.version == network.version and address in network and (wanted is None or port == wanted)
            for network, wanted in self.networks
        )


class Fetcher:
    """Fetches URLs of clients, at most four at a time."""

    def __init__(self, hosts: Sequence[str], max_bytes: int) -> None:
        self.allowed, self.enabled, self.max_bytes = AllowList(hosts), bool(hosts), max_bytes
        self.seconds = TIMEOUT
        self.threads = DaemonThreads("pinxit-fetch", 4)

    async def data(self, given: str, param: str) -> bytes:
        """The content of a data: URL, or of another one if fetching is enabled. Raises RefusedError (400)."""
        if given.startswith("data:") or not self.enabled:
            return data_url(given, param)
        try:
            return await self.threads.run(self.seconds + 1, self._fetch, given)
        except (NotFetchedError, OSError, http.client.HTTPException, TimeoutError, ValueError) as error:
            log.info("a URL was not fetched: %s", error if isinstance(error, NotFetchedError) else type(error).__name__)
            message = f"{param}: the URL is not one that this server fetches, or gives no picture of at most"
            message = f"{message} {self.max_bytes / 2**20:g} MB."
            raise RefusedError(400, message, param, "invalid_image_url") from error

    def _fetch(self, url: str) -> bytes:
        deadline = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            target = self.allowed.target(url)
            data, location = self._fetch_one(target, deadline)
            if location is None:
                return data
            following = urljoin(url, location)
            if target.url.scheme == "https" and not following.startswith("https:"):
                raise NotFetchedError("it redirects from https to http")
            url = following
        raise NotFetchedError("too many redirects")

    def _fetch_one(self, target: Target, deadline: float) -> tuple[bytes, str | None]:
        """The body, or the location of a redirect."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotFetchedError("it took too long")
        connection, late = _connection_to(target, left), threading.Event()

        def stop() -> None:
            late.set()
            with suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(left, stop)
        timer.daemon = True
        timer.start()
        try:
            path = (target.url.path or "/") + (f"?{target.url.query}" if target.url.query else "")
            connection.connect()
            connection.request("GET", path, headers=HEADERS | {"host": target.url.netloc})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and (location := answer.headers.get("location")):
                return b"", location
            if answer.status != 200:
                raise NotFetchedError(f"the status was {answer.status}")
            return self._read(answer, late), None
        finally:
            timer.cancel()
            connection.close()

    def _read(self, answer: http.client.HTTPResponse, late: threading.Event) -> bytes:
        if int(answer.headers.get("content-length") or 0) > self.max_bytes:
            raise NotFetchedError("it is too large")
        found = bytearray()
        while part := answer.read1(65536):
            found += part
            if len(found) > self.max_bytes:
                raise NotFetchedError("it is too large")
        if late.is_set():
            raise NotFetchedError("it took too long")
        if answer.length:
            raise NotFetchedError("it was cut short")
        return bytes(found)


def _connection_to(target: Target, seconds: float) -> http.client.HTTPConnection:
    """A connection to the checked address; TLS verifies the name of the URL."""

    def to_it(*_: Any, **__: Any) -> socket.socket:
        return socket.create_connection((target.address, target.port), seconds)

    connection: http.client.HTTPConnection
    if target.url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=seconds)
    connection._create_connection = to_it  # type: ignore[attr-defined]  # http.client calls this to connect
    return connection


def _resolve(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(where[4][0]).partition("%")[0]) for where in found]


def _is_public(address: Address) -> bool:
    """Whether an address is globally routable, also if it is an IPv4 address inside an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64 or address.teredo is not None:
            return False
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def _host_name(text: str) -> str:
    """In lower case and, outside ASCII, in IDNA, as hosts of URLs are. Raises UsageError for what is no host."""
    name = text.removeprefix("*.").lower()
    try:
        ascii_name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if not all(part.replace("-", "").isalnum() for part in ascii_name.split(".")):
        raise UsageError(f"fetch_from: '{text}' is no host, such as pictures.example.org or *.example.org.")
    return f"*.{ascii_name}" if text.startswith("*.") else ascii_name


def _split_port(text: str) -> tuple[str, int | None]:
    """(host, port) of `host`, `host:80`, `[::1]:80`; a bare IPv6 address has no port."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"fetch_from: '{text}' has no port between 1 and 65535.")
    return host, int(port) if port else None
